"""`python -m clipgrid …`: what the rules call, and what a person calls to redo one cell."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path

try:
    from pydantic import ValidationError
except ModuleNotFoundError as error:
    from clipgrid import missing

    sys.exit(missing(error))

from clipgrid import InputError, missing
from clipgrid.arguments import a, numbers, readout
from clipgrid.study import parts
from clipgrid.study.cells import Trajectory
from clipgrid.study.faults import explained, listed
from clipgrid.study.fields import Count, NotNegative, Positive, Seed, Side


def main(argv: list[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):  # which may have no λ, by the locale
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = vars(parser().parse_args(argv))
    try:
        parts.load(arguments.pop("extensions", []))
        arguments.pop("run")(**arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # who reads has seen enough, as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (InputError, OSError) as error:
        print(f"clipgrid: error: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(missing(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("clipgrid: stopped; the same command goes on from here", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m clipgrid", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    training_commands(commands)
    study_commands(commands)
    sharing_commands(commands)
    probe_command(commands)
    return parser


def add(commands, run: Callable[..., None], help: str, description: str = ""):
    """A command that is named after the function that it calls."""
    command = commands.add_parser(
        run.__name__.replace("_", "-"),
        help=help,
        description=f"{help[0].upper()}{help[1:]}. {description}",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    command.set_defaults(run=run)
    return command


def training_commands(commands) -> None:
    """What prepares data and trains."""
    command = add(commands, prepare, "make the file of a data set that train reads")
    command.add_argument("--name", required=True, help="data set")
    command.add_argument("--size", type=a(Side), required=True, help="side of the images, px")
    command.add_argument("--split-seed", type=a(Seed), default=0, help="what draws the split")
    command.add_argument("--folder", type=Path, default=Path("data"), help="of the raw files")
    command.add_argument("--out", type=Path, required=True, help="file to make, e.g. data.pt")
    command.add_argument("--threads", type=a(Count), default=1, help="that read image files")
    add_shared(command)

    command = add(
        commands,
        train,
        "train one trajectory, write its cells",
        "Writes OUT/cells.jsonl, a line for each readout and one for the run, and"
        " OUT/histories.csv, a row a step. What STORE holds is not trained again: name an empty one"
        " to redo a cell from nothing. Needs torch, pydantic, numpy and tqdm alone.",
    )
    for name, setting in Trajectory.model_fields.items():
        required = setting.is_required()
        command.add_argument(
            f"--{name.replace('_', '-')}",
            help=setting.description,
            required=required,
            default=argparse.SUPPRESS if required else setting.default,
        )
    command.add_argument(
        "--readouts",
        nargs="+",
        type=readout,
        required=True,
        help="where to look: T500 is the weights after 500 steps, T500_ema0.999 their average",
    )
    command.add_argument("--out", type=Path, required=True, help="folder for the results")
    add_training(command)

    command = add(
        commands,
        train_pack,
        "train several trajectories in one process",
        "What the workflow's jobs call. One that fails keeps none of the others.",
    )
    command.add_argument("--pack", required=True, help="the runs and their readouts, as JSON")
    command.add_argument("--cells", type=Path, required=True, help="file for the rows of the cells")
    command.add_argument("--histories", type=Path, required=True, help="file for the histories")
    add_training(command)

    command = add(
        commands,
        check_parts,
        "try the parts of extensions and libraries, before anything is trained",
        "What the workflow calls where a study has some.",
    )
    command.add_argument("--trials", required=True, help="short runs with one each, as JSON")
    command.add_argument("--data", type=Path, required=True, help="file made by prepare")
    command.add_argument("--out", type=Path, required=True, help="file that lists them")
    add_extensions(command)


def study_commands(commands) -> None:
    """What reads a study and its results."""
    command = add(commands, aggregate, "make the tables of all cells of a study")
    command.add_argument("--study", type=Path, required=True, help="study.json of its results")

    command = add(
        commands, judge, "judge the claims", "Writes claims.csv beside the study, and its tables."
    )
    command.add_argument("--study", type=Path, required=True, help="study.json of its results")
    command.add_argument("--claims", type=Path, required=True, help="file of the claims")

    command = add(
        commands,
        pages,
        "write a study's checklist, and one LaTeX document of all its tables",
        "Writes tables/checklist.html, tables.tex and workflow.rst beside the study.",
    )
    command.add_argument("--study", type=Path, required=True, help="study.json of its results")

    command = add(commands, report, "write a study's report", "Writes report.html beside it.")
    command.add_argument("--study", type=Path, required=True, help="study.json of its results")

    command = add(
        commands,
        explorer,
        "write the page that filters and draws all cells of a study",
        "Writes explorer.html beside it.",
    )
    command.add_argument("--study", type=Path, required=True, help="study.json of its results")

    command = add(
        commands,
        plan,
        "print what a study takes: runs, jobs, hours, memory, disk",
        "An estimate; beside it what was measured, where the study has been run.",
    )
    command.add_argument("study", nargs="?", type=Path, default=Path("config.yaml"), help="file")
    command.add_argument(
        "--job-seconds",
        type=a(NotNegative),
        help="instead of the study's training.job_seconds, e.g. 900 for the profile slurm",
    )

    command = add(
        commands,
        next_look,
        "let the claims that are open go on to their next look, with more seeds",
        "Says which these are and what they take. Then train as before.",
    )
    command.add_argument("study", nargs="?", type=Path, default=Path("config.yaml"), help="file")
    command.add_argument("--dry-run", action="store_true", default=False, help="only say so")

    add(commands, costs, "print what an image takes in each model, counted by torch")

    command = add(commands, schema, "print the JSON schema of a config file")
    command.add_argument(
        "of", nargs="?", choices=("study", "claims"), default="study", help="which"
    )


def sharing_commands(commands) -> None:
    """What hands the results of a study on, and what checks them."""
    finished = Path("results/study.json")
    command = add(commands, archive, "put a finished study into one file, to publish")
    command.add_argument("--study", type=Path, default=finished, help="study.json of its results")
    command.add_argument("--out", type=Path, help="zip file; by default archive.zip beside it")

    command = add(commands, verify, "redo some cells of an archive or of results, drawn by chance")
    command.add_argument(
        "what", nargs="?", type=Path, default=finished.parent, help="archive, or folder of results"
    )
    command.add_argument("--cells", type=a(Count), default=5, help="how many to redo")
    command.add_argument("--seed", type=a(Seed), help="what draws them; by default chance")
    command.add_argument("--folder", type=Path, help="of the raw images, e.g. data")
    command.add_argument("--store", type=Path, default=Path("store"), help="of prepared images")
    command.add_argument(
        "--extensions", dest="own", nargs="*", default=[], help="your copies of the study's"
    )

    command = add(commands, export, "write a study's curves and cells for a dashboard")
    command.add_argument("--study", type=Path, default=finished, help="study.json of its results")
    command.add_argument(
        "--to", choices=("tensorboard", "mlflow"), required=True, help="whose files to write"
    )
    command.add_argument("--out", type=Path, help="folder to make; by default beside the study")
    command.add_argument("--points", type=a(Count), default=200, help="of a curve, at most")


def probe_command(commands) -> None:
    """What answers for one model."""
    command = add(
        commands,
        probe,
        "say what clipping does to a model, and which λ to try",
        "Trains a few short runs, without clipping and with it, and ends in a sentence of advice."
        " It says first how long they take. All of it is a study of your own, which can grow.",
    )
    command.add_argument(
        "what",
        help="a model by name (resnet18, alexnet:width=0.125), or a class or function in a file"
        " (my_vit.py:ViT); or a study that has been run (FILE.yaml), or a Clipper's table"
        " (FILE.parquet, FILE.csv)",
    )
    command.add_argument("--images", default="digits", help="a data set by name, or a folder")
    command.add_argument("--size", type=a(Side), default=32, help="side of the images, px")
    command.add_argument("--optimizer", default="momentum", help="by name")
    command.add_argument(
        "--learning-rates", type=numbers, default="0.01,0.03,0.1", help="three or so, by commas"
    )
    command.add_argument("--steps", type=a(Count), default=500, help="of each run")
    command.add_argument("--seeds", type=a(Count), default=3, help="runs at each rate")
    command.add_argument("--batch-size", type=a(Count), default=32, help="images a step")
    command.add_argument("--cores", type=a(Count), default=os.cpu_count(), help="to use")
    command.add_argument("--out", type=Path, help="folder for the results", default=None)
    command.add_argument("--dry-run", action="store_true", default=False, help="only the cost")


def add_training(command: argparse.ArgumentParser) -> None:
    """The flags of a training that decide no result."""
    command.add_argument("--data", type=Path, required=True, help="file made by prepare")
    command.add_argument(
        "--checkpoint-every",
        type=a(Positive),
        default=60.0,
        help="seconds of training after which the run is saved; a killed one goes on from there",
    )
    add_shared(command)


def add_shared(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--store", type=Path, default=Path("store"), help="folder of what is kept for good"
    )
    add_extensions(command)


def add_extensions(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--extensions",
        nargs="*",
        default=[],
        help="Python files or modules with parts of one's own",
    )


# Each imports what it needs when it is called: train must run where little is installed.


def prepare(name, size, split_seed, folder, out, store, threads):
    from clipgrid.images.data import prepare

    prepare(name, size, split_seed, folder, out, store, threads)


def train(readouts, data, out, store, checkpoint_every, **settings):
    from clipgrid.training import pack

    try:
        trajectory = Trajectory.model_validate(settings)
    except ValidationError as error:
        faults = explained(error, Trajectory)
        raise InputError(listed(faults, "this can't be trained")) from None
    files = out / "cells.jsonl", out / "histories.csv"
    pack.train({trajectory: list(dict.fromkeys(readouts))}, data, *files, store, checkpoint_every)


def train_pack(pack, data, cells, histories, store, checkpoint_every):
    from clipgrid.study import packs
    from clipgrid.training.pack import train

    train(packs.parse(pack), data, cells, histories, store, checkpoint_every)


def check_parts(trials, data, out):
    from clipgrid.study import packs
    from clipgrid.training.checks import check

    check(packs.parse(trials), data, out)


def aggregate(study):
    from clipgrid.judging.aggregate import aggregate
    from clipgrid.reporting.report import cells_pages

    aggregate(study)
    cells_pages(study)


def judge(study, claims):
    from clipgrid.reporting.report import judge

    judge(study, claims)


def pages(study):
    from clipgrid.reporting.report import pages

    pages(study)


def report(study):
    from clipgrid.reporting.report import report

    report(study)


def explorer(study):
    from clipgrid.reporting.explorer import explorer

    explorer(study)


def plan(study, job_seconds=None):
    from clipgrid.study.plan import plan

    print(plan(study, job_seconds))


def next_look(study, dry_run):
    from clipgrid.judging.next_look import next_look

    print(next_look(study, dry_run))


def archive(study, out=None):
    from clipgrid.reporting.archive import archive

    archive(study, out)


def verify(what, cells, own, store, seed=None, folder=None):
    from clipgrid.reporting.verify import verify

    verify(what, cells, own, store, seed, folder)


def export(study, to, points, out=None):
    from clipgrid.reporting.export import export

    export(study, to, points, out)


def probe(what, out, cores, dry_run, **asked):
    from clipgrid.reporting.probe import probe

    probe(what, out, cores, dry_run, **asked)


def costs():
    from clipgrid.models import counting

    print(counting.table())


def schema(of):
    from clipgrid.judging import claims
    from clipgrid.study import config

    print(json.dumps((config if of == "study" else claims).schema(), indent=1))


if __name__ == "__main__":
    sys.exit(main())

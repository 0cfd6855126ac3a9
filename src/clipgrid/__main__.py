"""`python -m clipgrid …`: what the rules call, and what a person calls to redo one cell."""

import argparse
import json
import signal
import sys
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import cast

from clipgrid import InputError
from clipgrid.study.grid import DATASETS, NAMED, Readout, Trajectory


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m clipgrid", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    def add_command(name: str, run: Callable[..., None], help: str, description: str = ""):
        command = commands.add_parser(
            name,
            help=help,
            description=f"{help[0].upper()}{help[1:]}. {description}",
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
            argument_default=argparse.SUPPRESS,
        )
        command.set_defaults(run=run)
        return command

    command = add_command(
        "prepare", prepare, "make the file of a data set that train reads", "Needs scikit-learn."
    )
    command.add_argument("--name", choices=DATASETS, required=True, help="data set")
    command.add_argument("--size", type=int, required=True, help="side of the images, px")
    command.add_argument("--split-seed", type=int, default=0, help="seed of the split")
    command.add_argument("--folder", type=Path, default=Path("data"), help="of the raw files")
    command.add_argument("--out", type=Path, required=True, help="file to make, e.g. data.pt")
    command.add_argument(
        "--store", type=Path, default=Path("store"), help="where it is found again"
    )
    command.add_argument("--threads", type=int, default=1, help="that read image files")

    command = add_command(
        "train",
        train,
        "train one trajectory, write its cells",
        "Needs torch alone. Writes OUT/READOUT.json for each readout, OUT/history.csv (a row a"
        " step) and OUT/run.json. What STORE holds is not trained again: name an empty one to"
        " redo a cell from nothing.",
    )
    for f in fields(Trajectory):
        add_setting(command, f)
    command.add_argument(
        "--readouts",
        nargs="+",
        type=readout,
        required=True,
        help="where to look: T500 is the weights after 500 steps, T500_ema0.999 their average",
    )
    add_folders(command, "folder for the results")

    command = add_command(
        "train-pack",
        train_pack,
        "train several trajectories in one process",
        "What the workflow's jobs call. One that fails keeps none of the others.",
    )
    for f in fields(Trajectory):
        if f.name not in NAMED:
            add_setting(command, f)
    command.add_argument(
        "--runs",
        nargs="+",
        type=run,
        required=True,
        metavar="NAME:READOUT,...",
        help="the trajectories, whose names tell the other settings, and where to look at each",
    )
    add_folders(command, "folder for a folder each")

    command = add_command("aggregate", aggregate, "make the tables of all cells of a study")
    command.add_argument("--study", type=Path, required=True, help="study.json of its results")

    command = add_command(
        "judge", judge, "judge the claims", "Writes claims.csv beside the study, and its tables."
    )
    command.add_argument("--study", type=Path, required=True, help="study.json of its results")
    command.add_argument("--claims", type=Path, required=True, help="file of the claims")

    command = add_command("start-page", start_page, "print the start page of a study's report")
    command.add_argument("--study", type=Path, required=True, help="study.json of its results")
    command.add_argument("--claims", type=Path, required=True, help="file of the claims")

    command = add_command(
        "plan",
        plan,
        "print what a study takes: runs, jobs, hours, memory, disk",
        "An estimate; beside it what was measured, where the study has been run.",
    )
    command.add_argument("study", nargs="?", type=Path, default=Path("config.yaml"), help="file")
    command.add_argument(
        "--job-seconds",
        type=float,
        help="instead of the study's training.job_seconds, e.g. 900 for the profile slurm",
    )

    add_command("costs", costs, "print what an image takes in each model, counted by torch")

    command = add_command("schema", schema, "print the JSON schema of a config file")
    command.add_argument(
        "of", nargs="?", choices=("study", "claims"), default="study", help="which"
    )

    arguments = vars(parser.parse_args(argv))
    try:
        arguments.pop("run")(**arguments)
    except (InputError, OSError) as error:
        print(f"clipgrid: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("clipgrid: stopped; the same command goes on from here", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def add_setting(command: argparse.ArgumentParser, f: Field) -> None:
    """A flag for a field of Trajectory."""
    command.add_argument(
        f"--{f.name.replace('_', '-')}",
        type=cast(Callable, f.type),
        help=f.metadata["help"],
        choices=f.metadata["choices"],
        required=f.default is MISSING,
        default=argparse.SUPPRESS if f.default is MISSING else f.default,
    )


def add_folders(command: argparse.ArgumentParser, out: str) -> None:
    """The flags that say where a training's files lie."""
    command.add_argument("--data", type=Path, required=True, help="file made by prepare")
    command.add_argument("--out", type=Path, required=True, help=out)
    command.add_argument("--store", type=Path, default=Path("store"), help="folder of the states")
    command.add_argument(
        "--checkpoint-every",
        type=float,
        default=60.0,
        help="seconds of training after which the run is saved; a killed one goes on from there",
    )


def readout(name: str) -> Readout:
    try:
        return Readout.parse(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def run(text: str) -> tuple[str, list[Readout]]:
    name, _, readouts = text.partition(":")
    return name, [readout(one) for one in readouts.split(",")]


# Each imports what it needs when it is called: train must run where only torch is installed.


def prepare(name, size, split_seed, folder, out, store, threads):
    from clipgrid.images.data import prepare

    prepare(name, size, split_seed, folder, out, store, threads)


def train(readouts, data, out, store, checkpoint_every, **settings):
    from clipgrid.training import trainer

    trainer.train(Trajectory(**settings), readouts, data, out, store, checkpoint_every)


def train_pack(runs, data, out, store, checkpoint_every, **settings):
    from clipgrid.training import trainer

    try:
        trajectories = {Trajectory.parse(name, **settings): readouts for name, readouts in runs}
    except ValueError as error:
        raise InputError(f"runs: {error}") from None
    trainer.train_pack(trajectories, data, out, store, checkpoint_every)


def aggregate(study):
    from clipgrid.judging.aggregate import aggregate
    from clipgrid.reporting.report import cells_pages

    aggregate(study)
    cells_pages(study)


def judge(study, claims):
    from clipgrid.reporting.report import judge

    judge(study, claims)


def start_page(study, claims):
    from clipgrid.reporting.start_page import start_page

    print(start_page(study, claims))


def plan(study, job_seconds=None):
    from clipgrid.study.plan import plan

    print(plan(study, job_seconds))


def costs():
    from clipgrid import models
    from clipgrid.study import cost, grid

    rows = [(m, size, models.cost(m, size)) for m in grid.MODELS for size in cost.SIZES]
    print(",".join(["model", "size", *rows[0][2]]))
    for model, size, counted in rows:
        print(",".join(map(str, [model, size, *counted.values()])))


def schema(of):
    from clipgrid.judging import claims
    from clipgrid.study import config as study

    print(json.dumps((study if of == "study" else claims).schema(), indent=1))


if __name__ == "__main__":
    sys.exit(main())

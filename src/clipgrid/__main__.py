"""`python -m clipgrid …`: what the rules call, and what a person calls to redo one cell."""

import argparse
import json
import sys
from dataclasses import MISSING, fields
from pathlib import Path

from clipgrid.grid import Readout, Trajectory


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m clipgrid", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    prepare = commands.add_parser("prepare", help="make the file of a data set that train reads")
    prepare.add_argument("--name", required=True)
    prepare.add_argument("--size", type=int, required=True)
    prepare.add_argument("--split-seed", type=int, default=0)
    prepare.add_argument("--folder", type=Path, default=Path("data"))
    prepare.add_argument("--out", type=Path, required=True)
    prepare.set_defaults(command=run_prepare)

    train = commands.add_parser("train", help="train one trajectory, write its cells")
    for f in fields(Trajectory):
        train.add_argument(
            f"--{f.name.replace('_', '-')}",
            type=f.type,
            help=f.metadata["help"],
            required=f.default is MISSING,
            default=None if f.default is MISSING else f.default,
        )
    train.add_argument("--readouts", nargs="+", type=Readout.parse, required=True)
    train.add_argument("--data", type=Path, required=True)
    train.add_argument("--out", type=Path, required=True)
    train.add_argument("--store", type=Path, default=Path("store"))
    train.set_defaults(command=run_train)

    aggregate = commands.add_parser("aggregate", help="make the tables of all cells")
    aggregate.add_argument("--study", type=Path, required=True)
    aggregate.set_defaults(command=run_aggregate)

    page = commands.add_parser("start-page", help="print the start page of the report")
    page.add_argument("--study", type=Path, required=True)
    page.add_argument("--template", type=Path, required=True)
    page.set_defaults(command=run_start_page)

    schema = commands.add_parser("schema", help="print the JSON schema of a study")
    schema.set_defaults(command=run_schema)

    arguments = vars(parser.parse_args(argv))
    return arguments.pop("command")(**arguments) or 0


def run_prepare(name, size, split_seed, folder, out):
    from clipgrid.data import prepare, save

    save(prepare(name, size, split_seed, folder), out)


def run_train(readouts, data, out, store, **settings):
    from clipgrid.trainer import train

    train(Trajectory(**settings), readouts, data, out, store)


def run_aggregate(study):
    from clipgrid.aggregate import aggregate

    aggregate(study)


def run_start_page(study, template):
    from clipgrid.report import start_page

    print(start_page(study, template))


def run_schema():
    from clipgrid.study import schema

    print(json.dumps(schema(), indent=1))


if __name__ == "__main__":
    sys.exit(main())

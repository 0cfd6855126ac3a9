"""Paths that a study names: what Snakemake, a shell and a command take as it is, and where results
may lie."""

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from clipgrid.study import code
from clipgrid.study.fields import shown

OURS = ("workflow", "src", "report", "notebooks", "envs", "slurm", "profiles", "studies", "tests",
        "config", "docs", "benchmarks", "examples")  # fmt: skip
"""Folders of a checkout: what is written there would overwrite, or be deleted with, the project."""
LONGEST = 200  # bytes of a file's name; file systems have 255


def literal(path: str) -> str:
    """A path that all take as it is. ValueError for one that some don't."""
    long = any(len(os.fsencode(name)) > LONGEST for name in path.split("/"))
    if long or re.search(r"[{}<\x00-\x1f\x7f]|^[-~]", path):
        raise ValueError(
            f"{shown(path)} must have no braces, no < and no control character, must not begin with"
            f" - or ~, and may have {LONGEST} bytes between slashes"
        )
    return path


def none_of_ours(results: str) -> str:
    """A folder that Snakemake may write to and delete from. ValueError for one of the project's."""
    place, here = Path(os.path.realpath(results)), Path.cwd()
    checkout = code.PACKAGE.resolve().parents[1]
    above = [place, *place.parents]
    ours = [*(checkout / name for name in OURS), here / "store"]
    taken = [root for root in (checkout, here) if contains(place, root) or is_hidden(place, root)]
    if taken or any(same(a, b) for a in above for b in ours):
        raise ValueError(
            f"{results} holds files of the project, which would be overwritten or deleted; name a"
            " folder for results alone, such as results/mine"
        )
    if file := next(filter(os.path.isfile, above), None):
        raise ValueError(f"{file} is a file; name a folder for results alone, such as results/mine")
    return results


def contains(place: Path, root: Path) -> bool:
    return any(same(place, folder) for folder in (root, *root.parents))


def is_hidden(place: Path, root: Path) -> bool:
    """Whether it lies in a folder such as .git of `root`."""
    return place.is_relative_to(root) and str(place.relative_to(root)).startswith(".")


def same(a: Path, b: Path) -> bool:
    """Whether two paths are one place, by whatever links."""
    try:
        return a == b or a.samefile(b)
    except OSError:
        return False


NamedPath = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(literal)]
"""Of a file or folder."""
Results = Annotated[
    NamedPath,
    AfterValidator(os.path.normpath),  # one name, by which rules find each other's files
    AfterValidator(literal),
    AfterValidator(none_of_ours),
]
"""A folder that Snakemake writes to, and deletes files from."""

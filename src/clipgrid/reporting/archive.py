"""A finished study as one file to publish: a zip, with what was found and with what found it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from clipgrid import InputError, snakefile
from clipgrid.files import aside
from clipgrid.judging import sums
from clipgrid.judging.evidence import Evidence
from clipgrid.judging.wording import listed
from clipgrid.reporting.crate import crate_of
from clipgrid.reporting.report import judged
from clipgrid.study import cells, code, config, grid, packs
from clipgrid.study.config import Study

CHECKOUT = (
    *("CITATION.cff", "LICENSE", "Makefile", "README.md", "CHANGELOG.md", "Snakefile"),
    *("claims.yaml", "config.yaml", "pyproject.toml", "setup.py", "config", "docs", "envs"),
    *("examples", "notebooks", "profiles", "report", "slurm", "studies", "workflow"),
)
"""What runs a study, beside the package; so that an archive is a checkout, with results."""
RESULTS = (
    *("*.json", "*.csv", "*.parquet", "*.html", "*.rst", "tables.tex"),
    *("tables/*", "figures/*", "notebooks/*", "packs/*.jsonl"),
)
"""What is archived of a folder of results. The histories of packs are those of the parquet."""
UNNAMED = {"authors": [{"name": "The clipgrid maintainers"}], "license": "MIT", "keywords": []}
"""Whose work it is where there is no CITATION.cff, as where the package is installed."""


def archive(path: Path, out: Path | None = None) -> None:
    """Write the archive of the study at `path`, whose results lie beside it, to the zip file `out`.
    InputError where they are not whole, were changed, or were made by other code than lies here."""
    study, results = config.load(path), path.parent
    out = out or results / "archive.zip"
    check(study, results)
    own = {place_of(file): file for file in own_files(study)}
    root = Path(snakefile()).parents[1]
    files = {**dict(source(root)), **own, **dict(of_results(results))}
    claims = place_of(Path(study.claims)) if study.claims else None
    crate = crate_of(
        Evidence(study, results), judged(study, results), files, claims, citation(root)
    )
    with aside(out) as file:
        for chunk in crate.stream_zip():
            file.write(chunk)
    print(f"{out}: {len(files)} files, {out.stat().st_size / 1e6:.1f} MB")
    print(f"SHA-256 {sums.sha256(out)}")


def check(study: Study, results: Path) -> None:
    """InputError where results are not such as one publishes."""
    seals = [sums.TRAINED, *([sums.JUDGED] if study.claims else [])]
    tables = [table for seal in seals for table in sums.TABLES[seal]]
    needed = [*seals, *tables, "report.html"]
    if lacking := [name for name in needed if not (results / name).exists()]:
        raise InputError(f"{results} lacks {listed(lacking)}: run the study to its end first")
    for table in tables:
        sums.checked(results, table)
    same_code(study, sums.summary(results), str(results))


def same_code(study: Study, trained: dict[str, Any], what: str) -> None:
    """InputError where the loop or the parts that trained the study are others than those here."""
    if "code" not in trained:
        raise InputError(
            f"{what}: trained.json says not by which code, as earlier versions wrote it: remove it,"
            " and run the study again; nothing is trained for it"
        )
    if trained["code"] != packs.Pack(cells.runs_of(grid.cells(study))).code:
        commits = trained.get("commit")
        named = f", commit {', '.join(map(str, commits))}" if isinstance(commits, list) else ""
        raise InputError(
            f"{what}: the code that trained it is another version{named}. Take that one, or run the"
            " study again with this one"
        )


def source(root: Path) -> Iterator[tuple[str, Path]]:
    """(name in the archive, file) of all that runs a study: the package, and what lies in `root`
    beside it."""
    for name in CHECKOUT:
        for file in files_in(root / name):
            yield file.relative_to(root).as_posix(), file
    for file in files_in(code.PACKAGE):
        inside = file.relative_to(code.PACKAGE)
        if "paper" not in inside.parts:
            yield f"src/clipgrid/{inside.as_posix()}", file


def files_in(place: Path) -> Iterator[Path]:
    """A file, or those in a folder; without what Python and notebooks leave there."""
    for file in [place] if place.is_file() else sorted(place.rglob("*")):
        hidden = any(part.startswith(("__pycache__", ".")) for part in file.parts[-3:])
        if file.is_file() and not hidden:
            yield file


def of_results(results: Path) -> Iterator[tuple[str, Path]]:
    for pattern in RESULTS:
        for file in sorted(results.glob(pattern)):
            yield f"results/{file.relative_to(results).as_posix()}", file


def own_files(study: Study) -> Iterator[Path]:
    """Files that the study names: its claims, its extensions, its start page."""
    named = [study.claims, study.start_page, *(e.partition(":")[0] for e in study.extensions)]
    yield from (Path(name) for name in named if name and Path(name).is_file())


def place_of(file: Path) -> str:
    """The name in the archive of a file that a study names."""
    place, here = file.resolve(), Path.cwd()
    name = place.relative_to(here) if place.is_relative_to(here) else Path("elsewhere", place.name)
    return name.as_posix()


def citation(root: Path) -> dict[str, Any]:
    file = root / "CITATION.cff"
    return yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else UNNAMED

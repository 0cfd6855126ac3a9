"""clipgrid: an article on gradient clipping, re-run on every cell of its grid and judged."""

from pathlib import Path

__version__ = "0.1.0"


def snakefile() -> str:
    """The workflow, for Snakemake's `module` of another project: that of this checkout, or the one
    that is installed with the package."""
    package = Path(__file__).resolve().parent
    installed, checkout = package / "paper", package.parents[1]
    root = installed if installed.is_dir() else checkout
    return str(root / "workflow" / "Snakefile")


def printable(text: str) -> str:
    """`text` for a terminal, which would obey control characters: they are spelled out."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


class InputError(ValueError):
    """What was asked for can't be done; the message is for the person who asked."""

    def __str__(self) -> str:
        return printable(super().__str__())


def missing(error: ModuleNotFoundError) -> str:
    """What is wrong where a package that studies need isn't installed."""
    return (
        f"clipgrid: error: {error.name} is not installed. The library clipgrid.clipping works"
        " without; for studies install the extra: pip install '.[study]' in clipgrid's folder"
    )

"""clipgrid: an article on gradient clipping, re-run on every cell of its grid and judged."""

__version__ = "0.1.0"


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

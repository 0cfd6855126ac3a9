"""The claims: a YAML file as typed, validated data. Imports no torch.

Each claim is one statement with the rules, fixed before the run, that decide on it. `load` raises
`StudyError`, whose message lists every fault with its key and what would be right.
"""

import datetime
import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from clipgrid.judging.rules import AnyCells, Computation, Rule, Sooner
from clipgrid.study import code, parts, paths
from clipgrid.study.faults import StudyError, explain, key_path, listed
from clipgrid.study.fields import Seed, Settings, some
from clipgrid.study.reading import read

KINDS = ("quantitative", "comparative", "inference", "definition", "protocol", "published")
"""What a claim is; `published` ones are not the article's, but facts that others have found."""


class Claim(Settings):
    """One statement, and how it is decided."""

    section: str
    """Of the article; of a published fact, `external`."""
    phrase: Annotated[str, Field(max_length=40)] | None = None
    """A few words of the article, as they stand there, by which the statement is found."""
    kind: Literal[*KINDS]  # type: ignore[valid-type]
    """What kind of statement it is."""
    statement: str
    """The statement, in our words."""
    family: Annotated[str, Field(pattern=r"^[a-z][a-z -]*$")]
    """Claims that are tested together: Holm's correction is made within it."""
    exhibit: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,59}$")]
    """The figure or table of the report that shows it; or the claims' table, if there is none."""
    source: str | None = None
    """Of a published fact: where it was found."""
    rules: Annotated[list[Rule], BeforeValidator(some)]
    """All must hold; the effect of the one that decides is shown."""


class Article(Settings):
    """What is judged, as one cites it."""

    author: str
    """Who wrote it, as it is signed."""
    title: str | None = None
    """Its title, if it carries one."""
    date: str | None = None
    """When it appeared, if it says so."""
    asks: str | None = None
    """What it states, and on what grounds, for the report's first screen."""


class Frozen(Settings):
    """When the rules were fixed, and what had been looked at by then."""

    date: datetime.date
    """The day."""
    seen: dict[str, list[Seed]] = Field(default_factory=dict)
    """Of a data set, the seeds whose results were known: they confirm nothing."""
    before: paths.NamedPath | None = None
    """A table, as CSV, of an earlier judgement by other rules: id, verdict, change. Its path."""


class Claims(Settings):
    """A file of claims."""

    article: Article | None = None
    """The article that states them."""
    frozen: Frozen | None = None
    """When the rules were fixed."""
    usual: AnyCells = AnyCells()
    """What the cells of a rule have on an axis that the rule doesn't name."""
    claims: Annotated[
        dict[Annotated[str, Field(pattern=r"^[A-Z][0-9]{1,9}$")], Claim], BeforeValidator(some)
    ]
    """The claims by their ids."""

    def seen(self, data: str) -> list[int]:
        """The seeds of a data set that had been looked at when the rules were fixed."""
        return self.frozen.seen.get(data, []) if self.frozen else []

    @property
    def target(self) -> float | None:
        """The validation accuracy, in percent, that the first sign test asks runs to reach; None
        where there is none. The figure of steps to a target shows it."""
        rules = (rule for claim in self.claims.values() for rule in claim.rules)
        return next((rule.target[0] for rule in rules if isinstance(rule, Sooner)), None)


def load(path: Path) -> Claims:
    """The claims in a YAML file; StudyError, with all faults, if they can't be judged."""
    return parse(read(path), str(path))


def parse(content: Any, source: str) -> Claims:
    """The claims that `content`, a mapping read from `source`, states; StudyError, as above."""
    try:
        claims = Claims.model_validate(content)
        faults = [fault for key, claim in claims.claims.items() for fault in unsound(key, claim)]
    except ValidationError as error:
        faults = [(place(e["loc"]) or "the file", explain(e, Claims)) for e in error.errors()]
    if faults:
        raise StudyError(listed(faults, f"the claims in {source} can't be judged"))
    return claims


def place(loc: tuple[int | str, ...]) -> str:
    """The key of a fault, without the name of the rule's model that pydantic adds to it."""
    return key_path(tuple(p for i, p in enumerate(loc) if not (i == 4 and loc[2] == "rules")))


def unsound(key: str, claim: Claim) -> list[tuple[str, str]]:
    """Faults of a claim that concern two of its keys at once."""
    faults = [
        (f"claims.{key}.rules[{i}]{where}", fault)
        for i, rule in enumerate(claim.rules)
        for where, fault in rule.faults()
    ]
    if (claim.kind == "published") != (claim.source is not None):
        faults.append((f"claims.{key}.source", "published facts need one, and others have none"))
    return faults


def digest(path: Path) -> str:
    """SHA-256 of the file: a rule that is changed after the run shows."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def source(claims: Claims) -> str:
    """A short checksum of what judges `claims`: the code and the tables of this room, and the
    computations of extensions."""
    room = code.room("judging")
    rules = [rule for claim in claims.claims.values() for rule in claim.rules]
    used = [parts.find("computation", r.name) for r in rules if isinstance(r, Computation)]
    return code.checksum(
        [
            code.digest_of_files(room),
            [digest(table) for table in sorted(Path(__file__).parent.glob("*.csv"))],
            [part.source for part in used if part.file not in room],
        ]
    )


def schema() -> dict[str, Any]:
    """JSON schema of a file of claims, for editors."""
    return Claims.model_json_schema()

"""What the manual takes from the code when it is built, so that each fact is written once.

A line of a page with one of these markers is replaced; on a code host the line stands as it is, and
says where to look:

    <!-- parts: KIND -->     a table of the parts of a kind
    <!-- axes -->            a table of the axes
    <!-- settings: NAME -->  a table of the settings of `study`, `data`, `training`
    <!-- statistics -->      a table of the statistics of claims
    <!-- file: PATH -->      a file below docs/, as a block of code
    <!-- judgements: PATH,… -->  verdicts of the first judgement beside those of tables below docs/
    <!-- gallery: FOLDER -->  the figures of reports, by their pictures in a folder below docs/

Links to files of the repository (`../config.yaml`) lead to copies of them in the site.
"""

import csv
import re
import sys
from pathlib import Path
from typing import get_args

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT / "src"))

from clipgrid.judging import claims  # noqa: E402
from clipgrid.study import axes, config, parts  # noqa: E402
from clipgrid.study.fields import spelled  # noqa: E402

MARKER = re.compile(
    r"^.*<!-- (parts|axes|settings|statistics|file|judgements|gallery)(?:: (\S+))? -->.*$",
    re.MULTILINE,
)
LINK = re.compile(r"(?<=\]\()\.\./([^)#\s]+)")
GROUPS = {"study": config.File, "data": config.Data, "training": config.StudyTraining}


def on_page_markdown(markdown, page, config, files):
    def linked(match):
        path = ROOT / match[1]
        if not path.is_file():
            raise PluginError(f"{page.file.src_uri}: there is no file {match[1]} to link to")
        copy = f"repository/{match[1]}"
        if files.get_file_from_path(copy) is None:
            files.append(File.generated(config, copy, abs_src_path=str(path)))
        return copy

    return LINK.sub(linked, MARKER.sub(filled, markdown))


def filled(marker):
    kind, name = marker.groups()
    return f"\n{FILLED[kind](name)}\n"


# ---- tables -------------------------------------------------------------------------------------


def table(head, rows):
    """A Markdown table, without the columns that no row has anything in."""
    rows = [list(row) for row in rows]
    used = [i for i in range(len(head)) if any(row[i] for row in rows)]
    lines = [[line[i] for i in used] for line in (head, ["---"] * len(head), *rows)]
    return "\n".join(f"| {' | '.join(map(cell, line))} |" for line in lines)


def cell(text):
    return str(text).replace("|", "\\|").replace("\n", " ")


def code(text):
    return f"`{text}`"


def table_of_axes(_):
    def default(axis):
        return ", ".join(code(axis.word(v)) for v in axis.default) if axis.default else ""

    rows = [[code(axis.name), axis.help, default(axis)] for axis in axes.AXES]
    return table(["axis", "values", "where a study doesn't name it"], rows)


def table_of_settings(name):
    rows = [
        [code(key), help, bounds, default]
        for key, help, bounds, default in settings(GROUPS[name])
        if key not in axes.NAMES
    ]
    return table(["key", "what it is", "allowed", "default"], rows)


def settings(model):
    """(name, help, what is allowed, default) of each setting of a group."""
    schemas = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        default = (
            "required"
            if field.is_required()
            else shown(field.get_default(call_default_factory=True))
        )
        yield name, field.description or "", allowed(schemas[name]), default


def shown(default):
    """A default, where it is a word or a number."""
    if isinstance(default, list | tuple) and default:
        return ", ".join(map(shown, default))
    return code(spelled(default)) if isinstance(default, str | int | float | None) else ""


def allowed(schema):
    """What a JSON schema says of a number or a choice of words."""
    schema = next((s for s in schema.get("anyOf", []) if "pattern" not in s), schema)
    signs = {
        "exclusiveMinimum": "above {}",
        "minimum": "{} or more",
        "exclusiveMaximum": "below {}",
        "maximum": "{} at most",
    }
    limits = [text.format(spelled(schema[key])) for key, text in signs.items() if key in schema]
    words = [code(word) for word in schema.get("enum", [])]
    whole = ["whole"] if schema.get("type") == "integer" else []
    return ", ".join([*whole, *limits, *words])


def table_of_parts(kind):
    head, row = COLUMNS[kind]
    known = [parts.find(kind, name) for name in parts.names(kind)]
    rows = [[code(part.name), *row(part), part_settings(part)] for part in known]
    return table(["name", *head, "settings"], rows)


def part_settings(part):
    def said(name, help, bounds, default):
        about = "; ".join(filter(None, [help.rstrip("."), bounds]))
        return f"`{name}`: {default}" + (f" ({about})" if about else "")

    return "<br>".join(said(*setting) for setting in settings(part.settings))


def images(part):
    """How many images a data set has."""
    if part.about["any_number"]:
        return "yours"
    return f"{sum(part.about['images']):,}"


COLUMNS = {
    "model": (["in tables", "what it is"], lambda p: [p.label, p.help]),
    "optimizer": (["in tables", "what it is"], lambda p: [p.label, p.help]),
    "objective": (["in tables", "what it is"], lambda p: [p.label, p.help]),
    "augmentation": (["in tables", "what it does"], lambda p: [p.label, p.help]),
    "schedule": (["in tables", "what it does"], lambda p: [p.label, p.help]),
    "clip_kind": (
        ["in tables", "what is compared with λ", "what it does"],
        lambda p: [p.label.format("…"), p.about["observes"], p.help],
    ),
    "dataset": (
        ["in tables", "images", "what it is"],
        lambda p: [p.label, images(p), p.help],
    ),
}


def table_of_statistics(_):
    union, *_ = get_args(claims.Rule)
    rows = [
        [code(*get_args(rule.model_fields["statistic"].annotation)), rule.decided_by, rule.__doc__]
        for rule in get_args(union)
    ]
    return table(["statistic", "decided by a", "what it finds"], rows)


def file_of_docs(path):
    suffix = Path(path).suffix.removeprefix(".")
    return f'```{suffix} title="{path}"\n{(DOCS / path).read_text()}```'


def table_of_judgements(paths):
    paths = [ROOT / "report" / "first-judgement.csv", *(DOCS / path for path in paths.split(","))]
    before, *now = (
        {row["id"]: row for row in csv.DictReader(path.open(encoding="utf-8"))} for path in paths
    )
    rows = [
        [
            key,
            row["statement"],
            before.get(key, {}).get("verdict", "not judged"),
            *(verdict(judgement.get(key)) for judgement in now),
            before.get(key, {}).get("change", "It is new."),
        ]
        for key, row in {k: v for judgement in now for k, v in judgement.items()}.items()
    ]
    second = [f"second: {path.stem.replace('-look-', ', look ')}" for path in paths[1:]]
    return table(["claim", "statement", "first", *second, "what changed in its rules"], rows)


def verdict(row):
    """How a claim was judged. It may not be among those of a study."""
    if row is None:
        return ""
    return f"{row['verdict']} ({row['how']})" if row["how"] else row["verdict"]


def gallery(folder):
    """Each figure with its title, its name and its caption."""
    figures = [parts.find("figure", name) for name in parts.names("figure")]
    return "\n\n".join(
        f"### {part.label}\n\n{code(part.name)}: {part.about['caption']}\n\n"
        f"![{part.label}]({folder}/{part.name}.svg)"
        for part in sorted(figures, key=lambda part: (part.about["category"], part.about["order"]))
    )


FILLED = {
    "parts": table_of_parts,
    "axes": table_of_axes,
    "settings": table_of_settings,
    "statistics": table_of_statistics,
    "file": file_of_docs,
    "judgements": table_of_judgements,
    "gallery": gallery,
}

"""Studies, claims, extensions and files that chance has spoilt, each by its own number. `make fuzz`
tries many."""

import copy
import datetime
import functools
import math
import os
import random
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
STUDIES = [ROOT / "config.yaml", *sorted((ROOT / "studies").glob("*.yaml"))]
CLAIMS = ROOT / "claims.yaml"
EXTENSIONS = [f for f in sorted((ROOT / "docs/examples").glob("*.py")) if f.stem != "own_loop"]
FIRST = int(os.environ.get("CLIPGRID_FUZZ_FIRST", 0))
MANY = int(os.environ.get("CLIPGRID_FUZZ", 300))

NESTED: list = []
for _ in range(60):
    NESTED = [NESTED]
VALUES = [
    *(None, True, False, 0, -1, 1, 2, 1.5, 0.5, math.nan, math.inf, -math.inf, 1e308, 5e-324),
    *(2**31, 2**32, 2**53 + 1, 10**16, 10**30, 10**400, -(10**400), 3 * 10**9, 1 << 20000),
    *("", " ", "none", "null", "nan", "inf", "-inf", "true", "all", "seed", "x", "1", "1e3"),
    *(
        "1e400",
        "0x10",
        "1_000",
        "9" * 400,
        "1:30",
        "1e-3 points",
        "0.5 points",
        "5 %",
        "norm",
        "agc1",
    ),
    *("{x}", "{{ 7*7 }}", "{% raw %}", "<b>", "</script>", "\0", "a\nb", "\ud800", "'\"`$(ls)\\"),
    *("é" * 150, "a" * 300, "a" * 100_000, "\U0001f600", "\u202e", "١٢", "ﬁ", "\ufeff", "\u2028"),
    *(".", "..", "/", "store", "report/../report", "-x", "~", "../..", "s3://x", "x.py", "os"),
    *([], {}, [[]], [{}], {"": 0}, {"x": {"x": {}}}, {1: 2, None: 3}, ["x"] * 3, NESTED),
    *(datetime.date(2026, 1, 1), b"\xff", (1, 2), {1, 2}, list(range(50))),
]
TEXTS = [
    *("&a ", "*a", "!!python/name:os", "? ", "- ", ": ", "{", "}", "[", "]", "|", ">", "%", "@"),
    *("\t", "\0", "#", "'", '"', "\\", "\ufeff", "\x85", "<<: *a", "\n", "  ", "---\n", "é"),
]


def places(value):
    """(container, key) of all that is in a mapping or list, at any depth."""
    keys = value if isinstance(value, dict) else range(len(value))
    for key in list(keys):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])


def spoil(content, chance):
    """Change a mapping at some places."""
    for _ in range(chance.choice([1, 1, 2, 4])):
        found = list(places(content))
        if not found:
            return
        place, key = chance.choice(found)
        near = [v for v in VALUES if isinstance(v, type(place[key]))]
        value = copy.deepcopy(chance.choice(chance.choice([near or VALUES, VALUES])))
        other, its = chance.choice(found)
        match chance.randrange(6):
            case 0 | 1:
                place[key] = value
            case 2:
                del place[key]
            case 3:
                place[key] = copy.deepcopy(other[its])
            case 4 if isinstance(place, list):
                place.insert(key, copy.deepcopy(chance.choice([value, place[key]])))
            case 4:
                name = value if isinstance(value, str | int | None) else str(key) + "x"
                place[name] = copy.deepcopy(place[key])
            case 5:
                place[key] = [place[key]] if chance.random() < 0.5 else {"x": place[key]}


def spoil_text(text, chance):
    """Change some letters."""
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(text) + 1)
        until = at + int(chance.expovariate(1 / 20))
        new = chance.choice([chance.choice(TEXTS), text[at:until] * 2, ""])
        text = text[:at] + new + text[until if chance.random() < 0.5 else at :]
    return text


def example(what, number):
    """(the file that it was, its spoilt content); `what` is a study, claims, or the text of one, or
    of an extension."""
    chance = random.Random(f"{what} {number}")
    files = {"claims": [CLAIMS], "extension": EXTENSIONS}.get(what.split()[-1], STUDIES)
    path = chance.choice(files)
    if "text" in what:
        return path, spoil_text(path.read_text(encoding="utf-8"), chance)
    content = copy.deepcopy(sound(path))
    spoil(content, chance)
    return path, content


def spoil_bytes(content, number):
    """Change, remove, repeat or cut off some bytes."""
    chance = random.Random(number)
    content = bytearray(content)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(content) + 1)
        until = at + int(chance.expovariate(1 / 8))
        new = chance.choice([chance.randbytes(until - at), b"", bytes(content[at:until]) * 2])
        content[at:until] = new
    return bytes(content[: chance.randrange(len(content) + 1)] if not number % 8 else content)


@functools.cache
def sound(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))

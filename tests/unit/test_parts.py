"""The door that every part comes by: ours, and those of others."""

import textwrap
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from clipgrid import InputError
from clipgrid.study import code, parts

pytestmark = pytest.mark.usefixtures("registry_put_back")


@pytest.fixture
def extension(tmp_path):
    """A function: a file with this text; its path."""

    def write(text, name="mine.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return str(path)

    return write


OPTIMIZER = """
    from typing import Annotated

    from pydantic import Field

    from clipgrid.study.parts import optimizer

    SCALE = 2

    def scaled(x):
        return SCALE * x

    @optimizer("plain", label="plain SGD", buffers=0)
    def make(parameters, learning_rate, *, weight_decay: Annotated[float, Field(ge=0)] = 0.0):
        '''Stochastic gradient descent.

        No more than that.'''
        import torch

        return torch.optim.SGD(parameters, scaled(learning_rate), weight_decay=weight_decay)
"""


def test_a_part_of_an_extension_is_known_by_its_name_with_its_settings(extension):
    parts.load([extension(OPTIMIZER)])
    assert "plain" in parts.names("optimizer")
    choice = parts.parse("optimizer", "plain:weight_decay=1e-3")
    assert choice.label == "plain SGD"
    assert choice.part.help == "Stochastic gradient descent."
    assert dict(choice.settings) == {"weight_decay": 0.001}
    assert str(choice) == "plain:weight_decay=0.001"
    assert str(parts.choose("optimizer", "plain")) == "plain"


@pytest.mark.parametrize("text", ["plain:weight_decay=-1", "plain:decay=1", "plain:weight_decay=x"])
def test_a_setting_that_a_part_does_not_have_or_that_is_out_of_bounds_is_refused(extension, text):
    parts.load([extension(OPTIMIZER)])
    setting = text.split(":")[1].partition("=")[0]
    with pytest.raises(InputError, match=f"^{setting}: "):
        parts.parse("optimizer", text)


def test_an_extension_is_loaded_once(extension):
    path = extension(OPTIMIZER)
    parts.load([path])
    first = parts.find("optimizer", "plain")
    parts.load([path])
    assert parts.find("optimizer", "plain") is first


def test_an_extension_may_be_a_module(extension, monkeypatch, tmp_path):
    extension(OPTIMIZER, "my_optimizers_of_a_test.py")
    monkeypatch.syspath_prepend(tmp_path)
    parts.load(["my_optimizers_of_a_test"])
    assert "plain" in parts.names("optimizer")


def test_an_extension_sees_what_lies_beside_it(extension):
    extension("SCALE = 3\n", "beside_it_in_a_test.py")
    path = extension(OPTIMIZER.replace("SCALE = 2", "from beside_it_in_a_test import SCALE"))
    parts.load([path])
    assert parts.find("optimizer", "plain").run.__globals__["SCALE"] == 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_module", "No module named 'no_such_module'"),
        ("1 / 0", "division by zero"),
        ("def f(:", "invalid syntax"),
        ("from clipgrid.study.parts import nothing", "cannot import name 'nothing'"),
        ("raise SystemExit(3)", "3"),
        (OPTIMIZER.replace('"plain"', '"momentum"'), "both .* declare it"),
        (OPTIMIZER.replace('"plain"', '"Plain One"'), "a name is of lower-case letters"),
        ("from clipgrid.study import parts\nparts.KINDS['model'].clear()", "it changes model"),
        (OPTIMIZER.replace("= 0.0", "= -1.0"), "the default of weight_decay, -1.0, is out of"),
        (OPTIMIZER.replace("weight_decay", "source"), "a setting can't be called source"),
        (OPTIMIZER.replace("plain SGD", "momentum"), "has the label 'momentum' already"),
        (OPTIMIZER + OPTIMIZER.replace("make(", "again("), "both .* declare it"),
        (
            """
            from functools import partial
            from clipgrid.study.parts import schedule
            schedule("half", label="half", ends=False)(partial(pow, 2))
            """,
            "a part is a function or a class",
        ),
        (
            """
            from clipgrid.study.parts import clip_kind
            @clip_kind("mine", label="Mine", observes="")
            def clip(gradients, weights, threshold, state): ...
            """,
            "its label needs {} where the threshold stands",
        ),
        (
            """
            from clipgrid.study.parts import clip_kind
            @clip_kind("norm2", label="{}", observes="")
            def clip(gradients, weights, threshold, state): ...
            """,
            "a name ends in a letter",
        ),
    ],
)
def test_an_extension_that_can_not_be_loaded_is_one_error_that_names_it(extension, text, reason):
    path = extension(text)
    before = {kind: list(known) for kind, known in parts.KINDS.items()}
    with pytest.raises(InputError, match=rf"(?s)mine\.py can't be loaded: .*{reason}"):
        parts.load([path])
    assert {kind: list(known) for kind, known in parts.KINDS.items()} == before


def test_an_extension_that_fails_in_a_library_is_told_its_own_line(extension):
    path = extension("import json\n\njson.loads('{')\n")
    with pytest.raises(InputError, match=r"mine\.py can't be loaded: .* \(line 3 of .*mine\.py\)$"):
        parts.load([path])


def test_two_extensions_can_not_have_parts_of_one_name(extension):
    first, second = extension(OPTIMIZER), extension(OPTIMIZER, "other.py")
    with pytest.raises(InputError, match=r"optimizer plain: both .*mine\.py and .*other\.py"):
        parts.load([first, second])


def test_a_module_beside_an_extension_can_not_hide_behind_another_of_its_name(extension, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "helping_me.py").write_text("SCALE = 1")
    first = extension("import helping_me", "one/mine.py")
    second = extension("import helping_me", "two/mine.py")
    why = (
        r"two/mine\.py can't be loaded: it asks for helping_me: both .*two/helping_me\.py and .*one"
    )
    with pytest.raises(InputError, match=why):
        parts.load([first, second])
    shadowed = extension("import random", "three.py")
    (tmp_path / "random.py").write_text("SCALE = 1")
    with pytest.raises(InputError, match=r"it asks for random: both .*rename one"):
        parts.load([shadowed])


def test_a_class_of_an_installed_package_is_a_part_and_counts_by_the_packages_version(
    extension, monkeypatch
):
    def source(name):
        text = f"""
        import torch
        from clipgrid.study.parts import optimizer
        optimizer("wrapped-{name.lower()}", label="{name}", buffers=2)(torch.optim.{name})
        """
        parts.load([extension(text, f"{name}.py")])
        code.digest.cache_clear()
        part = parts.find("optimizer", f"wrapped-{name.lower()}")
        return code.digest(part.file, part.run.__name__)

    one = source("NAdam")
    assert one == source("NAdam") != source("RAdam")
    monkeypatch.setattr(code.metadata, "version", lambda name: "0.1")
    assert source("NAdam") != one


def test_a_file_of_no_package_among_the_installed_ones_counts_by_what_is_in_it(tmp_path):
    site = tmp_path / "site-packages"
    site.mkdir()
    (site / "torch.py").write_text("1 / 0")  # beside it, and not looked at
    sums = []
    for value in (1, 2):
        (site / "of_no_package.py").write_text(f"import torch\nSCALE = {value}")
        code.digest.cache_clear()
        code.tree.cache_clear()
        sums.append(code.digest(site / "of_no_package.py", "SCALE"))
    assert sums[0] != sums[1]


def test_an_unknown_part_is_an_error_that_says_what_is_near():
    with pytest.raises(InputError, match=r"unknown clip kind 'nrom'; did you mean norm\? Known: "):
        parts.find("clip_kind", "nrom")


@pytest.mark.parametrize("kind", parts.DECORATORS)
def test_every_kind_of_part_has_some_of_ours_with_a_label_and_a_docstring(kind):
    names = parts.names(kind)
    assert names
    for name in names:
        part = parts.find(kind, name)
        assert part.label
        assert part.help.endswith((".", "?", ")"))


def test_settings_are_the_keyword_only_parameters():
    def run(a, b, *, c: int, d: Annotated[float, Field(gt=0, description="of it")] = 1.0): ...

    model = parts.settings_of(run)
    assert dict(model(c="1e3", d="1e-3")) == {"c": 1000, "d": 0.001}
    for wrong in ({}, {"c": 1.5}, {"c": True}, {"c": 1, "d": 0}, {"c": 1, "a": 1}):
        with pytest.raises(ValidationError):
            model(**wrong)


# ---- source -------------------------------------------------------------------------------------


def digest(extension, text, name="make"):
    path = extension(text)
    code.digest.cache_clear()
    code.tree.cache_clear()
    code.bindings.cache_clear()
    return code.digest(Path(path), name)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SCALE = 2", "SCALE = 2  # twice"),
        ("SCALE = 2", "SCALE   =   2"),
        ("'''Stochastic gradient descent.", "'''Another docstring."),
        ('label="plain SGD"', 'label="SGD"'),
        ("def scaled(x):", "def scaled(x: float) -> float:"),
    ],
)
def test_a_change_that_changes_no_number_keeps_the_checksum(extension, old, new):
    assert old in OPTIMIZER
    assert digest(extension, OPTIMIZER.replace(old, new)) == digest(extension, OPTIMIZER)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SCALE = 2", "SCALE = 3"),
        ("return SCALE * x", "return SCALE + x"),
        ("scaled(learning_rate)", "learning_rate"),
        ("= 0.0", "= 0.1"),
        ("SCALE = 2", "SCALE = 2\n    SCALE = SCALE + 1"),
        ("SCALE = 2", "SCALE = 2\n    if True:\n        SCALE = 3"),
        ("SCALE = 2", "SCALE = 2\n    globals().update(SCALE=3)"),
    ],
)
def test_a_change_of_what_a_part_does_or_uses_changes_the_checksum(extension, old, new):
    assert old in OPTIMIZER
    assert digest(extension, OPTIMIZER.replace(old, new)) != digest(extension, OPTIMIZER)


@pytest.fixture
def ours(monkeypatch, tmp_path):
    """Files of the test count as those of our package."""
    monkeypatch.setattr(code, "PACKAGE", tmp_path)


@pytest.mark.parametrize("more", ["UNUSED = 3\n", "def another(): ...\n"])
def test_of_ours_what_a_part_does_not_use_is_not_in_its_checksum(extension, ours, more):
    assert digest(extension, more + textwrap.dedent(OPTIMIZER)) == digest(extension, OPTIMIZER)
    changed = textwrap.dedent(OPTIMIZER).replace("SCALE = 2", "SCALE = 3")
    assert digest(extension, more + changed) != digest(extension, OPTIMIZER)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("if 1 > 0:\n        SCALE = 3", "if 1 < 0:\n        SCALE = 3"),
        ("while SCALE < 5:\n        SCALE += 2", "while SCALE < 9:\n        SCALE += 2"),
        ("for SCALE in range(4): pass", "for SCALE in range(5): pass"),
        (
            "match 1:\n        case 1:\n            SCALE = 3",
            "match 2:\n        case 1:\n            SCALE = 3",
        ),
        ("try:\n        SCALE = 3\n    except OSError: pass", "try: pass\n    finally: SCALE = 3"),
        ("SCALE.extend([3])", "SCALE.extend([4])"),
    ],
    ids=["if", "while", "for", "match", "try", "call"],
)
def test_of_ours_what_decides_on_a_name_that_it_uses_is_in_the_checksum(
    extension, ours, before, after
):
    first, second = (
        digest(extension, OPTIMIZER.replace("SCALE = 2", f"SCALE = 2\n    {change}"))
        for change in (before, after)
    )
    assert len({first, second, digest(extension, OPTIMIZER)}) == 3


def test_of_ours_what_only_its_declaration_uses_is_not_in_the_checksum(extension, ours):
    text = OPTIMIZER.replace("ge=0", "le=LIMIT").replace('label="plain SGD"', "label=str(LIMIT)")
    text = text.replace("SCALE = 2", "LIMIT = 8\n    SCALE = 2")
    assert text.count("LIMIT") == 3
    assert digest(extension, text.replace("LIMIT = 8", "LIMIT = 9")) == digest(extension, text)


def test_the_checksum_follows_what_an_extension_imports_from_beside_it(extension):
    text = OPTIMIZER.replace("SCALE = 2", "from beside import SCALE")
    extension("SCALE = 2\nOTHER = 1\n", "beside.py")
    before = digest(extension, text)
    extension("SCALE = 2  # twice\nOTHER = 1\n", "beside.py")
    assert digest(extension, text) == before
    extension("SCALE = 3\nOTHER = 1\n", "beside.py")
    assert digest(extension, text) != before


@pytest.mark.parametrize(
    "imported", ["from beside import *", "import beside\n    SCALE = beside.SCALE"]
)
def test_the_checksum_follows_every_way_to_import(extension, imported):
    text = OPTIMIZER.replace("SCALE = 2", imported)
    extension("SCALE = 2\n", "beside.py")
    before = digest(extension, text)
    extension("SCALE = 3\n", "beside.py")
    assert digest(extension, text) != before


def test_the_checksum_of_a_part_under_another_decorator_is_that_of_its_own_code(extension):
    text = """
        import functools
        from clipgrid.study.parts import schedule
        def twice(f):
            @functools.wraps(f)
            def g(step, steps):
                return 2 * f(step, steps)
            return g
        @schedule("half", label="half the rate", ends=False)
        @twice
        def half(step, steps):
            return 0.25
    """
    path = extension(text)
    parts.load([path])
    assert parts.find("schedule", "half").file == Path(path)


def test_a_text_that_can_not_name_a_file_is_no_setting(extension):
    parts.load(
        [extension(OPTIMIZER.replace("*, weight_decay", "*, mode: str = 'a', weight_decay"))]
    )
    assert str(parts.parse("optimizer", "plain:mode=b")) == "plain:mode=b"
    with pytest.raises(InputError, match="mode: must be of letters"):
        parts.parse("optimizer", "plain:mode=a/b")


def test_the_checksums_of_our_clip_kinds_differ():
    sources = [parts.find("clip_kind", name).source for name in parts.names("clip_kind")]
    assert len(set(sources)) == len(sources)

"""Whatever chance does to the code of an extension: it is loaded, or refused in one error that
names its file, and then nothing of it stays."""

import warnings

import pytest
from spoilt import FIRST, MANY, example

from clipgrid import InputError
from clipgrid.study import parts

pytestmark = pytest.mark.usefixtures("registry_put_back")


def known():
    return {kind: dict(some) for kind, some in parts.KINDS.items()}


def test_a_spoilt_extension_is_loaded_or_refused_in_one_error(tmp_path):
    ours, found = known(), set()
    for number in range(FIRST, FIRST + MANY // 4):
        file = tmp_path / f"mine{number}.py"
        _, text = example("the text of an extension", number)
        file.write_text(text, encoding="utf-8", errors="surrogateescape")
        try:
            with warnings.catch_warnings(action="ignore"):  # of its syntax
                parts.load([str(file)])
        except InputError as error:
            assert str(error).startswith(f"{file} can't be loaded: ")
            assert known() == ours
            found.add(False)
        except BaseException as error:
            error.add_note(f"to repeat it: make fuzz FIRST={number} MANY=4")
            raise
        else:
            for kind, some in parts.KINDS.items():
                for name in some.keys() - ours[kind].keys():
                    assert len(some[name].source) == 16
            found.add(True)
        parts.KINDS.update({kind: dict(some) for kind, some in ours.items()})
    assert found == {True, False} or MANY < 200

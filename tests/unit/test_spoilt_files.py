"""Whatever chance does to a file: it is loaded, or refused in one error that names what is wrong,
within a second."""

import json
import time

import pytest
from spoilt import CLAIMS, FIRST, MANY, example

from clipgrid import InputError
from clipgrid.judging import claims
from clipgrid.study import cells, config, grid, packs, parts
from clipgrid.study.faults import StudyError

LONGEST = 1.0  # s of processor time


def assert_planned(study):
    """What is asked of a study that was loaded, before anything is trained."""
    assert config.parse(json.loads(config.to_json(study))) == study
    if len(study.values("seeds")) * len(study.values("clips")) * len(study.models) < 100:
        try:
            packs.of_study(study, cells.runs_of(grid.cells(study)))
        except InputError as error:
            assert "too long" in str(error)


def loaded(load, *arguments):
    """What was loaded; None for what was refused as it should be."""
    began = time.process_time()
    try:
        return load(*arguments)
    except StudyError as error:
        headline, *faults = str(error).splitlines()
    finally:
        assert time.process_time() - began < LONGEST
    if "can't be read" not in headline:
        assert faults
        assert all(line.startswith("  ") and line.strip().partition(": ")[2] for line in faults)
        assert all(len(line) < 2000 for line in faults)
    return None


@pytest.fixture(autouse=True)
def without_libraries(monkeypatch):
    """To say which name is near takes seconds where torchvision must be imported."""
    parts.load_ours()
    monkeypatch.setitem(parts.LIBRARIES, "model", [])


@pytest.mark.parametrize(
    ("what", "many"),
    [
        ("a study", MANY),
        ("claims", MANY // 4),
        ("the text of a study", MANY // 8),
        ("the text of claims", MANY // 16),
    ],
)
def test_a_spoilt_file_is_loaded_or_refused_in_one_error(what, many, tmp_path):
    found = set()
    for number in range(FIRST, FIRST + many):
        try:
            path, content = example(what, number)
            room = claims if path == CLAIMS else config
            if "text" in what:
                file = tmp_path / path.name
                file.write_text(content, encoding="utf-8")
                sound = loaded(room.load, file)
            else:
                sound = loaded(room.parse, content, path.name)
            if sound and room is config:
                assert_planned(sound)
        except BaseException as error:
            error.add_note(f"to repeat it: make fuzz FIRST={number} MANY=16")
            raise
        found.add(sound is not None)
    assert found == {True, False} or many < 50

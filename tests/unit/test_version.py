"""Changed code is never passed off as old results: the loop's bits are on record, and its version
rises with them. (What parts do is in the keys of the store by itself.)"""

import pytest
import record_bits
from record_bits import CASES, bits_of, processor, read, renewed, source
from switches import torch_as_it_was

from clipgrid.images.data import Dataset
from clipgrid.study.cells import TRAINER_VERSION
from clipgrid.training.machine import set_up_process

RENEW = "run `python tests/record_bits.py`, which says whether the bits have changed"


@pytest.fixture(autouse=True)
def torchs_switches_put_back():
    with torch_as_it_was():
        set_up_process()
        yield


@pytest.mark.parametrize("case", CASES)
def test_the_bits_of_the_loop_are_those_on_record(digits, case):
    """Where none of a processor or a case are known, they are at least the same each time."""
    dataset = Dataset.load(digits)
    known = read()["bits"].get(processor(), {})
    assert bits_of(case, dataset) == (known.get(case) or bits_of(case, dataset))


def test_the_loop_is_the_one_on_record():
    record = read()
    assert (record["version"], record["source"]) == (TRAINER_VERSION, source()), RENEW


@pytest.fixture
def record(monkeypatch):
    monkeypatch.setattr(record_bits, "processor", lambda: "here")
    monkeypatch.setattr(record_bits, "source", lambda: "new")
    version = TRAINER_VERSION
    return {"version": version, "source": "old", "bits": {"here": {"a": 1}, "there": {"a": 2}}}


def test_a_loop_of_the_same_bits_is_recorded_and_a_new_case_too(record):
    bits = {"a": 1, "b": 3}
    expected = {**record, "source": "new", "bits": {"here": bits, "there": {"a": 2}}}
    assert renewed(record, bits) == expected


@pytest.mark.parametrize("bits", [{"a": 9}, {}])
def test_a_loop_of_other_bits_is_not_recorded(record, bits):
    with pytest.raises(ValueError, match="other bits than those on record: a"):
        renewed(record, bits)


def test_a_loop_of_a_higher_version_is_recorded_with_its_bits_alone(record):
    record["version"] -= 1
    expected = {"version": TRAINER_VERSION, "source": "new", "bits": {"here": {"a": 9}}}
    assert renewed(record, {"a": 9}) == expected


def test_a_loop_that_changed_is_not_recorded_on_a_processor_that_knows_nothing(record):
    del record["bits"]["here"]
    with pytest.raises(ValueError, match="there are no bits of here on record"):
        renewed(record, {"a": 1})
    record["source"] = "new"
    assert renewed(record, {"a": 1})["bits"] == {"here": {"a": 1}, "there": {"a": 2}}

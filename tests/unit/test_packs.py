"""What one job trains: packs of runs, and what is written and read of them."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipgrid import InputError
from clipgrid.study import cells, grid, packs
from clipgrid.study.cells import Readout, Trajectory
from clipgrid.study.config import parse

MANY = [
    Trajectory(
        model=model,
        optimizer="momentum",
        learning_rate=0.03,
        clip=clip,
        augmentation=augmentation,
        seed=seed,
    )
    for model in ("alexnet", "vgg11", "vgg11_bn")
    for clip in (1.0, math.inf)
    for augmentation in ("none", "flip+crop")
    for seed in range(12)
]
some_runs = st.sets(st.sampled_from(MANY), min_size=1).map(
    lambda chosen: {t: [Readout(5), Readout(7, 0.9)] for t in MANY if t in chosen}
)


def a_second_each(trajectory, readouts):
    return 1.0


def common(names):
    """How many words all of the names begin with."""
    columns = zip(*names, strict=True)
    return sum(1 for _ in itertools.takewhile(lambda words: len(set(words)) == 1, columns))


@given(some_runs, st.integers(0, 60))
def test_each_run_is_in_one_pack_that_is_not_too_long_nor_shorter_than_need_be(runs, limit):
    found = [list(pack.runs) for pack in packs.pack(runs, a_second_each, limit)]
    assert sorted(t.name for pack in found for t in pack) == sorted(t.name for t in runs)
    assert all(len(pack) <= max(1, limit) for pack in found)
    for pack, following in itertools.pairwise([*found, []]):
        depth = common([t.words for t in pack])
        if following and pack[0].arm == following[0].arm:  # some seeds of an arm: one more, no
            assert len(pack) == max(1, limit)
        elif depth > 1 and len(pack) > 1:  # names that begin so, less a word: all would be too many
            joined = [t for t in runs if t.words[: depth - 1] == pack[0].words[: depth - 1]]
            assert len(joined) > limit or len(joined) == len(pack)


def test_a_pack_has_no_more_runs_than_a_command_can_name(config):
    config["seeds"] = list(range(600))
    runs = cells.runs_of(grid.cells(parse(config)))
    found = packs.pack(runs, lambda trajectory, readouts: 0.0, 1.0)
    assert max(len(pack.runs) for pack in found) == packs.MOST_RUNS
    assert len(found) == 5  # of 1,200 runs
    assert max(len(pack.text) for pack in found) < 2**17 / 2  # of one argument; quoted it is longer


def test_a_run_longer_than_a_job_should_be_is_a_job_of_its_own(config):
    runs = cells.runs_of(grid.cells(parse(config)))
    found = packs.pack(runs, a_second_each, 0)
    assert [pack.name for pack in found] == [t.name for t in runs]


@given(some_runs)
def test_packs_have_names_of_their_own(runs):
    names = [pack.name for pack in packs.pack(runs, a_second_each, 7)]
    assert len(set(names)) == len(names)


def test_runs_that_a_name_can_not_tell_apart_are_an_error():
    twins = [MANY[0], cells.replace(MANY[0], batch_size=64)]
    with pytest.raises(InputError, match="same name"):
        packs.pack({t: [Readout(5)] for t in twins}, a_second_each, 7)


@given(some_runs)
def test_the_runs_of_a_pack_are_read_back_from_its_text(runs):
    pack = packs.Pack(runs)
    assert packs.parse(pack.text) == runs
    assert list(packs.parse(pack.text)) == list(runs)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"shared": {}, "runs": [{}]}', '{"shared": {}, "runs": [1]}']
)
def test_a_text_that_is_no_pack_is_an_error(text):
    with pytest.raises(InputError, match="pack: "):
        packs.parse(text)


def test_what_a_pack_depends_on_names_the_source_of_each_of_its_parts():
    pack = packs.Pack({MANY[0]: [Readout(5)], MANY[-1]: [Readout(5)]})
    words = pack.code.split()
    for choice in (
        MANY[0].model,
        MANY[-1].model,
        MANY[0].optimizer,
        MANY[-1].augmentation.choices[1],
    ):
        assert choice.name in words
        assert choice.part.source in words


def test_the_records_of_a_studys_packs_are_read_and_of_no_others(tmp_path):
    for name in ("a", "b"):
        rows, _ = packs.files(tmp_path, name)
        rows.parent.mkdir(exist_ok=True)
        cells_of = [{"cell": f"{name}{i}"} for i in range(2)]
        rows.write_text(packs.lines(cells_of, {"run": name}, "", ""))
    of_study = [packs.Pack({t: []}) for t in MANY[:2]]
    for pack in of_study:
        text = packs.lines([{"cell": pack.name}], {"run": pack.name}, "", "")
        packs.files(tmp_path, pack.name)[0].write_text(text)
    found = packs.read_all(tmp_path, of_study)
    assert [r["cell"] for r in found if "cell" in r] == [t.name for t in MANY[:2]]

"""A bit that flips in anything that is stored, at random: the results are the same, or something is
said."""

import os
import random
import shutil

import pandas as pd
import pytest
import torch
from trials import MOMENTUM

from clipgrid import InputError
from clipgrid.images import data
from clipgrid.images.data import Dataset
from clipgrid.judging import sums
from clipgrid.judging.aggregate import aggregate
from clipgrid.judging.evidence import Evidence
from clipgrid.study import cells, grid, packs
from clipgrid.study import config as study
from clipgrid.training import pack

pytestmark = pytest.mark.usefixtures("torchs_switches_put_back")

MANY = int(os.environ.get("CLIPGRID_FLIPS", "4"))  # of each kind of file
FIRST = int(os.environ.get("CLIPGRID_FUZZ_FIRST", "0"))
flips = pytest.mark.parametrize("seed", range(FIRST, FIRST + MANY))


def flip(path, seed):
    """A bit of the file, drawn by the seed."""
    content = bytearray(path.read_bytes())
    draws = random.Random(f"{path.name} {seed}")
    place, bit = draws.randrange(len(content)), draws.randrange(8)
    content[place] ^= 1 << bit
    path.unlink()  # torch may have mapped it
    path.write_bytes(content)


# ---- the store ----------------------------------------------------------------------------------

READOUTS = "T3", "T5", "T5_ema0.9"


@flips
@pytest.mark.parametrize(
    "name", ["00000003.pt", "00000005.pt", "history-00000005.pt", "T5.json", "T5_ema0.9.json"]
)
def test_in_the_store(name, seed, trained, capsys):
    clean = trained(MOMENTUM, *READOUTS)
    if name[0].isdigit():
        trained.forget_measures(MOMENTUM)
    path = trained.store(MOMENTUM) / name
    whole = path.read_bytes()
    flip(path, seed)
    assert trained(MOMENTUM, *READOUTS).results == clean.results
    said = capsys.readouterr().err
    assert f"warning: passing over {path}, " in said or name[0] == "0" or path.read_bytes() != whole
    assert said.count("warning") <= 1


# ---- the prepared set ---------------------------------------------------------------------------


def content(path):
    dataset = Dataset.load(path)
    tensors = dataset.labels, dataset.train, dataset.validation, dataset.test
    images = dataset.take(torch.arange(len(dataset.labels)))
    return [tensor.tolist() for tensor in (images, *tensors)], dataset.about


@flips
def test_in_a_prepared_set(seed, digits, tmp_path):
    path = tmp_path / "data.pt"
    shutil.copy(digits, path)
    flip(path, seed)
    try:
        found = content(path)
    except InputError as error:
        assert str(path) in str(error)
    else:
        assert found == content(digits)


@flips
def test_in_a_prepared_set_of_the_store(seed, digits, tmp_path, capsys):
    (tmp_path / "store" / "data").mkdir(parents=True)
    (file,) = (digits.parent / "store" / "data").iterdir()
    path = tmp_path / "store" / "data" / file.name
    shutil.copy(file, path)
    flip(path, seed)
    data.prepare("digits", 8, 0, tmp_path, tmp_path / "data.pt", tmp_path / "store")
    assert content(tmp_path / "data.pt") == content(digits)
    assert capsys.readouterr().err.count("is damaged: the data set is prepared anew") <= 1


# ---- results ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(digits, tmp_path_factory):
    """The results of a study of four cells."""
    folder = tmp_path_factory.mktemp("finished")
    s = study.parse(
        {
            "title": "Small",
            "data": {"name": "digits", "size": 8},
            "models": {"alexnet": {"width": 0.125}},
            "optimizers": {"momentum": {"learning_rates": [0.03]}},
            "clips": [1, "inf"],
            "iterations": [2, 4],
            "seeds": [0],
            "training": {"batch_size": 4},
        }
    )
    (folder / "study.json").write_text(study.to_json(s))
    shutil.copy(digits.with_suffix(".json"), folder / "data.json")
    for one in packs.of_study(s, cells.runs_of(grid.cells(s))):
        pack.train(one.runs, digits, *packs.files(folder, one.name), folder / "store")
    aggregate(folder / "study.json")
    return folder


@pytest.fixture
def results(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "results")


def tables(folder):
    evidence = Evidence(study.load(folder / "study.json"), folder)
    return evidence.cells, evidence.histories, evidence.about, sums.summary(folder), evidence.study


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        if isinstance(one, pd.DataFrame):
            pd.testing.assert_frame_equal(one, other)
        else:
            assert one == other


@flips
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_in_the_files_of_a_pack(kind, seed, results, finished):
    (path,) = (results / "packs").glob(f"*.{kind}")
    flip(path, seed)
    with pytest.raises(InputError, match="isn't as it was written: remove it, and run"):
        aggregate(results / "study.json")
    assert_same(tables(results), tables(finished))


@flips
@pytest.mark.parametrize("name", [*sums.TABLES[sums.TRAINED], sums.TRAINED])
def test_in_what_is_made_of_all_packs(name, seed, results, finished):
    flip(results / name, seed)
    with pytest.raises(InputError) as error:
        tables(results)
    assert name in str(error.value)
    assert finished

"""studies/imagenet.yaml on a small folder of images: its models at 227 px, narrow, three steps."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

RESULTS = "results/imagenet"
SMALLER = {
    "{}": "{width: 0.125}",
    "5000": "3",
    "1000": "2",
    "500": "1",
    "0.003, 0.01, 0.03, 0.1, 0.3": "0.03",
    "0.01, 0.03, 0.1, 0.3": "0.03",
    "0.03, 0.1, 0.3": "0.03",
    "0.01, 0.03": "0.03",
    "0.03": "0.003",
    "[1, 10, inf]": "[1, inf]",
    "[100]": "[5]",
    "seeds: [0, 1, 2, 3, 4, 5]\nlooks: [6, 12, 24, 48]": "seeds: [0]",
    "batch_size: 128": "batch_size: 2",
    "device: cuda": "device: cpu\n  job_seconds: 36000",  # the images are fewer than it thinks
}


@pytest.fixture
def study(project):
    text = (project / "studies" / "imagenet.yaml").read_text()
    for large, small in SMALLER.items():
        assert large in text
        text = text.replace(large, small)
    (project / "studies" / "smaller.yaml").write_text(text)
    return ("--cores", 2, "--configfile", "studies/smaller.yaml", "--config")


@pytest.fixture
def photographs(tmp_path):
    """Two classes of 12 images, one of which is torn, and one gray."""
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photographs" / name).mkdir(parents=True)
        for i in range(12):
            coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), np.uint8))
            image = coarse.resize((300, 240), Image.Resampling.BICUBIC)
            image.save(tmp_path / "photographs" / name / f"{i}.jpg")
    folder = tmp_path / "photographs"
    whole = (folder / "cat" / "5.jpg").read_bytes()
    (folder / "cat" / "5.jpg").write_bytes(whole[: len(whole) // 2])
    Image.open(folder / "dog" / "5.jpg").convert("L").save(folder / "dog" / "5.jpg")
    return folder


def test_the_study_of_imagenet_runs_on_a_folder_of_images(photographs, study, project, snakemake):
    data = f"data={{name: imagefolder, folder: {photographs}}}"
    done = snakemake(project, f"{RESULTS}/cells.csv", *study, data)
    assert done.returncode == 0, done.stdout

    cells = pd.read_csv(project / RESULTS / "cells.csv")
    assert set(cells.model) == {"alexnet", "vgg16", "vgg16_bn", "resnet50"}
    assert set(cells.augmentation) == {"none", "flip", "resized-crop", "flip+inception-crop"}
    experiments = yaml.safe_load((project / "studies" / "smaller.yaml").read_text())["experiments"]
    assert set(" ".join(cells.experiments).split()) == set(experiments)
    assert (cells.status != "diverged").all()
    about = json.loads((project / RESULTS / "data.json").read_text())
    assert (about["name"], about["size"], about["channels"]) == ("imagefolder", 227, 3)
    assert about["unreadable"] == ["cat/5.jpg"]
    assert about["converted"] == {"grayscale": 1}
    assert sum(about["images"].values()) == 23
    assert "cat/5.jpg is left out" in (project / RESULTS / "logs/prepare_data.log").read_text()

    # Another study of the same images finds them in the store.
    done = snakemake(project, "elsewhere/data.pt", *study, data, "results=elsewhere")
    assert done.returncode == 0, done.stdout
    (prepared,) = (project / "store" / "data").iterdir()
    assert prepared.samefile(project / RESULTS / "data.pt")
    assert prepared.samefile(project / "elsewhere" / "data.pt")


def test_a_folder_that_is_none_is_one_error_that_the_end_tells(study, tmp_path, project, snakemake):
    data = f"data={{name: imagefolder, folder: {tmp_path / 'absent'}}}"
    done = snakemake(project, f"{RESULTS}/data.pt", *study, data)
    assert done.returncode != 0
    log = f"{RESULTS}/logs/prepare_data.log"
    message = f"{tmp_path / 'absent'} is no folder; data.folder names that of the images"
    assert (project / log).read_text() == f"clipgrid: error: {message}\n"
    assert (
        f"Not prepared; its log is {log}, and ends with:\n  clipgrid: error: {message}"
        in done.stdout
    )
    assert "Traceback" not in done.stdout
    assert not (project / RESULTS / "data.pt").exists()

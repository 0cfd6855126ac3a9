"""Whether unclipped nets learn Fashion-MNIST as well as others' do.

    python benchmarks/accuracy.py            # 40 minutes on 2 cores; writes benchmarks/results/

The nets of studies/fashion-mnist.yaml without clipping, wider, on the images' own size, 28 px, for
seven epochs with a cosine schedule: the plain trainer, held against the accuracies of 0.88 to 0.93
that the data set's README lists for small convolutional nets (github.com/zalandoresearch/
fashion-mnist). Its images come from `--folder`.
"""

import argparse
import tempfile
from pathlib import Path

import pandas as pd
import yaml
from record import ROOT, copy_checkout, record, timed

BAND = (0.88, 0.93)
CHANGES = {
    "data": {"name": "fashion-mnist", "size": 28},
    "clips": ["inf"],
    "models": {
        **{name: {"width": 0.25} for name in ("alexnet", "vgg11", "vgg11_bn")},
        "resnet18": {"width": 0.125},
    },
    "ema": ["none"],
    "augmentations": ["flip"],
    "schedules": ["cosine"],
    "train_images": ["all"],
    "label_noise": [0],
    "results": "results",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", default="/usr/share/datasets/fashion-mnist", help="its files")
    parser.add_argument("--iterations", type=int, default=10_000, help="T; fewer are a trial")
    arguments = parser.parse_args()
    study = yaml.safe_load((ROOT / "studies" / "fashion-mnist.yaml").read_text()) | CHANGES
    del study["experiments"]  # all of the grid
    study["iterations"] = [arguments.iterations]
    study["data"]["folder"] = str(Path(arguments.folder).resolve())
    study["optimizers"] = {"momentum": study["optimizers"]["momentum"] | {"learning_rates": [0.02]}}
    with tempfile.TemporaryDirectory() as scratch:
        checkout = Path(scratch)
        copy_checkout(checkout)
        (checkout / "study.yaml").write_text(yaml.safe_dump(study))
        snakemake = ("snakemake", "results/cells.csv", "--cores", "2", "--configfile", "study.yaml")
        timed(*snakemake, cwd=checkout)
        cells = pd.read_csv(checkout / "results" / "cells.csv", keep_default_na=False)
    accuracies = {
        model: {
            "mean": round(each.mean(), 4),
            "least": round(each.min(), 4),
            "most": round(each.max(), 4),
        }
        for model, each in cells.groupby("model").test_accuracy
    }
    figures = {"seeds": len(study["seeds"]), "published": BAND, "test_accuracy": accuracies}
    command = f"python benchmarks/accuracy.py --iterations {arguments.iterations}"
    record("accuracy", figures, command, ("torch", "torchvision"))


if __name__ == "__main__":
    main()

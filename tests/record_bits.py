"""The bits that the training loop gives on record: `python tests/record_bits.py` renews
tests/unit/golden/bits.json after the loop's source has changed. It does so only where the bits on
this processor are those on record, or where TRAINER_VERSION (study/cells.py) was raised."""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

from clipgrid.images.data import Dataset, prepare
from clipgrid.study import code
from clipgrid.study.cells import TRAINER_VERSION, Trajectory
from clipgrid.training.loop import advance
from clipgrid.training.machine import set_up_process, stamp
from clipgrid.training.readouts import measure, sha256_of
from clipgrid.training.run import Run

RECORD = Path(__file__).parent / "unit" / "golden" / "bits.json"
BASE = {
    "model": "alexnet:width=0.125",
    "optimizer": "momentum:weight_decay=0.0005",
    "learning_rate": 0.01,
    "clip": "norm1",
    "augmentation": "flip+crop",
    "seed": 0,
    "batch_size": 8,
    "evaluate_every": 2,
}
RMSPROP = {"optimizer": "rmsprop:weight_decay=0.0005", "learning_rate": 1e-3}
ADAMW = {"optimizer": "adamw", "learning_rate": 1e-3}
NETS = (
    *("alexnet:width=0.125", "vgg11:width=0.0625", "vgg11_bn:width=0.0625"),
    *("resnet18:width=0.125", "resnet50:width=0.125"),
)
CLIPS = (
    *("norm1", "l1norm50", "maxnorm0.1", "value0.05", "layer0.5", "agc0.01", "autoclip50"),
    *("zclip0.1", "windowed50:cap=1000.0:window=10", "adagc1.05:warm_up=10"),
    *("aggc0.9:loose=2.0:low=0.8:over=20", "scheduled10:over=20", "spectral0.5"),
)
AUGMENTATIONS = ("none", "flip", "crop", "resized-crop", "inception-crop", "flip+inception-crop")
CASES = {  # name: (settings that differ from BASE, steps)
    **{f"{net} momentum": ({"model": net}, 6) for net in NETS},
    **{f"{net} rmsprop": ({"model": net, **RMSPROP}, 6) for net in NETS},
    "adamw": (ADAMW, 6),
    **{clip: ({"clip": clip}, 30) for clip in CLIPS},
    **{augmentation: ({"augmentation": augmentation}, 6) for augmentation in AUGMENTATIONS},
    "in 2 parts": ({"accumulation_steps": 2}, 6),
    "in 3 parts": ({"batch_size": 9, "accumulation_steps": 3}, 6),
    "cosine": ({"schedule": "cosine", "schedule_steps": 30}, 6),
    "20 images": ({"train_images": 20}, 6),
    "label noise": ({"label_noise": 0.4}, 6),
    "no warm-up of averages": ({"ema_warmup": 1}, 6),
    "diverging": ({"learning_rate": 1e30, "clip": "inf"}, 6),
    "seed 7": ({"seed": 7}, 6),
    "own split": ({"seed": 7, "split": "seed"}, 6),
}
DECAYS = (0.2, 0.9)
USED = (
    *("images/data.py", "images/dataset.py", "images/loading.py"),
    *("images/transformations.py", "images/moving.py"),
    *("models/__init__.py", "study/looks.py", "clipping/flat.py"),
)


def bits_of(case: str, dataset: Dataset) -> dict:
    """Checksums of a short run: of its weights, raw and averaged, of its telemetry and measures."""
    settings, steps = CASES[case]
    run = Run(Trajectory(**BASE | settings), dataset, set(DECAYS))
    advance(run, steps)
    weights = [
        None if run.diverged_at else sha256_of(run.weights_of(decay))[:16]
        for decay in (None, *DECAYS)
    ]
    columns = (column.numpy().tobytes() for column in run.history.steps.values())
    digests = "".join(hashlib.sha256(column).hexdigest() for column in columns)
    measures = json.dumps(measure(run, DECAYS[-1]))
    return {"weights": weights, "telemetry": sha256(digests), "measures": sha256(measures)}


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def source() -> str:
    """A checksum of the loop, and of what else decides its numbers and is in no part's own."""
    room = code.PACKAGE / "training"
    aside = {room / "parts", room / "checks.py"}
    loop = [file for file in code.room("training") if aside.isdisjoint((file, *file.parents))]
    return code.digest_of_files([*loop, *(code.PACKAGE / name for name in USED)])


def processor() -> str:
    """On what bits depend, of a CPU."""
    return " ".join(stamp("cpu").values())


def read() -> dict:
    return json.loads(RECORD.read_text())


def renewed(record: dict, bits: dict[str, dict]) -> dict:
    """The record with this loop and its `bits` on this processor. ValueError where they are neither
    shown to be unchanged nor declared to be new."""
    here, version = processor(), TRAINER_VERSION
    known = record["bits"].get(here, {})
    if version > record["version"]:
        return {"version": version, "source": source(), "bits": {here: bits}}
    if not known and source() != record["source"]:
        raise ValueError(
            f"the loop has changed, and there are no bits of {here} on record: record them with the"
            " loop as it was, or raise TRAINER_VERSION"
        )
    if changed := [case for case, its in known.items() if bits.get(case) != its]:
        raise ValueError(
            f"other bits than those on record: {', '.join(changed)}. If that is meant, raise"
            " TRAINER_VERSION: all runs are then trained anew"
        )
    return {"version": version, "source": source(), "bits": record["bits"] | {here: bits}}


def main() -> None:
    set_up_process()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.pt"
        prepare("digits", 8, 0, path.parent, path, path.parent / "store")
        bits = {case: bits_of(case, Dataset.load(path)) for case in CASES}
    try:
        record = renewed(read(), bits)
    except ValueError as error:
        sys.exit(f"not recorded: {error}")
    RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

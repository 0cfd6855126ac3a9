"""A folder of images to try the study with: `python studies/own-model/make_images.py FOLDER` writes
scikit-learn's 1797 handwritten digits there as PNGs, a folder for each class, without a download.
Put your own images in their place: the study asks for a folder with a folder for each class."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def main(folder: Path) -> None:
    digits = load_digits()
    for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / f"digit-{label}" / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 255 / 16).round().astype(np.uint8)).save(path)
    print(f"{len(digits.images)} images in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Digits whose pixels are shuffled, in all images alike."""

from pathlib import Path

import numpy as np
import sklearn.datasets

from clipgrid.images.reading import Source, of_arrays
from clipgrid.study.parts import dataset


@dataset("shuffled-digits", label="shuffled digits", channels=1, images=(1149, 288, 360))
def shuffled_digits(folder: Path, size: int) -> Source:
    """scikit-learn's digits, with their 64 pixels in another order, the same for all images."""
    digits = sklearn.datasets.load_digits()
    order = np.random.default_rng(0).permutation(64)
    pixels = (digits.data[:, order] * 255 / 16).round().astype(np.uint8)
    return of_arrays(
        (pixels.reshape(-1, 1, 8, 8), digits.target),
        classes=[str(name) for name in digits.target_names],
        origin="scikit-learn, load_digits; the pixels shuffled by a permutation of seed 0",
        licence="CC BY 4.0",
    )

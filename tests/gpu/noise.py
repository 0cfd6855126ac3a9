"""A data set of noise, of any size and number of images: nothing has to be downloaded."""

import os
from pathlib import Path

import numpy as np

from clipgrid.images.reading import Source, of_arrays
from clipgrid.study.parts import dataset


@dataset("noise", label="noise", channels=3, images=(0, 0, 0), any_number=True)
def noise(folder: Path, size: int) -> Source:
    """Random images of ten classes: a class's images share a pattern, so that nets learn."""
    n = int(os.environ["CLIPGRID_NOISE_IMAGES"])
    draws = np.random.default_rng(0)
    labels = draws.integers(10, size=n)
    patterns = draws.integers(128, size=(10, 3, size, size), dtype=np.uint8)
    images = patterns[labels] + draws.integers(128, size=(n, 3, size, size), dtype=np.uint8)
    classes = [str(k) for k in range(10)]
    return of_arrays((images, labels), classes=classes, origin="random numbers", licence="none")

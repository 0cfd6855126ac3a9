"""What the unit tests share: hypothesis's profile, a tiny data set, a small study."""

import hypothesis
import pytest

from clipgrid.images.data import prepare

hypothesis.settings.register_profile(
    "clipgrid", deadline=None, derandomize=True, database=None, max_examples=50
)
hypothesis.settings.load_profile("clipgrid")


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """The prepared file of the digits at 8 px."""
    path = tmp_path_factory.mktemp("data") / "digits.pt"
    prepare("digits", 8, 0, path.parent, path, path.parent / "store")
    return path


@pytest.fixture
def config():
    """A small sound study, as a mapping: its own copy for each test."""
    return {
        "title": "Small",
        "data": {"name": "digits", "size": 8},
        "models": {"alexnet": {"width": 0.125}},
        "optimizers": {
            "momentum": {"learning_rates": [0.03]},
            "rmsprop": {"learning_rates": [0.001]},
        },
        "clips": [1, "inf"],
        "iterations": [5, 10],
        "ema": ["none", 0.9],
        "augmentations": ["none"],
        "seeds": [0],
        "training": {"batch_size": 4},
        "experiments": {
            "x": {"title": "X", "section": "1", "select": [{"optimizers": ["momentum"]}]}
        },
    }

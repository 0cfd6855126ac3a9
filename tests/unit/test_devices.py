"""What a GPU would trip over, found without one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("on_a_fake_device.py")


@pytest.fixture(scope="module")
def found(digits):
    """{combination: the error that it ends in}, from a process of its own: torch can't forget the
    device."""
    path = os.pathsep.join(sys.path)
    command = [sys.executable, SCRIPT, digits]
    env = {**os.environ, "PYTHONPATH": path}
    run = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_steps_and_readouts_of_all_parts_stay_on_the_device_and_fetch_nothing(found):
    ours = {name: e for name, e in found.items() if not name.startswith(("waits", "strays"))}
    assert {name: error for name, error in ours.items() if error} == {}
    assert len(ours) > 30
    assert {"images that are read ahead", "a Clipper by norm"} <= set(ours)


def test_a_kind_that_fetches_a_value_would_be_found(found):
    errors = [error for name, error in found.items() if name.startswith("waits")]
    assert errors
    assert all(error.startswith("DataDependentOutput") for error in errors)


def test_a_kind_that_mixes_devices_would_be_found(found):
    errors = [error for name, error in found.items() if name.startswith("strays")]
    assert errors
    assert all("device" in error for error in errors)

"""Until its first clipped step a run by norm is the unclipped one: it takes over its states."""

import math

import pytest
from trials import MOMENTUM, RMSPROP

from clipgrid.study.cells import replace

NAMES = ("T4", "T4_ema0.9", "T8", "T8_ema0.9")


pytestmark = pytest.mark.usefixtures("torchs_switches_put_back")


def norms(trained, base):
    """Of the first 8 steps, unclipped."""
    rows = trained(replace(base, clip=math.inf), "T8", at="norms").rows
    return [float(row["norm"]) for row in rows]


@pytest.mark.parametrize("base", [MOMENTUM, RMSPROP], ids=["momentum", "rmsprop"])
def test_a_run_that_is_never_clipped_is_the_unclipped_one_and_no_step_of_it_is_trained(
    trained, base
):
    unclipped, idle = replace(base, clip=math.inf), replace(base, clip=1e6)
    together = trained.pack({idle: NAMES, unclipped: NAMES})
    assert together[idle.name].results == trained(idle, *NAMES, at="alone").results
    assert together[unclipped.name].session_steps == [(0, 4), (4, 8)]
    assert [steps for steps in together[idle.name].session_steps if steps[0] < steps[1]] == []
    assert {row["limit"] for row in together[idle.name].rows} == {"1000000.0"}


def test_a_run_that_is_clipped_later_goes_on_from_the_last_T_before(trained):
    base = replace(MOMENTUM, learning_rate=0.3)  # with which norms grow
    seen = norms(trained, base)
    assert max(seen[:4]) < max(seen[4:])
    clipped = replace(base, clip=(max(seen[:4]) + max(seen[4:])) / 2)
    together = trained.pack({clipped: NAMES, replace(base, clip=math.inf): NAMES})
    assert together[clipped.name].results == trained(clipped, *NAMES, at="alone").results
    assert together[clipped.name].session_steps == [(4, 8)]


def test_a_run_that_is_clipped_at_once_is_trained(trained):
    clipped = replace(MOMENTUM, clip=1e-3)
    together = trained.pack({clipped: NAMES, replace(MOMENTUM, clip=math.inf): NAMES})
    assert together[clipped.name].session_steps == [(0, 4), (4, 8)]


def test_states_that_lack_an_average_or_are_of_other_kinds_are_not_taken_over(trained):
    unclipped, idle = replace(MOMENTUM, clip=math.inf), replace(MOMENTUM, clip=1e6)
    trained(unclipped, "T4")
    assert trained(idle, "T4_ema0.9").session_steps == [(0, 4)]
    by_layer = replace(MOMENTUM, clip="layer1000000")
    assert trained(by_layer, "T4").session_steps == [(0, 4)]

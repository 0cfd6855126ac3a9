"""The training loop: one trajectory, from its seed to the last T asked for, told in order."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from clipgrid.training import readouts
from clipgrid.training.history import Step
from clipgrid.training.pause import Pause
from clipgrid.training.run import Run
from clipgrid.training.states import Store


def train(
    run: Run, stops: Iterable[int], store: Store, pause: Pause, observe: Callable[[Run], None]
) -> Iterator[int]:
    """Train through the T's `stops`; each is yielded when the run has come there."""
    for T in stops:
        if state := store.newest_state(run.step + 1, T, set(run.averages)):
            run.load_state_dict(state)  # nothing is trained twice
        if run.step < T:
            advance(run, T, pause, observe)
            store.save_state(run.state_dict())
        yield T


def advance(
    run: Run, T: int, pause: Pause | None = None, observe: Callable[[Run], None] | None = None
) -> None:
    """Train to step `T`, or to the step whose loss or gradient isn't finite."""
    session = run.new_session()
    while run.step < T and not run.diverged_at:
        next_look = run.next_look(T)
        with clock(session, "training_seconds"):
            steps = [update(run)]
            while run.step < next_look and not (pause and pause.due()):
                steps.append(update(run))
            run.history.append(steps)  # the one fetch; may find that the run has diverged
            run.check()
        session["to"] = len(run.history)
        if run.is_looked_at and not run.diverged_at:
            with clock(session, "evaluation_seconds"):
                readouts.look(run)  # the learning curve
        if observe:
            observe(run)
        if pause and run.step < T and not run.diverged_at:
            pause.save_if_due(run)
    run.step = T  # of a diverged run too: what came of its last steps is of no use


def update(run: Run) -> Step:
    """One step. What it saw stays on the device, for which nothing waits here."""
    t = run.step
    images, labels = next(run.upcoming)  # drawn, augmented, normalised: this process's share
    loss = run.backward(images, labels, t)  # g = gradient of the batch's mean loss
    seen = run.clip(run.weights.gradients)  # g ← λ/‖g‖ · g where ‖g‖ > λ
    for group in run.optimizer.param_groups:
        group["lr"] = run.trajectory.learning_rate_at(t)
    run.optimizer.step()  # a penalty on the weights comes after the clip
    for average in run.averages.values():
        average.update(t)  # a ← d·a + (1-d)·w
    run.step = t + 1
    return Step(loss, *seen)


@contextmanager
def clock(session: dict, entry: str) -> Iterator[None]:
    """Add the seconds that it takes to an entry of the session."""
    started = time.perf_counter()
    yield
    session[entry] += time.perf_counter() - started

"""What is checked of each part that isn't ours before anything is trained: that it gives what its
kind asks for, that two builds from one seed are equal, and that a step which is done again from the
same state gives the same bits."""

import copy
import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clipgrid import InputError
from clipgrid.clipping import Telemetry
from clipgrid.files import aside
from clipgrid.images.dataset import Dataset
from clipgrid.images.loading import Images
from clipgrid.study import trials
from clipgrid.study.cells import Runs
from clipgrid.study.faults import first_line, listed, place_of
from clipgrid.study.parts import Choice
from clipgrid.training import machine
from clipgrid.training.loop import update
from clipgrid.training.run import Run

RIGHT = {
    "model": "draw what is random from torch's global generator, as dropout does, and keep what"
    " changes from step to step in buffers",
    "optimizer": "keep what it remembers in self.state, and draw nothing at random",
    "objective": "let it depend on logits and labels alone, and draw what is random from torch's"
    " global generator",
    "clip_kind": "keep what it remembers in `state`, and draw nothing at random",
    "augmentation": "draw what is random in `draw`, from the generator that it is given",
    "schedule": "let it depend on the step and on T alone",
}
"""How a part of a kind gives the same each time."""


def check(runs: Runs, data: Path, out: Path) -> None:
    """Try the part of each of `runs`, as `trials.of` makes them, on the images of `data`; `out`
    lists them as JSON. InputError, with a fault for each part that can't be trained with."""
    machine.set_up_process()
    dataset = Dataset.load(data)
    images = Images(dataset, torch.device("cpu"))
    faults, sound = [], []
    for trial in runs:
        choice = trials.tried_in(trial)
        part = choice.part
        name = f"{part.kind.replace('_', ' ')} {choice}"
        try:
            check_part(choice, functools.partial(Run, trial, dataset, set(), images))
            sound.append({"part": name, "file": str(part.file), "source": part.source})
        except InputError as error:
            said = str(error).removeprefix(f"model {trial.model}: ")
            place = "" if str(part.file) in said else f" (in {part.file})"
            faults.append((name, said + place))
        except Exception as error:  # whatever its code does
            place = place_of(error) or f" (in {part.file})"
            faults.append((name, f"{type(error).__name__}: {first_line(error)}{place}"))
    if faults:
        raise InputError(listed(faults, "what isn't clipgrid's own can't be trained with"))
    with aside(out, "w") as file:
        file.write(json.dumps(sound, indent=1) + "\n")


def check_part(choice: Choice, start: Callable[[], Run]) -> None:
    """InputError for a part that can't be trained with, or whatever else its code raises. `start`
    makes the trial's run anew. (One lives at a time, as it may be large.)"""
    run = start()
    OF_KIND[choice.part.kind](choice, run)
    check_loss(run)
    run = start()
    states = [copy.deepcopy(run.state_dict())]
    for _ in range(trials.STEPS):
        update(run)
        states.append(copy.deepcopy(run.state_dict()))
    run.check()
    right = RIGHT[choice.part.kind]
    run = start()
    if name := difference(run.state_dict(), states[0]):
        raise InputError(f"two builds from one seed differ, in {name}; {right}")
    update(run)
    name = difference(run.state_dict(), states[1])
    if not name:
        run = start()
        run.load_state_dict(copy.deepcopy(states[1]))
        update(run)
        name = difference(run.state_dict(), states[2])
    if name:
        again = "a step that is done again from the same state"
        raise InputError(f"{again} gives other bits, in {name}; {right}")


def difference(one: dict[str, Any], other: dict[str, Any]) -> str:
    """Where two states of a run differ to the bit, in words; nothing where they don't."""
    for of in ("model", "optimizer", "clip"):
        here, there = dict(flat(one[of])), dict(flat(other[of]))
        for name in here | there:
            if name not in here or name not in there or not same(here[name], there[name]):
                return f"its {name}" if of == "model" else f"the state of the {of}"
    return ""


def same(one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return one is other or one == other
    return one.shape == other.shape and bool(((one == other) | (one.isnan() & other.isnan())).all())


def flat(state: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(name, value) of what lies in nested mappings and lists."""
    if isinstance(state, dict | list | tuple):
        pairs = state.items() if isinstance(state, dict) else enumerate(state)
        for key, value in pairs:
            yield from flat(value, f"{name}.{key}".lstrip("."))
    else:
        yield name, state


# ---- what each kind gives -----------------------------------------------------------------------


def check_model(choice: Choice, run: Run) -> None:
    """Logits of the right shape, in training and evaluation, and finite gradients."""
    images, _ = next(run.batches.since(0))
    classes = len(run.dataset.about["classes"])
    for training in (True, False):
        run.model.train(training)
        mode = "training" if training else "eval"
        with torch.set_grad_enabled(training):  # as it is evaluated; torch has other kernels then
            logits = run.model(images)
        if not isinstance(logits, Tensor):
            gives = f"{type(logits).__name__}, and not a tensor of logits"
            raise InputError(f"in {mode} mode it gives {gives} [batch, classes]")
        if logits.shape != (len(images), classes):
            right = f"[{len(images)}, {classes}], a number for each image and class, would be right"
            raise InputError(f"in {mode} mode its logits are {list(logits.shape)}, where {right}")
        if not logits.isfinite().all():
            raise InputError(f"in {mode} mode not all of its logits are finite")
    with torch.no_grad():
        if not torch.equal(logits, run.model(images)):
            right = "let it draw nothing at random there, and change nothing"
            raise InputError(f"in eval mode two looks at the same images differ; {right}")


def check_loss(run: Run) -> None:
    """A loss that has a gradient, which is finite, in some parameter."""
    images, labels = next(run.batches.since(0))
    loss = run.trajectory.objective(run.model.train()(images).float(), labels)
    if not isinstance(loss, Tensor) or loss.shape:
        shape = f"of shape {list(loss.shape)}" if isinstance(loss, Tensor) else "no tensor"
        raise InputError(f"its loss is {shape}; it is to be one number, the mean over the batch")
    reached = []
    if loss.requires_grad:
        loss.backward()
        reached = [(n, p.grad) for n, p in run.model.named_parameters() if p.grad is not None]
        run.model.zero_grad()
    if not reached:
        what = "no gradient reaches the model's parameters"
        raise InputError(f"{what}: a detach, no_grad or numpy on the way cuts it off")
    if not loss.isfinite():
        raise InputError(f"its loss isn't finite at the first step, but {loss.item()}")
    for name, gradient in reached:
        if not gradient.isfinite().all():
            raise InputError(f"the gradient of {name} isn't finite at the first step")


def check_optimizer(choice: Choice, run: Run) -> None:
    if not isinstance(run.optimizer, torch.optim.Optimizer):
        gives = type(run.optimizer).__name__
        raise InputError(f"its function gives {gives}, and not a torch.optim.Optimizer")


def check_clip(choice: Choice, run: Run) -> None:
    images, labels = next(run.batches.since(0))
    run.backward(images, labels, 0)
    seen = run.clip(run.weights.gradients)
    if not isinstance(seen, Telemetry):
        raise InputError(f"it gives {type(seen).__name__}, and not a clipping.Telemetry")
    for name, value in zip(Telemetry._fields, seen, strict=True):
        if not isinstance(value, Tensor) or value.shape:
            raise InputError(f"{name} of its Telemetry is to be a 0-dim tensor, not {value!r}")


def check_augmentation(choice: Choice, run: Run) -> None:
    images = run.images.take(run.batches.indices(0))
    augmented = run.batches.augment(images.clone(), 0)
    if augmented.shape != images.shape or augmented.dtype != images.dtype:
        gives = f"{augmented.dtype} {list(augmented.shape)}"
        right = f"{images.dtype} {list(images.shape)}".replace("torch.", "")
        raise InputError(f"it makes {gives} of images that are {right}".replace("torch.", ""))


def check_schedule(choice: Choice, run: Run) -> None:
    steps = run.trajectory.schedule_steps
    for step in (0, 1, max(steps - 1, 1)):
        factor = choice(step, steps)
        if not isinstance(factor, int | float) or not 0 <= factor < float("inf"):
            raise InputError(f"its factor of step {step} is {factor!r}; a number from 0 is right")


def check_nothing(choice: Choice, run: Run) -> None:
    """Of an objective: check_loss looks at it."""


OF_KIND: dict[str, Callable[[Choice, Run], None]] = {
    **{"model": check_model, "optimizer": check_optimizer, "objective": check_nothing},
    **{"clip_kind": check_clip, "augmentation": check_augmentation, "schedule": check_schedule},
}

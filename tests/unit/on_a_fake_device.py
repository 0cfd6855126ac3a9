"""Whole steps and readouts with tensors that hold nothing, on a device that doesn't exist: what a
GPU would trip over shows without one. Tensors on two devices that meet, a value that is fetched
within a step, memory that can't be pinned: each is an error here. Prints {combination: its error}.

torch's CUDA needs a CUDA build even for that. So the device is a backend of Python's, whose tensors
FakeTensorMode treats as it does CUDA's. It has no kernels of autocast: bfloat16 isn't tried.
"""

import json
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import backend_registration

from clipgrid import clipping
from clipgrid.clipping import kinds
from clipgrid.images import loading
from clipgrid.images.data import Dataset
from clipgrid.study import cells, parts
from clipgrid.study.looks import TRANSFORMATIONS
from clipgrid.training import readouts
from clipgrid.training.loop import update
from clipgrid.training.run import Run

DEVICE = "nowhere"
BASE = cells.Trajectory(
    model="alexnet:width=0.125",
    optimizer="momentum",
    learning_rate=0.01,
    clip=1,
    augmentation="flip+crop",
    seed=0,
    batch_size=8,
)


def combinations():
    """Of all that the registry knows: nets and clip kinds with optimizers, augmentations."""
    models = [parts.find("model", name) for name in parts.names("model")]
    families = {model.about["family"]: model for model in reversed(models)}
    nets = [
        f"{model.name}:width=0.125" if "width" in model.settings.model_fields else model.name
        for model in families.values()
    ]
    for optimizer in parts.names("optimizer"):
        for net in nets:
            yield {"model": net, "optimizer": optimizer}
        for kind in parts.names("clip_kind"):
            yield {"clip": cells.Clip.of(kind, 0.01), "optimizer": optimizer}
    for augmentation in ("none", *parts.names("augmentation")):
        yield {"augmentation": augmentation}
    yield {"accumulation_steps": 2}


class Module(backend_registration._DummyBackendModule):
    def manual_seed(self, seed):
        pass

    def get_amp_supported_dtype(self):
        return [torch.bfloat16]


def pin_memory(tensor, device=None):
    assert not torch._debug_has_internal_overlap(tensor), "pinning fills it element by element"
    return tensor


def to(module, device=None, memory_format=torch.preserve_format):
    """nn.Module.to, which can't swap fake tensors."""
    for part in module.modules():
        for name, weight in part._parameters.items():
            if weight is not None:
                layout = memory_format if weight.dim() == 4 else torch.preserve_format
                there = weight.detach().to(device or weight.device, memory_format=layout)
                part._parameters[name] = nn.Parameter(there)
        for name, tensor in part._buffers.items():
            part._buffers[name] = tensor.to(device or tensor.device)
    return module


class AtOnce(ThreadPoolExecutor):
    def submit(self, function, *arguments):
        done = Future()
        done.set_result(function(*arguments))
        return done


@parts.clip_kind("waits", label="waits {}", observes="")
def waits(gradients, weights, threshold, state):
    """A fault that must be found: it fetches a value."""
    return clipping.clip_by_value(gradients, min(threshold, float(gradients[0].sum())))


@parts.clip_kind("strays", label="strays {}", observes="")
def strays(gradients, weights, threshold, state):
    """A fault that must be found: a tensor of the CPU's meets one of the device's."""
    gradients[0].add_(torch.ones_like(gradients[0], device="cpu"))
    return clipping.clip_by_value(gradients, threshold)


def set_up():
    backend_registration._setup_privateuseone_for_python_backend(DEVICE, Module())
    torch.Tensor.pin_memory = pin_memory
    nn.Module.to = to
    FakeTensorMode.may_turn_const = lambda *_: False  # it would be computed, on the device
    loading.ThreadPoolExecutor = AtOnce  # two threads can't share a FakeTensorMode
    # Images that hold nothing can't be held against their sums.
    Dataset.check = lambda *_: None
    Dataset.take = lambda self, index: self.images.index_select(0, index)


def run(dataset, settings):
    trajectory = cells.replace(BASE, **settings).model_copy(update={"device": DEVICE})
    run = Run(trajectory, dataset, {0.9})
    steps = [update(run), update(run)]
    if run.clip.state and str(trajectory.optimizer) == "momentum":
        steps += [update(run) for _ in range(25)]  # past a warm-up
    for value in (value for step in steps for value in step):
        assert (value.device.type, value.dim()) == (DEVICE, 0)
    for transformation in (None, *TRANSFORMATIONS):
        found = readouts.totals(run, dataset.test, 0.9, transformation)
        assert found.device.type == DEVICE


def with_clipper(spec):
    """The same of the library's Clipper, with groups and a parameter that has no gradient."""
    model = to(nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2), nn.Linear(2, 2)), DEVICE)
    groups = [{"params": model[0]}, {"params": model[1]}, {"params": model[2], "name": "unused"}]
    for given in (model, groups):
        clipper = clipping.Clipper(given, spec, by_layer=True)
        for _ in range(3):
            for parameter in model[:2].parameters():
                parameter.grad = torch.ones_like(parameter)
            for value in clipper():
                assert (value.device.type, value.dim()) == (DEVICE, 0)
        assert clipper.steps == 3


def main():
    dataset = Dataset.load(Path(sys.argv[1]))
    set_up()
    library = torch.library.Library("aten", "IMPL", "Meta")  # torch has no fake of this operator
    library.impl("_fused_sgd_", lambda *_, **__: None)
    mode = FakeTensorMode(allow_fallback_kernels=False)
    images = {
        field.name: mode.from_tensor(getattr(dataset, field.name))
        for field in fields(dataset)
        if isinstance(getattr(dataset, field.name), torch.Tensor)
    }
    found = {}
    with mode:
        for resident in (True, False):
            loading.RESIDENT_BYTES = 8e9 * resident
            for settings in combinations() if resident else [{}]:
                name = " ".join(map(str, settings.values())) or "images that are read ahead"
                try:
                    run(replace(dataset, **images), settings)
                    found[name] = ""
                except Exception as error:
                    found[name] = f"{type(error).__name__}: {error}"
        for kind in kinds.KINDS.values():
            try:
                with_clipper(f"{kind.name}0.01")
                found[f"a Clipper by {kind.name}"] = ""
            except Exception as error:
                found[f"a Clipper by {kind.name}"] = f"{type(error).__name__}: {error}"
    print(json.dumps(found))


if __name__ == "__main__":
    main()

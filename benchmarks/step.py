"""What a step of ours costs beyond forward, backward and optimizer of the same model.

    python benchmarks/step.py      # about 4 minutes on a CPU; writes benchmarks/results/step.json

Every variant takes its turn in every round; ratios are within a round, medians over the rounds.
On a machine with CUDA (`--device cuda`) the launches of a step are counted too.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from record import prepare, record

from clipgrid.clipping import Telemetry
from clipgrid.images.data import Dataset
from clipgrid.study.grid import CLIPS, Trajectory
from clipgrid.training.trainer import Run, set_up_process

WIDTHS = {"alexnet": 0.125, "vgg11": 0.0625, "resnet18": 0.125}  # of the default study
THRESHOLDS = {"agc": 0.01, "autoclip": 50.0, "zclip": 2.5}
STEPS = 50  # of a variant in a round


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--models", nargs="+", choices=WIDTHS, default=list(WIDTHS))
    arguments = parser.parse_args()
    set_up_process()  # for all variants: the bare step too has what clipgrid does for speed
    with tempfile.TemporaryDirectory() as folder:
        dataset = Dataset.load(prepare(Path(folder)))
    figures = {
        model: measure(variants(model, dataset, arguments.device), arguments.rounds)
        for model in arguments.models
    }
    name = "step" if arguments.device == "cpu" else f"step-{arguments.device}"
    record(name, figures, f"python benchmarks/step.py --device {arguments.device}", ("torch",))


def variants(model: str, dataset: Dataset, device: str) -> dict[str, Callable[[], object]]:
    """One step each, by name; all of one model."""
    ours = Trajectory(
        model=model,
        optimizer="momentum",
        learning_rate=0.03,
        threshold=1.0,
        augmentation="crop",
        seed=0,
        width=WIDTHS[model],
        weight_decay=5e-4,
        device=device,
    )

    def run(decays=(0.999,), **changes) -> Run:
        return Run(replace(ours, **changes), dataset, set(decays))

    unclipped = run()
    zero = torch.zeros((), dtype=torch.float64, device=device)
    unclipped.clip = lambda: Telemetry(zero, zero, zero, zero, zero)  # type: ignore[method-assign]
    every_kind = {
        f"all, clip: {kind}": run(clip=kind, threshold=THRESHOLDS.get(kind, 1.0)).train_step
        for kind in CLIPS
        if kind != "norm"
    }
    return {
        "bare": bare_step(run()),
        "all": run().train_step,
        "all but averaging": run(decays=()).train_step,
        "all but augmentation": run(augmentation="none").train_step,
        "all but clipping": unclipped.train_step,
        **every_kind,
        "all, RMSProp": run(optimizer="rmsprop", learning_rate=1e-3).train_step,
        "all, in 2 parts": run(accumulation_steps=2).train_step,
        "all, bfloat16": run(precision="bfloat16").train_step,
        "all, compiled": run(compile="default").train_step,
        **(
            {"all, CUDA graphs": run(compile="reduce-overhead").train_step}
            if device == "cuda"
            else {}
        ),
    }


def bare_step(run: Run) -> Callable[[], object]:
    """Forward, backward and the optimizer on one batch that is ready."""
    index, images = next(run.batches_from(0))
    images, labels = run.normalize(images), run.labels[index]
    run.model.train()

    def step() -> None:
        torch.nn.functional.cross_entropy(run.model(images), labels).backward()
        run.optimizer.step()
        run.optimizer.zero_grad()

    return step


def measure(steps: dict[str, Callable[[], object]], rounds: int) -> dict:
    """Milliseconds of a step and its ratio to the bare one, medians over the rounds."""
    cuda = torch.cuda.is_available()
    for step in steps.values():  # compiles, allocates
        for _ in range(30):
            step()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    order = list(steps)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            if cuda:
                torch.cuda.synchronize()
            started = time.perf_counter()
            for _ in range(STEPS):
                steps[name]()
            if cuda:
                torch.cuda.synchronize()
            seconds[name].append((time.perf_counter() - started) / STEPS)
    figures = {}
    for name, times in seconds.items():
        ratios = [t / bare for t, bare in zip(times, seconds["bare"], strict=True)]
        figures[name] = {
            "milliseconds": round(1000 * statistics.median(times), 3),
            "ratio_to_bare": round(statistics.median(ratios), 3),
        }
        if cuda:
            figures[name]["kernel_launches"] = launches(steps[name])
    return figures


def launches(step: Callable[[], object]) -> int:
    """CUDA kernels and graphs that one step launches."""
    with torch.profiler.profile(activities=list(torch.profiler.supported_activities())) as profile:
        step()
    counts = {event.key: event.count for event in profile.key_averages()}
    return counts.get("cudaLaunchKernel", 0) + counts.get("cudaGraphLaunch", 0)


if __name__ == "__main__":
    main()

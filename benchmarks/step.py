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
from functools import partial
from pathlib import Path

import torch
from record import prepare, record

from clipgrid.clipping import Telemetry
from clipgrid.images.data import Dataset
from clipgrid.study import parts
from clipgrid.study.cells import Clip, Trajectory, replace
from clipgrid.training.loop import update
from clipgrid.training.machine import set_up_process
from clipgrid.training.run import Run

MODELS = ("alexnet", "vgg11", "resnet10")  # of the default study, at an eighth of their width
STEPS = 50  # of a variant in a round


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    arguments = parser.parse_args()
    set_up_process()  # for all variants: the bare step too has what clipgrid does for speed
    with tempfile.TemporaryDirectory() as folder:
        dataset = Dataset.load(prepare(Path(folder), size=8))
    figures = {
        model: measure(variants(model, dataset, arguments.device), arguments.rounds)
        for model in arguments.models
    }
    name = "step" if arguments.device == "cpu" else f"step-{arguments.device}"
    record(name, figures, f"python benchmarks/step.py --device {arguments.device}", ("torch",))


def variants(model: str, dataset: Dataset, device: str) -> dict[str, Callable[[], object]]:
    """One step each, by name; all of one model."""
    ours = Trajectory(
        model=f"{model}:width=0.125",
        optimizer="momentum:weight_decay=0.0005",
        learning_rate=0.03,
        clip=1,
        augmentation="crop",
        seed=0,
        device=device,
    )

    def run(decays=(0.999,), **changes) -> Run:
        return Run(replace(ours, **changes), dataset, set(decays))

    def step(*decays, **changes) -> Callable[[], object]:
        return partial(update, run(*decays, **changes))

    unclipped = run()
    zero = torch.zeros((), dtype=torch.float64, device=device)
    unclipped.clip = lambda _: Telemetry(zero, zero, zero, zero, zero)  # type: ignore[assignment]
    every_kind = {  # a step costs the same whether it clips or not
        f"all, clip: {kind}": step(clip=Clip.of(kind, 1.0))
        for kind in parts.names("clip_kind")
        if kind != "norm"
    }
    every_optimizer = {
        f"all, {parts.find('optimizer', name).label}": step(optimizer=name, learning_rate=1e-3)
        for name in parts.names("optimizer")
        if name != "momentum"
    }
    return {
        "bare": bare_step(run()),
        "all": step(),
        "all but averaging": step(()),
        "all but augmentation": step(augmentation="none"),
        "all but clipping": partial(update, unclipped),
        **every_kind,
        **every_optimizer,
        "all, in 2 parts": step(accumulation_steps=2),
        "all, bfloat16": step(precision="bfloat16"),
        "all, compiled": step(compile="default"),
        **({"all, CUDA graphs": step(compile="reduce-overhead")} if device == "cuda" else {}),
    }


def bare_step(run: Run) -> Callable[[], object]:
    """Forward, backward and torch's fused SGD on one batch that is ready."""
    images, labels = next(run.upcoming)
    optimizer = run.trajectory.optimizer(run.model.parameters(), run.trajectory.learning_rate)
    run.model.train()

    def step() -> None:
        torch.nn.functional.cross_entropy(run.model(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

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
    ours = ("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch")  # ExC, Ex: theirs too
    return sum(event.count for event in profile.key_averages() if event.key.startswith(ours))


if __name__ == "__main__":
    main()

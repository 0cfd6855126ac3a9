"""How a run's cost grows with the T's, moving averages, λ's and seeds that are asked of it.

    python benchmarks/growth.py              # about 13 minutes; writes benchmarks/results/

T's and averages are read-outs of one run, so they should cost next to nothing; each λ and each
seed is a run of its own, two at a time on two cores. Times are those of `python -m clipgrid
train`, from its start to its end, on the default study's images.
"""

import argparse
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

from record import prepare, record, timed

MODELS = ("alexnet", "resnet18")
DECAYS = (0.999, 0.99, 0.9, 0.9999)
# All small, so that none diverges, which would end its run early.
THRESHOLDS = (1, 0.5, 0.25, 2)
CORES = 2
COMMON = {"optimizer": "momentum:weight_decay=0.0005", "learning-rate": 0.03}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--iterations", type=int, default=1000, help="the largest T")
    parser.add_argument("--repetitions", type=int, default=3, help="rounds through all")
    arguments = parser.parse_args()
    largest, repetitions = arguments.iterations, arguments.repetitions
    seconds: dict[tuple[str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as folder:
        data = prepare(Path(folder))
        for _ in range(repetitions):
            for model in MODELS:
                for axis, count, runs in series(model, largest):
                    seconds[model, axis][count].append(wall(runs, data))
                    line = f"{model}, {axis} {count}: {seconds[model, axis][count][-1]:.1f} s"
                    print(line, file=sys.stderr)
    figures: dict = {"largest_T": largest, "repetitions": repetitions}
    for (model, axis), counts in seconds.items():
        medians = {count: statistics.median(each) for count, each in counts.items()}
        first = medians[min(medians)]
        figures.setdefault(model, {})[axis] = {
            count: {"seconds": round(s, 2), "times_the_first": round(s / first, 2)}
            for count, s in medians.items()
        }
    options = f"--iterations {largest} --repetitions {repetitions}"
    record("growth", figures, f"python benchmarks/growth.py {options}", ("torch",))


def series(model: str, largest: int) -> Iterator[tuple[str, int, list[dict]]]:
    """Axis, how many of it are asked for, and the flags of the runs that this takes."""
    of_model = {"model": f"{model}:width=0.125", "clip": 1, "seed": 0}
    run = COMMON | of_model | {"readouts": [f"T{largest}"]}
    for n in (1, 2, 4, 8):
        yield (
            "iterations",
            n,
            [run | {"readouts": [f"T{largest * (i + 1) // n}" for i in range(n)]}],
        )
    for n in (0, 1, 2, 4):
        averages = [f"T{largest}_ema{decay}" for decay in DECAYS[:n]]
        yield "ema", n, [run | {"readouts": run["readouts"] + averages}]
    for n in (1, 2, 4):
        yield "clips", n, [run | {"clip": threshold} for threshold in THRESHOLDS[:n]]
    for n in (1, 2, 4):
        yield "seeds", n, [run | {"seed": seed} for seed in range(n)]


def wall(runs: list[dict], data: Path) -> float:
    """Seconds of wall time of all `runs`, as many at a time as there are cores, from nothing."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(CORES) as pool:

        def train(run: dict) -> None:
            flags = run | {"data": data, "out": f"out{runs.index(run)}", "store": "store"}
            command = ["clipgrid", "train"]
            for flag, value in flags.items():
                command += [f"--{flag}", *map(str, value if isinstance(value, list) else [value])]
            timed(*command, cwd=Path(folder))

        started = perf_counter()
        list(pool.map(train, runs))
        return perf_counter() - started


if __name__ == "__main__":
    main()

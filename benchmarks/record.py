"""What the benchmarks share: a fresh checkout, images, the written record."""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent
CHECKOUT = (
    "Snakefile",
    "config.yaml",
    "claims.yaml",
    "profiles",
    "slurm",
    "workflow",
    "src",
    "notebooks",
    "report",
    "envs",
)
# The programs of this Python come first, and the code that lies here.
ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "PYTHONPATH": str(ROOT / "src"),
}


def copy_checkout(folder: Path) -> None:
    """The checkout without its results and states, so that nothing trained is taken over."""
    for name in CHECKOUT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)


def prepare(folder: Path, size: int = 12) -> Path:
    """Digits at `size` px as a file in `folder`."""
    data = folder / "data.pt"
    asked = f"--name digits --size {size} --out {data}".split()
    timed("clipgrid", "prepare", *asked, cwd=folder)
    return data


def small_study(checkout: Path, cells: int) -> Path:
    """The file of a study of so many cells: AlexNet, five λ, two T's, and so ten cells a seed."""
    study = {
        "title": f"{cells} cells",
        "data": {"name": "digits", "size": 8},
        "models": {"alexnet": {"width": 0.125}},
        "optimizers": {"momentum": {"learning_rates": [0.03]}},
        "clips": [0.1, 1, 10, 100, "inf"],
        "iterations": [100, 200],
        "ema": ["none"],
        "augmentations": ["none"],
        "seeds": list(range(cells // 10)),
    }
    file = checkout / f"{cells}.yaml"
    file.write_text(json.dumps(study))
    return file


def timed(module: str, *arguments: str, cwd: Path) -> float:
    """Seconds of wall time of `python -m module …`."""
    command = [sys.executable, "-m", module, *arguments]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return seconds


def record(
    name: str,
    figures: dict,
    command: str,
    packages: tuple[str, ...] = ("snakemake", "torch", "papermill"),
) -> None:
    """Write benchmarks/results/NAME.json, and print it."""
    result = {
        "name": name,
        "command": command,
        "figures": figures,
        "device": f"{os.cpu_count()} CPU cores, {platform.machine()}",
        "versions": {p: version(p) for p in packages} | {"python": platform.python_version()},
        "commit": commit(),
    }
    path = ROOT / "benchmarks" / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(path.read_text())


def commit() -> str:
    """The checkout's commit, marked where anything but the records differs from it."""

    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    changed = git("status", "--porcelain", "--", ".", ":!benchmarks/results")
    return git("rev-parse", "--short=12", "HEAD").strip() + ("-dirty" if changed else "")

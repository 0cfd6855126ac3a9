"""The machine that trains: how a process is set up, and what bits depend on."""

import ctypes
import os
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path

import torch

from clipgrid import InputError
from clipgrid.study.cells import Training


def set_up_process(precision: str = "float32") -> None:
    """One thread, the same bits each time, and memory that is kept from step to step."""
    torch.set_num_threads(1)  # the number of threads changes bits, and jobs run side by side
    # The same as use_deterministic_algorithms(True), but that imports torch's compiler: 2 seconds.
    torch.set_deterministic_debug_mode("error")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs 4%
    torch.backends.cudnn.benchmark = False
    # float32 is IEEE's, though cuDNN's own default is TF32. (torch.compile reads these older flags,
    # and fails where the newer fp32_precision of one operator differs from another's.)
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # glibc gives the megabytes that a step frees back to the system, and the next step faults them
    # in again: up to 15% of a small net's step.
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
        libc.mallopt(-3, 2**25)  # M_MMAP_THRESHOLD, the largest allowed


def check(training: Training) -> None:
    """InputError where this machine lacks what a run asks for."""
    if training.device == "cuda" and not torch.cuda.is_available():
        raise InputError("device: torch finds no CUDA device here")
    if training.compile != "none" and not shutil.which("c++"):
        raise InputError("compile: torch.compile needs a C++ compiler, and finds no c++ here")


@cache
def stamp(device: str) -> dict[str, str]:
    """What the bits of a run depend on beside its key: the processor's kind and the libraries. A
    state is continued only where it is the same."""
    version = str(torch.__version__)  # a subclass of str, which weights_only won't load
    if device == "cuda":
        from torch.utils import collect_env

        return {
            "processor": torch.cuda.get_device_name(),
            "driver": str(collect_env.get_nvidia_driver_version(collect_env.run)),
            "cudnn": str(torch.backends.cudnn.version()),
            "torch": version,
        }
    # The instruction set changes bits, and the maker too: libraries choose their kernels by both.
    kind = f"{maker()} {platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return {"processor": kind, "torch": version}


def maker() -> str:
    """Who made the CPU."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []  # noqa: PLW1514
    makers = [line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")]
    return (makers or [platform.processor()])[0]


@cache
def provenance(device: str) -> dict[str, str]:
    """Where steps are trained: device, versions, commit."""
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        said = subprocess.run(
            describe, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
        commit = said.stdout.strip()
    except OSError:  # there is no git
        commit = ""
    return {
        "device": device,
        **stamp(device),
        "python": platform.python_version(),
        "commit": commit or "unknown",
    }

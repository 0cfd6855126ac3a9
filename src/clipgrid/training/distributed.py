"""One run on several GPUs: a process each, started by torchrun, that share every batch.

Alone, which is the usual case, a process is the first of one, and nothing here does anything.
"""

import os
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn

from clipgrid import InputError

PROCESSES = int(os.environ.get("WORLD_SIZE", 1))
RANK = int(os.environ.get("RANK", 0)) if PROCESSES > 1 else 0  # a launcher around it may set one
BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}


def start(processes: int, device: str) -> None:
    """Join the other processes of a run. InputError where there aren't as many as it asks for."""
    if processes != PROCESSES:
        raise InputError(
            f"gpus_per_run: {processes} processes share this run, and {PROCESSES} were started;"
            f" start it by torchrun --nproc-per-node {processes} -m clipgrid …"
        )
    if processes > 1 and not dist.is_initialized():
        if device == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group(BACKENDS[device])


def stop() -> None:
    """Leave them, in the end."""
    if dist.is_initialized():
        dist.destroy_process_group()


def wait() -> None:
    """Until all have come here: what the first process wrote is there for the others to read."""
    if PROCESSES > 1:
        dist.barrier()


def share(n: int) -> slice:
    """Of a batch of `n`, what this process takes."""
    return slice(RANK * n // PROCESSES, (RANK + 1) * n // PROCESSES)


def wrap(model: nn.Module, device: torch.device) -> nn.Module:
    """The model whose backward pass leaves each process the mean of all gradients. Batch norm sees
    the whole batch, on GPUs: torch has no SyncBatchNorm for CPUs."""
    if PROCESSES == 1:
        return model
    if device.type == "cuda":
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return nn.parallel.DistributedDataParallel(model)


def no_sync(model: nn.Module) -> AbstractContextManager:
    """Where its backward passes leave each process the gradients of its own share alone."""
    if isinstance(model, nn.parallel.DistributedDataParallel):
        return model.no_sync()
    return nullcontext()


def mean(x: Tensor) -> Tensor:
    """Of the processes' `x`."""
    return total(x) / PROCESSES if PROCESSES > 1 else x


def total(x: Tensor) -> Tensor:
    if PROCESSES > 1:
        dist.all_reduce(x)
    return x


def largest(x: int) -> int:
    """Of the processes' `x`, which doesn't wait for their GPUs."""
    if PROCESSES == 1:
        return x
    one = torch.tensor(x)
    dist.all_reduce(one, dist.ReduceOp.MAX)
    return int(one)

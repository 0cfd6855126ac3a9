"""What training switches in torch."""

from contextlib import contextmanager

import torch


@contextmanager
def torch_as_it_was():
    """Training makes torch deterministic for its whole process: here, that ends with the test."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    tf32 = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.set_num_threads(1)  # tests run side by side
    yield
    torch.use_deterministic_algorithms(deterministic)
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = benchmark
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = tf32

"""Threads that leave torch's own threads alone: whole-machine parallelism comes from workers."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


def pool(workers: int) -> ThreadPoolExecutor:
    """Return a pool of ``workers`` threads, for each of which torch uses one thread."""
    return ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let torch use one thread for what the calling thread computes, as it does in a `pool`."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

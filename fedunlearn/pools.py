"""Threads that leave torch's own threads alone: whole-machine parallelism comes from workers."""

from concurrent.futures import ThreadPoolExecutor

import torch


def pool(workers: int) -> ThreadPoolExecutor:
    """Return a pool of ``workers`` threads, for each of which torch uses one thread."""
    return ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))

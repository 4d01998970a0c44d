"""Processes of one distributed run on this machine's CPUs, as torchrun starts them."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkProcess
from typing import Any

import torch
from accelerate.state import AcceleratorState, GradientState, PartialState


def run_ranks(work: Callable[[int], Any], processes: int = 2) -> list[Any]:
    """The results of ``work(rank)`` in each process; an exception is its own result."""
    with started_ranks(work, processes) as (running, results):
        found = dict(pickle.loads(results.get(timeout=120)) for _ in running)  # noqa: S301 (ours)
        for process in running:
            process.join(10)
    return [found[rank] for rank in range(processes)]


@contextmanager
def started_ranks(
    work: Callable[[int], Any], processes: int = 2
) -> Iterator[tuple[list[ForkProcess], Any]]:
    """Processes that run ``work(rank)``, killed at the end, and the queue of their results."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = [
        context.Process(target=_rank, args=(work, rank, processes, port, results))
        for rank in range(processes)
    ]
    for process in running:
        process.start()
    try:
        yield running, results
    finally:
        for process in running:
            process.kill()
            process.join()


def _rank(work: Callable[[int], Any], rank: int, processes: int, port: int, results: Any) -> None:
    number, count = str(rank), str(processes)
    os.environ |= {
        "RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count,
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    torch.set_num_threads(1)
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    try:
        outcome = work(rank)
    except Exception as error:
        outcome = error
    results.put(pickle.dumps((rank, outcome)))  # by value: the memory goes with the process
    results.close()
    results.join_thread()
    os._exit(0)  # without the parent's cleaning up

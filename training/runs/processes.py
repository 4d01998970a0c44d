"""The processes of one training run: how they find each other, and what only the first one does.

Only the main process reads and writes the work folder, so that several machines need not share it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object

from ...errors import FacePackError, InputError

T = TypeVar("T")
_LAUNCHED = ("LOCAL_RANK", "WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Set by torchrun, accelerate or MPI in each of several processes."""


def process_state() -> PartialState:
    """This process and the number of them; on CPUs they communicate by gloo.

    accelerate starts no process group for CPUs by itself, not even under torchrun.

    Raises:
        InputError: accelerate was to start several processes and started this one alone.
    """
    launched = any(name in os.environ for name in _LAUNCHED)
    # Without GPUs it announces where the processes meet, and starts one.
    if not launched and {"ACCELERATE_USE_CPU", "MASTER_ADDR"} <= os.environ.keys():
        raise InputError(
            "accelerate launch was to start several processes and started one: it starts several "
            "only on GPUs",
            where="--num_processes",
            fix="On CPUs use torchrun --nproc-per-node N -m comfyui_dense_face.cli train ..., or "
            "--num_processes 1",
        )
    gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    return PartialState(cpu=True) if launched and not gpu else PartialState()


def on_main(work: Callable[[], T]) -> T:
    """The result of ``work``, which the main process alone calls, in all processes.

    Raises:
        FacePackError: Whatever ``work`` raises of it, in all processes: none waits for the others.
    """
    state = process_state()
    if state.num_processes == 1:
        return work()
    outcome: list[Any] = [None, None]
    if state.is_main_process:
        try:
            outcome[0] = work()
        except FacePackError as error:
            outcome[1] = error
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def in_all(work: Callable[[], object]) -> None:
    """Call ``work`` in every process and wait for all.

    Raises:
        FacePackError: Whatever ``work`` raises of it in one, in all processes.
    """
    if process_state().num_processes == 1:
        work()
        return
    failed: FacePackError | None = None
    try:
        work()
    except FacePackError as error:
        failed = error
    for error in gather_object([failed]):
        if error is not None:
            raise error


def local_processes() -> int:
    """The number of processes on this machine, which torchrun and accelerate state."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", process_state().num_processes))


def require_same(what: str, value: str) -> None:
    """Raise InputError unless all processes have the same value."""
    found = gather_object([value])
    if len(set(found)) > 1:
        raise InputError(
            f"{what} differs between the processes",
            where=f"{len(set(found))} kinds in {len(found)} processes",
            fix="Give every machine the same files and options",
        )

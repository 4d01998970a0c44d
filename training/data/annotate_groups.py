"""The work of ``denseface annotate``, group by group, in this process or in others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch

from ...errors import InputError
from .annotate_folder import Annotator
from .folder import Defects
from .people import Person
from .record import Record
from .writer import Group, Writer, groups_of

Progress = Callable[[int], object]


def ignored(_done: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, eq=False)
class GroupTask:
    """Annotates groups and writes them; can be sent to another process."""

    writer: Writer
    annotator: Annotator

    def __call__(self, group: Group, progress: Progress = ignored) -> Defects:
        """What was left out of a group.

        Args:
            progress: Called with the number of images done since its last call.

        Raises:
            InputError: The data set cannot be written to.
        """
        self.annotator.defects = Defects()
        records: list[Record] = []
        with _one_thread():
            for person in group.people:
                records += self.annotator.records(person, progress)
        self.writer.write(group.number, group.ids, records)
        return self.annotator.defects


class Run(Protocol):
    """How groups are distributed: yields what was left out of each, in any order."""

    def __call__(
        self, task: GroupTask, groups: Sequence[Group], progress: Progress, /
    ) -> Iterator[Defects]:
        """Annotate and write all groups."""
        ...


def annotate(
    people: Sequence[Person],
    writer: Writer,
    annotator: Annotator,
    *,
    shard: tuple[int, int] = (1, 1),
    run: Run | None = None,
    progress: Progress = ignored,
) -> Defects:
    """Annotate people who are not finished yet, and join the results.

    The records are the same however the work is distributed.

    Args:
        shard: Number of this machine, from 1, and number of machines.
        run: :func:`local_processes` or :func:`.ray_workers`; None works in this process.
        progress: Called with the number of images done since its last call.

    Returns:
        What was left out.

    Raises:
        InputError: The data set cannot be written to; a process was killed.
    """
    pending: list[Group] = []
    for group in groups_of(people, writer)[shard[0] - 1 :: shard[1]]:
        if writer.finished(group.number, group.ids):
            progress(group.images)
        else:
            pending.append(group)
    defects = Defects()
    for found in (run or _in_this_process)(GroupTask(writer, annotator), pending, progress):
        defects.add(found)
    writer.finish()
    return defects


def local_processes(workers: int) -> Run:
    """So many processes of this machine."""

    def run(task: GroupTask, groups: Sequence[Group], progress: Progress) -> Iterator[Defects]:
        others = set(multiprocessing.active_children())
        # Forked copies of a process with threads can hang.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(task,))
        try:
            images = {pool.submit(_work, group): group.images for group in groups}
            for done in as_completed(images):
                found = done.result()
                progress(images[done])
                yield found
        except BrokenProcessPool as error:
            raise InputError(
                "a process that annotates was killed; finished people are kept",
                where=f"{workers} workers",
                fix="Start the command again; with fewer --workers if memory is short",
            ) from error
        except BaseException:
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()  # else the end would wait for the groups in hand
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    return run


def _in_this_process(
    task: GroupTask, groups: Sequence[Group], progress: Progress
) -> Iterator[Defects]:
    return (task(group, progress) for group in groups)


_TASK: list[GroupTask] = []
"""Of a worker process: loaded once, for all of its groups."""


def _begin(task: GroupTask) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the first process
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # with what is half-written removed
    _TASK.append(task)


def _work(group: Group) -> Defects:
    try:
        return _TASK[0](group)
    except SystemExit:
        os._exit(1)  # the pool would go on with the next group


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums must not depend on how many workers share the processors."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""A training run's work folder: one run at a time, and its last states.

``state-00000200.pt`` is the state after 200 steps, and ``run.lock`` is held while a run is active;
the system releases it when the process ends, however it ends. Curves and validation images are
beside them (``watch.monitor``).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from ...errors import InputError, ModelFileError
from ...readers.torch_file import open_checkpoint, read_saved
from ...storage import atomic_path, make_folder, writing

log = logging.getLogger(__name__)
LOCK = "run.lock"
_STATE = re.compile(r"state-([0-9]{8,12})\.pt")
_OLD_STATE = "state.pt"
"""Of the first version, which did not say what it belongs to."""


@contextmanager
def locked(
    folder: Path, does: str = "is training in this folder", option: str = "--folder"
) -> Iterator[None]:
    """Hold the folder, which is made where it is missing.

    Args:
        does, option: For the error message: what another run does in it, and who names it.

    Raises:
        InputError: Another run holds it, or it cannot be written to.
    """
    make_folder(folder)
    lock = FileLock(folder / LOCK)
    with writing(folder):
        try:
            lock.acquire(timeout=0)
        except Timeout as error:  # an OSError as well
            raise InputError(
                f"another run {does}",
                where=str(folder),
                fix=f"Wait for its end, or name another {option}",
            ) from error
    try:
        yield
    finally:
        lock.release()


def states(folder: Path) -> list[tuple[int, Path]]:
    """Steps and files of the saved states, newest first."""
    found = [(_STATE.fullmatch(path.name), path) for path in folder.glob("state-*.pt")]
    return sorted(((int(match[1]), path) for match, path in found if match), reverse=True)


def clear(folder: Path) -> None:
    """Remove all states.

    Raises:
        InputError: They cannot be removed.
    """
    with writing(folder):
        for path in [*(path for _, path in states(folder)), folder / _OLD_STATE]:
            path.unlink(missing_ok=True)


def read_state(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest readable state; a damaged one is reported and the one before it taken.

    Raises:
        ModelFileError: None is readable.
    """
    damaged: list[str] = []
    for _, path in states(folder):
        try:
            with open_checkpoint(path) as stream:
                state = read_saved(stream, str(path))
            return path, state if isinstance(state, dict) else {}
        except ModelFileError as error:
            log.warning("left out: %s: %s", path.name, error.what)
            damaged.append(path.name)
    if damaged:
        raise ModelFileError(
            f"no saved state of the run can be read: {', '.join(damaged)}",
            where=str(folder),
            fix="Start anew with --fresh, or name another --folder",
        )
    if (folder / _OLD_STATE).is_file():
        log.warning("%s is of an older version and is not read: the run starts anew", _OLD_STATE)
    return None


def write_state(folder: Path, step: int, state: Mapping[str, Any], keep: int) -> None:
    """Write a state, whole or not at all, then remove all but the last ``keep``.

    Later ones were damaged when the run resumed: they do not count.

    Raises:
        InputError: The folder cannot be written to or is full; earlier states are left alone.
    """
    with atomic_path(folder / f"state-{step:08d}.pt") as temporary:
        try:
            torch.save(dict(state), temporary)
        except RuntimeError as error:  # how torch reports a full disk
            raise OSError("the disk took only a part of it") from error
    for path in [path for number, path in states(folder) if number <= step][keep:]:
        with suppress(OSError):
            path.unlink(missing_ok=True)

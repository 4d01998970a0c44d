"""Proof that a hostile file costs nothing."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

_MEGABYTES, _SECONDS = 64, 60


@contextmanager
def cheaply() -> Iterator[None]:
    """Fails if the block takes more than 64 MB, or processor time that only loops without end do.

    Memory of Python and numpy counts. torch's does not, but fails at once at the sizes claimed.
    """
    tracemalloc.start()
    started = time.process_time()
    try:
        yield
        peak, spent = tracemalloc.get_traced_memory()[1], time.process_time() - started
    finally:
        tracemalloc.stop()
    assert peak < _MEGABYTES * 2**20 and spent < _SECONDS

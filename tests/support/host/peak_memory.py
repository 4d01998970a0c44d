"""The most memory that a process has held, where the system tells (Linux)."""

from __future__ import annotations

import os
from pathlib import Path

_PROCESSES = Path("/proc")


def clear_peak(pid: int | None = None) -> None:
    """Let the peak begin anew, where the system can; of this process by default."""
    try:
        (_PROCESSES / str(pid or os.getpid()) / "clear_refs").write_text("5")
    except OSError:
        return


def peak_memory(pid: int | None = None) -> float:
    """In bytes, mapped files included; 0 where the system does not tell."""
    try:
        lines = (_PROCESSES / str(pid or os.getpid()) / "status").read_text().splitlines()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) * 1024.0 for line in lines if line.startswith("VmHWM"))

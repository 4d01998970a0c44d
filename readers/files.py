"""Bytes and texts of bounded size, and names that stay in their folder on every system."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from .. import limits

_PORTS = {f"{port}{number}" for port in ("COM", "LPT") for number in "123456789\u00b9\u00b2\u00b3"}
_RESERVED = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", *_PORTS}
"""What Windows takes for a device, with any ending."""


def read_bytes(path: Path, largest: int) -> bytes:
    """The content of a regular file; pipes and devices are refused, which have no end.

    Raises:
        OSError: It is missing or cannot be read.
        ValueError: It is no regular file, is larger, or its name holds NUL.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is no regular file")
    with path.open("rb") as stream:
        content = stream.read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"it is larger than {largest} bytes")
    return content


def read_text(path: Path, largest: int = limits.TEXT_BYTES) -> str:
    """A UTF-8 text.

    Raises:
        OSError, ValueError: As :func:`read_bytes`, or it is not UTF-8.
    """
    return read_bytes(path, largest).decode("utf-8")


def stays_inside(name: str) -> bool:
    """Whether a relative path from a file or a user names something in its folder.

    Refused on every system: absolute paths and drives (``C:a``, ``\\\\a``), ``..``, names of
    Windows' devices, control characters, colons, dots and spaces at the end of a part, which
    Windows drops, and names that are too long.
    """
    windows = PureWindowsPath(name)
    if windows.anchor or PurePosixPath(name).is_absolute() or not windows.parts:
        return False
    return all(map(_is_plain, windows.parts))


def inside(folder: Path, name: str) -> Path | None:
    """The file of that name in a folder; None where it leads elsewhere, by a link as well.

    Raises:
        OSError: It cannot be looked up.
    """
    if not stays_inside(name):
        return None
    path = folder / name
    try:
        return path if path.resolve().is_relative_to(folder.resolve()) else None
    except RuntimeError:  # links in a circle, before Python 3.13
        return None


def _is_plain(part: str) -> bool:
    return (
        part == part.rstrip(". ")
        and part.isprintable()
        and ":" not in part
        and len(part.encode("utf-8", "surrogateescape")) <= limits.NAME_LETTERS
        and part.partition(".")[0].rstrip().upper() not in _RESERVED
    )

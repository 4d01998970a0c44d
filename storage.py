"""Reading and writing of weight files: safetensors only, with a checksum, never half-written.

Files written here have ``sha256`` in their metadata, a checksum of their tensors that does not
depend on their order. It is verified on every read, so that a truncated download or an edited file
is reported instead of producing strange images. Files from elsewhere have no checksum and are read
without this check.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from . import limits
from .errors import FacePackError, InputError, ModelFileError

CHECKSUM_KEY = "sha256"
_BLOCK = 1 << 22
_SAMPLE = 4096
_HOST = f"{zlib.crc32(platform.node().encode()) & 0xFFFF:04x}"
_RUN = secrets.token_hex(2)
"""Of this process: its number may have been that of a killed one, as in a restarted container."""
_LEFTOVER = re.compile(r"\..*-([0-9a-f]{4})-([0-9]{1,9})-([0-9a-f]{4})[0-9a-f]{8}(?:\.[^.]*)?")
_A_DAY = 86_400.0
_SEEN: set[Path] = set()
"""Folders whose leftovers this process has removed."""


def tensor_checksum(tensors: Mapping[str, Tensor]) -> str:
    """Hexadecimal SHA-256 over name, dtype, shape and bytes of all tensors, sorted by name."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{list(tensor.shape)}|".encode())
        # As bytes, because numpy knows neither bfloat16 nor the 8-bit floats.
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def sparse_checksum(stream: BinaryIO, start: int, size: int) -> str:
    """Hexadecimal SHA-256 over the size of a file and its first, middle and last 4 KiB.

    It tells one file from another in a data set too large to be read for that. What is not larger
    than 12 KiB is read whole: captions, landmarks, identity features. A PNG image and an archive of
    tensors end in checksums of their own. A few changed values of a large ``.npy`` may be missed.

    Args:
        stream: What holds the file, from byte ``start`` on: itself, or an archive.

    Raises:
        OSError: It cannot be read.
    """
    digest = hashlib.sha256(f"{size}|".encode())
    if size <= 3 * _SAMPLE:
        places = [(0, size)]
    else:
        places = [(at, _SAMPLE) for at in (0, (size - _SAMPLE) // 2, size - _SAMPLE)]
    for offset, length in places:
        stream.seek(start + offset)
        digest.update(stream.read(length))
    return digest.hexdigest()


def file_sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a whole file, as ``sha256sum`` prints it.

    Raises:
        ModelFileError: The file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise ModelFileError(
            f"the file cannot be read: {error.strerror or error}",
            where=str(path),
            fix="Correct the path or the file's permissions",
        ) from error
    return digest.hexdigest()


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file into CPU tensors and its metadata.

    Raises:
        ModelFileError: The file is missing, is not a complete safetensors file, or its tensors do
            not match the checksum in its metadata.
    """
    with _opened(path) as file:
        metadata: dict[str, str] = dict(file.metadata() or {})
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    verify_checksum(tensors, metadata, str(path))
    return tensors, metadata


def verify_checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], where: str) -> None:
    """Check the tensors of a file against the checksum in its metadata, if there is one.

    Raises:
        ModelFileError: They do not match.
    """
    expected = metadata.get(CHECKSUM_KEY)
    if expected is not None and expected != tensor_checksum(tensors):
        raise ModelFileError(
            "the model file was altered: its tensors do not match its own checksum",
            where=where,
            fix="Download or write it again",
        )


def read_shapes(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file without their values, on ``meta``, and its metadata.

    Raises:
        ModelFileError: The file is missing, or is not a complete safetensors file.
    """
    with _opened(path) as file:
        metadata: dict[str, str] = dict(file.metadata() or {})
        names: list[str] = list(file.keys())
        shapes = {name: file.get_slice(name).get_shape() for name in names}
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}, metadata


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    """The open file of the ``safetensors`` library; its errors become ModelFileError."""
    path = Path(path)
    if not path.is_file():
        raise ModelFileError(
            "the model file is missing",
            where=str(path),
            fix="Put the file there or correct the path",
        )
    again = "Download or write it again"
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            count = len(file.keys())
            if count > limits.TENSORS:
                raise ModelFileError(
                    f"the model file holds {count} tensors", where=str(path), fix=again
                )
            yield file
    except FacePackError:
        raise
    except OSError as error:
        raise ModelFileError(
            f"the model file cannot be read: {error.strerror or error}",
            where=str(path),
            fix="Check its permissions and the disk",
        ) from error
    except Exception as error:  # a broken or hostile file may raise anything
        raise ModelFileError(
            f"the model file is truncated or no safetensors file: {error}",
            where=str(path),
            fix=again,
        ) from error


def read_format(
    path: str | Path, expected: str, fix: str
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """:func:`read_weights` of a file whose metadata has this ``format``; else ModelFileError."""
    tensors, metadata = read_weights(path)
    found = metadata.get("format")
    if found != expected:
        raise ModelFileError(
            f"the file says format={found!r} instead of {expected!r}", where=str(path), fix=fix
        )
    return tensors, metadata


def write_weights(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write tensors and text metadata as safetensors, atomically, with a checksum added.

    Tensors may share memory, be non-contiguous or on any device; each is stored as a separate copy
    in its own dtype.

    Raises:
        InputError: The file cannot be written.
    """
    stored = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    text = {str(key): str(value) for key, value in metadata.items()}
    text[CHECKSUM_KEY] = tensor_checksum(stored)
    with atomic_path(path) as temporary:
        mode = temporary.stat().st_mode
        try:
            save_file(stored, temporary, metadata=text)
            temporary.chmod(mode)  # safetensors makes it readable by the owner only
        except SafetensorError as error:  # how safetensors reports a full disk
            raise OSError(str(error)) from error


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it replaces ``path`` on success, else it is removed.

    A missing folder is created, and leftovers of killed processes in it are removed. The temporary
    name has the same suffix, for libraries that choose the format by it (Pillow). An error, Ctrl-C
    or SIGTERM (``cli``) inside the block leaves ``path`` unchanged.

    Raises:
        InputError: The folder or the file cannot be written to; any OSError of the block counts.
    """
    path = Path(path)
    temporary = path.with_name(temporary_name(path))
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(path.parent)
            temporary.touch(exist_ok=False)
            yield temporary
            temporary.replace(path)
    finally:
        # Nothing is left to remove after success, or if the folder is gone.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Any OSError of the block becomes an InputError that names what cannot be written."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"the file cannot be written: {error.strerror or error}",
            where=str(path),
            fix="Choose a folder that can be written and has room",
        ) from error


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are missing.

    Raises:
        InputError: It cannot be made.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


def temporary_name(path: Path, process: int | None = None) -> str:
    """A new name for what becomes ``path``, which says who is writing."""
    owner = f"{_HOST}-{os.getpid() if process is None else process}-{_RUN}{secrets.token_hex(4)}"
    return f".{path.stem[:40]}-{owner}{path.suffix}"


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed processes from a folder, once in this process.

    Those of processes that run stay. Whether one on another machine runs is not known: its files
    stay for a day.
    """
    place = folder.absolute()
    if place in _SEEN:
        return
    _SEEN.add(place)
    for path in folder.glob(".*-*-*-*"):
        match = _LEFTOVER.fullmatch(path.name)
        with suppress(OSError):
            if match is not None and _is_left(path, *match.groups()):
                path.unlink(missing_ok=True)


def _is_left(path: Path, host: str, process: str, run: str) -> bool:
    if host == _HOST and int(process) == os.getpid():
        return run != _RUN
    if host == _HOST and os.name == "posix":
        try:
            os.kill(int(process), 0)  # only asks; elsewhere it would end the process
        except ProcessLookupError:
            return True
        except OSError:
            return False  # somebody else's
        return False
    return time.time() - path.stat().st_mtime > _A_DAY

"""Reading and writing of weight files: safetensors only, checked by a sum, never half-written.

A file written here carries ``sha256`` in its metadata: the sum over its tensors, independent of
their order in the file. It is checked on every read, so that a truncated download or an edited file
is named as such instead of giving strange images. Files from elsewhere carry no sum and are read
without that check.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .errors import InputError, ModelFileError

CHECKSUM_KEY = "sha256"


def tensor_checksum(tensors: Mapping[str, Tensor]) -> str:
    """Hexadecimal SHA-256 over name, dtype, shape and bytes of all tensors, sorted by name."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{list(tensor.shape)}|".encode())
        # Seen as bytes, because numpy knows neither bfloat16 nor the 8-bit floats.
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file into CPU tensors and its metadata.

    Raises:
        ModelFileError: The file is missing, cannot be read as safetensors (truncated, or another
            format), or its tensors do not match the sum in its metadata.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelFileError(
            "the model file is missing",
            where=str(path),
            fix="Put the file there or correct the path",
        )
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata: dict[str, str] = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except SafetensorError as error:
        raise ModelFileError(
            f"the model file is truncated or is no safetensors file: {error}",
            where=str(path),
            fix="Download or write it again",
        ) from error
    except OSError as error:
        raise ModelFileError(
            f"the model file cannot be read: {error.strerror or error}",
            where=str(path),
            fix="Check its permissions and the disk",
        ) from error
    expected = metadata.get(CHECKSUM_KEY)
    if expected is not None and expected != tensor_checksum(tensors):
        raise ModelFileError(
            "the model file was altered: its tensors do not match its own checksum",
            where=str(path),
            fix="Download or write it again",
        )
    return tensors, metadata


def write_weights(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write tensors and text metadata as safetensors, atomically, with the tensors' sum added.

    Tensors may share memory, be non-contiguous or live on any device; they are stored as separate
    CPU copies in their own dtypes.

    Raises:
        InputError: The place cannot be written to.
    """
    stored = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    text = {str(key): str(value) for key, value in metadata.items()}
    text[CHECKSUM_KEY] = tensor_checksum(stored)
    with atomic_path(path) as temporary:
        mode = temporary.stat().st_mode
        try:
            save_file(stored, temporary, metadata=text)
            temporary.chmod(mode)  # safetensors leaves it readable by the owner alone
        except SafetensorError as error:  # safetensors reports a full disk in its own class
            raise OSError(str(error)) from error


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Lend a temporary path beside ``path``: on success it becomes ``path``, otherwise it goes.

    The folder is made when it is missing. The temporary name keeps the suffix, so that libraries
    which choose the format by it (Pillow) do the right thing. An error or Ctrl-C inside the block
    leaves ``path`` as it was.

    Raises:
        InputError: The folder or the file cannot be written (also when the block itself fails in
            writing).
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise InputError(
            f"the file cannot be written: {error.strerror or error}",
            where=str(path),
            fix="Choose a folder that can be written and has room",
        ) from error
    finally:
        # After a success nothing is left to remove; a vanished folder has nothing left either.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)

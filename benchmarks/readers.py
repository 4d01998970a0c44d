"""Time of the bounded readers on valid files, relative to plain libraries in the same run."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import torch
from torch import Tensor

from .result import Result

TARGET = 1.05
"""Of the library's own time: what bounds may cost."""
MEGABYTES = 64
RUNS = 15
Reading = Callable[[], object]


def readers() -> Iterator[Result]:
    """Each reader against the library that would read the same file without bounds."""
    with tempfile.TemporaryDirectory() as folder:
        for what, (ours, plain) in _pairs(Path(folder)).items():
            yield _ratio(f"reading {what}", ours, plain)


def _ratio(what: str, ours: Reading, plain: Reading) -> Result:
    """Both in turn, so that each pair runs under the same conditions."""
    ratios: list[float] = []
    for run in range(RUNS + 1):
        taken = []
        for read in (ours, plain) if run % 2 else (plain, ours):
            start = time.perf_counter()
            read()
            taken.append(time.perf_counter() - start)
        first, second = taken if run % 2 else reversed(taken)
        ratios.append(first / second)
    return Result.of(what, ratios[1:], "x library", TARGET)


def _pairs(folder: Path) -> Mapping[str, tuple[Reading, Reading]]:
    import safetensors.torch
    from PIL import Image

    from ..readers.image import open_image
    from ..readers.npy import read_npy
    from ..readers.torch_file import read_checkpoint
    from ..state_dict import check_values
    from ..storage import read_weights

    weights = _weights()
    stored = folder / "weights.safetensors"
    safetensors.torch.save_file(weights, stored)
    files = {legacy: folder / f"{legacy}.pt" for legacy in (False, True)}
    for legacy, path in files.items():
        torch.save(weights, path, _use_new_zipfile_serialization=not legacy)
    picture = folder / "image.png"
    pixels = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), np.uint8)
    Image.fromarray(pixels).save(picture)
    buffer = io.BytesIO()
    np.save(buffer, pixels)
    array = buffer.getvalue()

    def checked() -> None:
        check_values(read_weights(stored)[0], str(stored))

    def ours(path: Path) -> None:
        with path.open("rb") as stream:
            for tensor in read_checkpoint(stream, str(path)).values():
                tensor.read()

    def decoded(open_file: Callable[[Path], Image.Image]) -> None:
        with open_file(picture) as image:
            image.load()

    size = f"{MEGABYTES} MB"
    return {
        f"safetensors, {size}, values checked": (checked, lambda: _summed(stored)),
        f"a PyTorch file, {size}": (
            lambda: ours(files[False]),
            lambda: _unzipped(files[False]),
        ),
        f"a PyTorch file, {size}, old format": (
            lambda: ours(files[True]),
            lambda: torch.load(files[True], weights_only=True),
        ),
        "a PNG image of 1024 px": (lambda: decoded(open_image), lambda: decoded(Image.open)),
        "an array of 3 MB": (lambda: read_npy(array), lambda: np.load(io.BytesIO(array))),
    }


def _unzipped(path: Path) -> None:
    """With checksums, as our reader; ``torch.load`` checks none and takes half the time."""
    with ZipFile(path) as archive:
        for name in archive.namelist():
            torch.frombuffer(bytearray(archive.read(name)), dtype=torch.uint8)


def _summed(path: Path) -> None:
    """Read, and touch every page: the library maps the file and reads it on first use."""
    import safetensors.torch

    for tensor in safetensors.torch.load_file(path).values():
        tensor.amax()


def _weights() -> dict[str, Tensor]:
    """Half-precision matrices in the number and sizes of an adapter."""
    count = 64
    width = int((MEGABYTES * 1e6 / 2 / count) ** 0.5)
    return {f"layers.{i}.weight": torch.randn(width, width).half() for i in range(count)}

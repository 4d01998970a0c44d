"""Time of SMIRK's expression encoder on one face."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import torch

from ..faces.encoders.smirk import SmirkAnalyzer, SmirkEncoder
from ..faces.face import Face
from .result import Result, seconds

_RUNS, _FACES = 9, 10
_SIZE = 512
_BOX = (128.0, 128.0, 384.0, 384.0)


class _OneFace:
    name = "benchmark"

    def find(self, image: torch.Tensor) -> list[Face]:
        return [Face((_SIZE, _SIZE), _BOX, 1.0, torch.zeros(0, 2), "none", self.name)]


def smirk() -> Iterator[Result]:
    """Crop and network, of random weights; skipped without timm."""
    if importlib.util.find_spec("timm") is None:
        print("smirk skipped: timm is not installed")
        return
    analyzer = SmirkAnalyzer(_OneFace(), SmirkEncoder().eval())
    image = torch.rand(3, _SIZE, _SIZE, generator=torch.Generator().manual_seed(0))

    def faces() -> None:
        for _ in range(_FACES):
            analyzer.find(image)

    times = [1000 * each / _FACES for each in seconds(faces, runs=_RUNS)]
    yield Result.of("SMIRK: a face of a 512 px image", times, "ms", 30)

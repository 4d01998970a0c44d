"""Telling photographs of faces from images of the tiny world.

The analyzer finds a head in most close-up photographs, and whatever it says of it means nothing. A
logistic regression on the means and standard deviations of its trunk's features recognises them.
It was fitted on renders and on what the bundled models draw, all of them also cropped, blurred,
compressed, relit, noisy or grey, against faces in photographs from 16 public collections, degraded
in the same ways; figures, from collections that were left out: ``docs/tiny_world.md``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...errors import InputError
from ..bundled import WEIGHTS

if TYPE_CHECKING:
    from .analyzer import Analysis

COEFFICIENTS = WEIGHTS / "tiny_photographs.json"
WHAT = "this is a photograph, and the tiny world knows only its own rendered heads"
ANOTHER_ANALYZER = (
    "Use an image that denseface render made, or an analyzer for photographs: landmarker, "
    "insightface or yunet"
)


class PhotographCriterion(nn.Module):
    """Features of the analyzer's trunk, [B, C, H, W] each -> logit [B], above 0 on photographs.

    Args:
        coefficients: Of the mean and the standard deviation of every channel, in the order of
            :func:`pooled`.
    """

    weight: Tensor

    def __init__(self, coefficients: Sequence[float], bias: float) -> None:
        super().__init__()
        self.bias = bias
        self.register_buffer("weight", torch.tensor(coefficients), persistent=False)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return pooled(features) @ self.weight + self.bias


def pooled(features: Sequence[Tensor]) -> Tensor:
    """Means, then standard deviations, of each level in turn: [B, 2 * all channels]."""
    return torch.cat([part for x in features for part in (x.mean((2, 3)), x.std((2, 3)))], 1)


def load_criterion(analyzer: str, path: Path = COEFFICIENTS) -> PhotographCriterion | None:
    """The criterion fitted to an analyzer; None for one that was trained since.

    Args:
        analyzer: Checksum of the analyzer's weights (``storage.CHECKSUM_KEY``).
    """
    about = json.loads(path.read_text(encoding="utf-8"))
    if about["analyzer"] != analyzer:
        return None
    return PhotographCriterion(about["coefficients"], about["bias"])


def require_renders(seen: Analysis, names: Sequence[str] = (), fix: str = ANOTHER_ANALYZER) -> None:
    """Check that no face in the analysed images is a photograph's.

    Args:
        names: Of the images, for the error.

    Raises:
        InputError: One is.
    """
    photographs = ((seen.face_logit > 0) & (seen.photograph_logit > 0)).tolist()
    if any(photographs):
        where = names[photographs.index(True)] if names else ""
        raise InputError(WHAT, where=where, fix=fix)

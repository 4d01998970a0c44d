"""Telling malformed faces from well-formed ones of the tiny world.

The analyzer's landmarks are a regression: they form a plausible face whatever the image shows, and
its part maps are nearly as forgiving. The features of its trunk around the landmarks are not. A
logistic regression on them was fitted on renders against renders deformed on purpose (``denseface
train-demo malformed``); 1 % of other renders exceed its threshold. How far it agrees with the eye:
``docs/measuring.md``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..bundled import MALFORMED_FILE, WEIGHTS

#: Points whose mean is the centre of a patch (iBUG order): eyes, brows, between the eyes, nose,
#: mouth and its corners, chin.
PATCHES: tuple[tuple[int, ...], ...] = (
    tuple(range(36, 42)), tuple(range(42, 48)), tuple(range(17, 22)), tuple(range(22, 27)),
    (27, 28), (30, 33), tuple(range(48, 60)), (48,), (54,), (8, 57),
)  # fmt: skip
LEVELS = (2, 3)
"""Levels of the trunk. Earlier ones tell an image from its VAE reconstruction instead."""
_STEP = 0.13
"""A patch is three by three points this far apart, in units of the face's size."""


class MalformedCriterion(nn.Module):
    """Features of the analyzer's trunk and landmarks -> logit [B], above 0 on malformed faces.

    Args:
        coefficients: Of every channel in every patch, in the order of :func:`patch_features`.
    """

    weight: Tensor

    def __init__(self, coefficients: Sequence[float], bias: float) -> None:
        super().__init__()
        self.bias = bias
        self.register_buffer("weight", torch.tensor(coefficients), persistent=False)

    def forward(self, features: Sequence[Tensor], landmarks: Tensor) -> Tensor:
        return patch_features(features, landmarks) @ self.weight + self.bias


def patch_features(features: Sequence[Tensor], landmarks: Tensor) -> Tensor:
    """Mean features of the patches, [B, channels of both levels * patches].

    Args:
        features: Levels of the trunk, [B, C, H, W] each.
        landmarks: [B, 68, 2] in 0..1 of the image. The size of a face is their root mean square
            distance from their mean.
    """
    centres = torch.stack([landmarks[:, list(points)].mean(1) for points in PATCHES], 1)
    apart = landmarks - landmarks.mean(1, keepdim=True)
    size = apart.square().sum(-1).mean(1).sqrt()[:, None, None, None]
    step = torch.linspace(-_STEP, _STEP, 3, device=landmarks.device)
    offsets = torch.cartesian_prod(step, step)
    grid = 2 * (centres[:, :, None] + size * offsets) - 1
    means = [
        F.grid_sample(features[level], grid, align_corners=False).mean(3).flatten(1)
        for level in LEVELS
    ]
    return torch.cat(means, 1)


def load_malformed_criterion(
    analyzer: str, path: Path = WEIGHTS / MALFORMED_FILE
) -> MalformedCriterion | None:
    """The criterion fitted to an analyzer; None for one that was trained since.

    Args:
        analyzer: Checksum of the analyzer's weights (``storage.CHECKSUM_KEY``).
        path: The bundled file is read where this one is missing.
    """
    path = path if path.is_file() else WEIGHTS / MALFORMED_FILE
    about = json.loads(path.read_text(encoding="utf-8"))
    if about["analyzer"] != analyzer:
        return None
    return MalformedCriterion(about["coefficients"], about["bias"])

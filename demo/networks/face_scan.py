"""Finding several heads of the tiny world in one image by windows that move to them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .analyzer import IMAGE_SIZE, Analysis, TinyAnalyzer, analyse

#: Sides of the windows as fractions of the image's shorter side, tried until heads are found.
SIDES = (1.0, 0.6, 0.36)
_STEP = 0.34
"""Distance of the initial windows, in sides."""
_MOVES = 4
#: Centre of the landmarks in a portrait.
_CENTRE = (0.5, 0.6)
_SURE = 6.0
"""Lowest face logit of a final window; half a head scores less."""
_SMALLEST = 24
"""Smallest side of a window in pixels; smaller heads are not recognised."""
_CELL = 1 / 64
"""Windows are snapped to a grid of this fraction of a side, so that equal ones merge."""
_APART = 0.45
"""Windows closer than this, in sides, contain the same head."""

Window = tuple[int, int, int]
"""Left, top, side in pixels."""


def scan(net: TinyAnalyzer, image: Tensor) -> list[tuple[Window, Analysis]]:
    """Find windows that each contain one head like a portrait, and analyse them.

    From a grid over the image each window moves to the centre of its landmarks, as in mean shift;
    of the windows that end at the same place, the one with the highest score is kept.

    Args:
        image: [3, H, W] in 0..1, on the network's device.

    Returns:
        In descending order of scores; empty if no head is found.
    """
    shorter = min(image.shape[-2:])
    for fraction in SIDES:
        side = round(fraction * shorter)
        if side < _SMALLEST:
            break
        corners = _grid(image, side)
        seen = _see(net, image, corners, side)
        for _ in range(_MOVES):
            corners = corners[seen.face_logit.cpu() > 0]
            if not len(corners):
                break
            corners = _moved(corners, seen, image, side)
            seen = _see(net, image, corners, side)
        else:
            found = _distinct(corners, seen, side)
            if found:
                return found
    return []


def _grid(image: Tensor, side: int) -> Tensor:
    """Left and top [N, 2] of windows all over the image."""
    height, width = image.shape[-2:]

    def along(length: int) -> Tensor:
        count = 1 + round((length - side) / (_STEP * side))
        return torch.linspace(0, length - side, count).round()

    return torch.cartesian_prod(along(width), along(height)).reshape(-1, 2)


def _see(net: TinyAnalyzer, image: Tensor, corners: Tensor, side: int) -> Analysis:
    windows = [
        F.interpolate(
            image[None, :, top : top + side, left : left + side],
            (IMAGE_SIZE, IMAGE_SIZE),
            mode="bilinear",
            antialias=True,
        )
        for left, top in corners.int().tolist()
    ]
    return analyse(net, torch.cat(windows))


def _moved(corners: Tensor, seen: Analysis, image: Tensor, side: int) -> Tensor:
    height, width = image.shape[-2:]
    points = seen.landmarks[seen.face_logit > 0].cpu()
    centre = (points.amin(1) + points.amax(1)) / 2
    moved = corners + side * (centre - torch.tensor(_CENTRE))
    highest = torch.tensor([float(width - side), float(height - side)])
    cell = max(1.0, _CELL * side)
    moved = ((moved / cell).round() * cell).round()
    return torch.minimum(moved.clamp(min=0), highest).unique(dim=0)


def _distinct(corners: Tensor, seen: Analysis, side: int) -> list[tuple[Window, Analysis]]:
    logits = seen.face_logit.cpu()
    kept: list[int] = []
    for i in logits.argsort(descending=True).tolist():
        near = [float((corners[i] - corners[k]).norm()) < _APART * side for k in kept]
        if float(logits[i]) > _SURE and not any(near):
            kept.append(i)
    places = corners.int().tolist()
    return [((places[i][0], places[i][1], side), _one(seen, i)) for i in kept]


def _one(seen: Analysis, index: int) -> Analysis:
    return Analysis(**{name: value[index : index + 1] for name, value in vars(seen).items()})

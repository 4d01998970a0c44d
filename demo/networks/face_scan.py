"""Looking for several heads of the tiny world in one image, through windows that move to them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .analyzer import IMAGE_SIZE, Analysis, TinyAnalyzer, analyse

#: Sides of the windows as shares of the image's shorter side; the first that finds any is taken.
SIDES = (1.0, 0.6, 0.36)
_STEP = 0.34
"""Between windows at the start, in sides."""
_MOVES = 4
#: Where the landmarks' middle lies in a window that has a head as portraits have it.
_MIDDLE = (0.5, 0.6)
_SURE = 6.0
"""Lowest logit of a window that came to rest; half a head reaches less."""
_SMALLEST = 24
"""Side of a window in pixels; of smaller heads the network sees nothing."""
_CELL = 1 / 64
"""Windows rest on a grid of this share of a side, so that those that meet become one."""
_APART = 0.45
"""Windows nearer than this, in sides, see the same head."""

Window = tuple[int, int, int]
"""Left, top, side in pixels."""


def scan(net: TinyAnalyzer, image: Tensor) -> list[tuple[Window, Analysis]]:
    """Windows that each hold one head as a portrait does, and what is seen in them.

    From a grid over the image each window moves to the middle of the landmarks it sees, as in a
    mean shift; of those that come to rest at one place the surest is kept.

    Args:
        image: [3, H, W] in 0..1, on the network's device.

    Returns:
        The surest first; empty where no head is found.
    """
    shorter = min(image.shape[-2:])
    for share in SIDES:
        side = round(share * shorter)
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
    """[N, 2]: left and top of windows all over the image."""
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
    middle = (points.amin(1) + points.amax(1)) / 2
    moved = corners + side * (middle - torch.tensor(_MIDDLE))
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

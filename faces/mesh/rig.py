"""A head moved by blendshapes, and a measured one brought to rest.

Head space: centimetres of the canonical face, x to the right, y up, z towards the viewer, the
origin inside the head, between the ears.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor

from ..mediapipe.task_file import Geometry
from .edges import LOWER_LIP_INSIDE, LOWER_LIP_OUTSIDE, UPPER_LIP_INSIDE, UPPER_LIP_OUTSIDE
from .eyes import irises, keep_between_lids
from .fields import fields
from .lids import close_lids, open_lids

NOT_SHOWN = (
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight",
)  # fmt: skip
"""Blendshapes of parts that are not drawn."""
#: How far the canonical face's lids are closed; its gap then is a third of the eye's width.
_CANONICAL_LIDS = 0.25
#: Part of the upper lip in closing a mouth; the rest is the lower one's.
_UPPER_SHARE = 0.3
_NOTICED = 0.1
"""Smallest value of such a blendshape that is worth a word."""


class FaceRig:
    """The canonical face with irises and the movements of its blendshapes.

    geometry: Of the landmark file.
    rest: [478, 3] in head space, float64: the canonical face, except that its lids, which are half
        closed, are open and its lips, which are parted, are closed.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        canonical = torch.cat([geometry.vertices, irises(geometry.vertices, {})])
        self._fields = fields(canonical)
        self.rest = self.neutralise(
            canonical, dict.fromkeys(("eyeBlinkLeft", "eyeBlinkRight"), _CANONICAL_LIDS)
        )

    def move(self, head: Tensor, values: Mapping[str, float]) -> Tensor:
        """Move a head at rest [478, 3] by blendshapes, 0..1, by name; lids and lips never cross."""
        moved = close_lids(head + self._shift(values), values)
        moved[468:] = keep_between_lids(irises(head, values), moved)
        return _parted(moved, head, values.get("mouthClose", 0.0))

    def neutralise(self, face: Tensor, values: Mapping[str, float]) -> Tensor:
        """A frontal face [478, 3] without its measured blendshapes: lips closed, gaze straight."""
        head = open_lids(face - self._shift(values), values)
        head = _parted(head, head, 1.0)
        head[468:] = irises(head, {})
        return head

    def _shift(self, values: Mapping[str, float]) -> Tensor:
        known = [(self._fields[name], v) for name, v in values.items() if name in self._fields]
        total = torch.zeros(478, 3, dtype=torch.float64)
        for field, value in known:
            total += value * field
        return total


@lru_cache(maxsize=4)
def face_rig(geometry: Geometry) -> FaceRig:
    """The rig of a canonical face, built once."""
    return FaceRig(geometry)


def not_shown(values: Mapping[str, float]) -> list[str]:
    """Names of the blendshapes that are at work but of a part that is not drawn."""
    return [name for name in NOT_SHOWN if values.get(name, 0.0) >= _NOTICED]


def _parted(moved: Tensor, head: Tensor, closed: float) -> Tensor:
    """Close a fraction of the gap between the lips, and uncross what the movements crossed."""
    parted = moved.clone()
    upper, lower = (list(path[1:-1]) for path in (UPPER_LIP_INSIDE, LOWER_LIP_INSIDE))
    gap = moved[upper, 1] - moved[lower, 1]
    crossed = (head[upper, 1] - head[lower, 1]).clamp(max=0)
    change = torch.maximum(gap * (1 - closed), crossed) - gap
    # The outer edges follow, so that lips keep their thickness, and stay on their own side.
    above, below = (list(path[1:-1]) for path in (UPPER_LIP_OUTSIDE, LOWER_LIP_OUTSIDE))
    parted[upper, 1] += change * _UPPER_SHARE
    parted[above, 1] += change * _UPPER_SHARE
    parted[lower, 1] -= change * (1 - _UPPER_SHARE)
    parted[below, 1] -= change * (1 - _UPPER_SHARE)
    parted[above, 1] = torch.maximum(parted[above, 1], parted[upper, 1])
    parted[below, 1] = torch.minimum(parted[below, 1], parted[lower, 1])
    return parted

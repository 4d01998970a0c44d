"""Decoded annotations: depth, parts and landmarks of a batch of images, on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import InputError
from ...faces.masks.dilate import dilate
from ...faces.mirror import MIRROR_LANDMARKS, MIRROR_PARTS, mirrored_landmarks
from ...faces.parts import PART_INDEX, PART_NAMES
from .head import AnnotationMaps

#: Heat within this radius of a landmark counts towards its confidence; a fraction of the side.
CONFIDENCE_RADIUS = 1 / 16
#: Half the width of the gaps that are closed in the face mask, in cells.
_GAP = 1


@dataclass(frozen=True, eq=False)
class Annotations:
    """Predictions for B images, float32.

    depth: [B, H, W], about -1 near .. 1 background.
    part_logits: [B, 10, H, W], classes of ``faces.parts``.
    landmarks: [B, K, 2]: x and y as fractions of the image.
    confidence: [B, K] in 0..1: how concentrated the heat map is around each landmark.
    scheme: Landmark scheme, a key of ``faces.face.SCHEMES``.
    """

    depth: Tensor
    part_logits: Tensor
    landmarks: Tensor
    confidence: Tensor
    scheme: str

    def __len__(self) -> int:
        return self.depth.shape[0]

    @property
    def parts(self) -> Tensor:
        """The most likely class of each cell [B, H, W], uint8."""
        return self.part_logits.argmax(1).to(torch.uint8)

    def part(self, name: str) -> Tensor:
        """[B, H, W] in 0..1: the probability of one part.

        Raises:
            InputError: There is no such part.
        """
        if name not in PART_INDEX:
            raise InputError(
                f"there is no part {name!r}", fix=f"Use one of {', '.join(PART_NAMES)}"
            )
        return self.part_logits.softmax(1)[:, PART_INDEX[name]]

    @property
    def face(self) -> Tensor:
        """[B, H, W] in 0..1: the probability of any part of the face.

        Gaps of one or two cells, as left by the frame of glasses, are closed: through a mask with
        slits the original image would show.
        """
        probability = 1 - self.part_logits.softmax(1)[:, :1]
        return dilate(dilate(probability, _GAP), -_GAP)[:, 0]


def decode(maps: AnnotationMaps, scheme: str) -> Annotations:
    """Maps of the head -> annotations."""
    heat = maps.heat_logits.float()
    landmarks, confidence = heat_points(heat)
    return Annotations(
        depth=maps.depth.float().cpu(),
        part_logits=maps.part_logits.float().cpu(),
        landmarks=landmarks.cpu(),
        confidence=confidence.cpu(),
        scheme=scheme,
    )


def heat_points(heat_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [B, K, H, W] -> points [B, K, 2] in 0..1 and confidence [B, K].

    A point is the expected position under the softmax of its heat map (soft argmax), so it has
    sub-cell precision. Its confidence is the fraction of the heat within :data:`CONFIDENCE_RADIUS`.
    """
    height, width = heat_logits.shape[-2:]
    heat = heat_logits.flatten(2).softmax(2).unflatten(2, (height, width))
    points = expected_positions(heat)
    right = cell_centres(width).to(heat) - points[..., :1]
    down = cell_centres(height).to(heat) - points[..., 1:]
    near = down.square()[..., None] + right.square()[..., None, :] <= CONFIDENCE_RADIUS**2
    return points, (heat * near).sum((-2, -1))


def expected_positions(heat: Tensor) -> Tensor:
    """Heat maps [B, K, H, W] that sum to 1 -> expected x and y [B, K, 2] in 0..1."""
    height, width = heat.shape[-2:]
    x = heat.sum(-2) @ cell_centres(width).to(heat)
    y = heat.sum(-1) @ cell_centres(height).to(heat)
    return torch.stack([x, y], -1)


def cell_centres(cells: int) -> Tensor:
    """Centres [cells] of the cells along a side, as fractions of it."""
    return (torch.arange(cells) + 0.5) / cells


def mean_annotations(several: Sequence[Annotations]) -> Annotations:
    """The mean of several predictions for the same images; parts by their mean probability.

    Raises:
        InputError: There is nothing to average.
    """
    if not several:
        raise InputError("there are no annotations to average", fix="Read at least one step")

    def mean(tensors: list[Tensor]) -> Tensor:
        return torch.stack(tensors).mean(0)

    probabilities = mean([a.part_logits.softmax(1) for a in several])
    return Annotations(
        depth=mean([a.depth for a in several]),
        part_logits=probabilities.clamp(min=1e-8).log(),
        landmarks=mean([a.landmarks for a in several]),
        confidence=mean([a.confidence for a in several]),
        scheme=several[0].scheme,
    )


def mirrored(seen: Annotations) -> Annotations:
    """Those of the mirror images; parts and landmarks change sides."""
    order = MIRROR_LANDMARKS[seen.scheme]
    return Annotations(
        depth=seen.depth.flip(-1),
        part_logits=seen.part_logits.flip(-1)[:, MIRROR_PARTS],
        landmarks=mirrored_landmarks(seen.landmarks, seen.scheme),
        confidence=seen.confidence[:, order],
        scheme=seen.scheme,
    )


def resized(maps: Tensor, height: int, width: int) -> Tensor:
    """Maps [B, H, W] resized bilinearly."""
    return F.interpolate(maps[:, None], (height, width), mode="bilinear")[:, 0]

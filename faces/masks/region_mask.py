"""Masks of faces and their parts from landmarks: white where the region is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..crops.crop import CropPlace
from ..face import Face
from ..parts import PART_INDEX, PART_NAMES
from .landmark_regions import FACE, PARTS, outline
from .polygon import inside_distance


def region_mask(
    face: Face,
    regions: Sequence[str],
    *,
    grow: float = 0.0,
    feather: float = 0.0,
    place: CropPlace | None = None,
) -> Tensor:
    """White on the given regions of a face, together.

    Args:
        face: With landmarks; ``faces.landmark_regions`` says which regions they tell.
        regions: Of ``landmark_regions.REGIONS``.
        grow: Margin around each region, as a share of the face's size (the root of the area of its
            outline); below 0 shrinks.
        feather: Pixels over which the edge fades, inwards: what is black stays black.
        place: Draw the mask on this crop and not on the image.

    Returns:
        [height, width] in 0..1.

    Raises:
        InputError: The landmarks do not tell a region.
    """
    width, height = face.image_size if place is None else (place.size, place.size)

    def placed(region: str) -> Tensor:
        points = outline(face, region)
        return points if place is None else place.points_in_crop(points)

    margin = grow * _size(placed(FACE))
    mask = torch.zeros(height, width)
    for region in regions:
        depth = inside_distance(placed(region), height, width, max(0.0, margin)) + margin
        # A pixel is half covered where the outline meets its middle; a fade begins there.
        mask = torch.maximum(
            mask, (depth / max(1.0, feather) + 0.5 / max(1.0, feather)).clamp(0, 1)
        )
    return mask


def part_labels(face: Face) -> Tensor:
    """The ten classes of ``faces.parts`` drawn from landmarks: [height, width], uint8.

    Skin is the rest of the face's hull. Needs 68 or 478 landmarks.

    Raises:
        InputError: The landmarks are too few.
    """
    width, height = face.image_size
    labels = torch.full((height, width), PART_INDEX["background"], dtype=torch.uint8)
    for name, region in (("skin", FACE), *((name, name) for name in PART_NAMES if name in PARTS)):
        labels[region_mask(face, [region]) > 0.5] = PART_INDEX[name]
    return labels


def _size(polygon: Tensor) -> float:
    """The root of the area of a polygon [N, 2], by the shoelace formula."""
    after = polygon.roll(-1, 0)
    return float((polygon[:, 0] * after[:, 1] - after[:, 0] * polygon[:, 1]).sum().abs() / 2) ** 0.5

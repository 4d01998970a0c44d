"""Masks of faces and their parts from landmarks (1 = inside the region)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..crops.crop import CropPlace
from ..face import Face
from ..parts import PART_INDEX, PART_NAMES
from .landmark_regions import FACE, PARTS, outline
from .polygon import signed_distance


def region_mask(
    face: Face,
    regions: Sequence[str],
    *,
    grow: float = 0.0,
    feather: float = 0.0,
    place: CropPlace | None = None,
) -> Tensor:
    """The union of some regions of a face.

    Args:
        face: A face with the landmarks that its regions need (``landmark_regions.outline``).
        regions: Some of ``landmark_regions.REGIONS``.
        grow: Margin around each region, as a fraction of the face's size (the square root of the
            area of its outline); negative values shrink the regions.
        feather: Width in pixels over which the edge fades, inwards: what is black stays black.
        place: The crop to make the mask for, instead of the whole image.

    Returns:
        [height, width] in 0..1, 1 inside the regions.

    Raises:
        InputError: A region is unknown or cannot be derived from these landmarks.
        FacePackError: OpenCV is not installed.
    """
    width, height = face.image_size if place is None else (place.size, place.size)

    def placed(region: str) -> Tensor:
        points = outline(face, region)
        return points if place is None else place.points_in_crop(points)

    margin, fade = grow * _size(placed(FACE)), max(1.0, feather)
    mask = torch.zeros(height, width)
    for region in regions:
        depth = margin + signed_distance(placed(region), height, width, abs(margin) + fade)
        # A pixel is half covered where the outline passes through its centre.
        mask = torch.maximum(mask, ((depth + 0.5) / fade).clamp(0, 1))
    return mask


def part_labels(face: Face) -> Tensor:
    """Part labels from landmarks: [height, width] uint8, the classes of ``faces.parts``.

    What is left of the face's convex hull is skin. Needs 68 or 478 landmarks.

    Raises:
        InputError: There are fewer landmarks.
        FacePackError: OpenCV is not installed.
    """
    width, height = face.image_size
    labels = torch.full((height, width), PART_INDEX["background"], dtype=torch.uint8)
    for name, region in (("skin", FACE), *((name, name) for name in PART_NAMES if name in PARTS)):
        labels[region_mask(face, [region]) > 0.5] = PART_INDEX[name]
    return labels


def _size(polygon: Tensor) -> float:
    """Square root of the area of a polygon [N, 2], by the shoelace formula."""
    after = polygon.roll(-1, 0)
    return float((polygon[:, 0] * after[:, 1] - after[:, 0] * polygon[:, 1]).sum().abs() / 2) ** 0.5

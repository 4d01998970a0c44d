"""Masks of faces and their parts from landmarks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..crops.crop import CropPlace
from ..face import Face
from ..parts import PART_INDEX, PART_NAMES
from .landmark_regions import FACE, PARTS, outline
from .polygon import polygon_area, polygon_mask


def region_mask(
    face: Face,
    regions: Sequence[str],
    *,
    grow: float = 0.0,
    feather: float = 0.0,
    place: CropPlace | None = None,
) -> Tensor:
    """One mask of several regions of a face; 1 = inside.

    Args:
        face: With the landmarks that the regions need (``faces.masks.landmark_regions``).
        regions: Of ``landmark_regions.REGIONS``.
        grow: Margin around each region, as a fraction of the face's size (the square root of the
            area of its outline); below 0 shrinks.
        feather: Pixels over which the edge fades, inwards: what is 0 stays 0.
        place: Make the mask for this crop instead of the image.

    Returns:
        [height, width] in 0..1.

    Raises:
        InputError: A region cannot be read off these landmarks.
    """
    width, height = face.image_size if place is None else (place.size, place.size)

    def placed(region: str) -> Tensor:
        points = outline(face, region)
        return points if place is None else place.points_in_crop(points)

    margin = grow * polygon_area(placed(FACE)) ** 0.5
    mask = torch.zeros(height, width)
    for region in regions:
        one = polygon_mask(placed(region), height, width, margin, feather)
        mask = torch.maximum(mask, one)
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

"""Reading the mask of the head, or of the face alone, off images."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ..analyzers import FaceAnalyzer, find_faces
from .dilate import diameter
from .head_outline import head_outline
from .landmark_regions import FACE, outline
from .polygon import polygon_area, polygon_mask


class FoundMasks(NamedTuple):
    """mask: [B, height, width] in 0..1, 1 = redraw. found: Whether each image shows a face."""

    mask: Tensor
    found: tuple[bool, ...]


class MaskReader(Protocol):
    """Makes masks of images [B, 3, H, W] in 0..1; an image without a face gives an empty mask.

    ``grow`` is a margin, as a fraction of the diameter of the disc of equal area.
    """

    def head(self, images: Tensor, height: int, width: int, grow: float) -> FoundMasks:
        """Masks [B, height, width] of heads, hair and ears included."""
        ...

    def face(self, images: Tensor, height: int, width: int, grow: float) -> FoundMasks:
        """Masks [B, height, width] of faces without hair."""
        ...


class LandmarkMasks:
    """A :class:`MaskReader` for photographs: from the landmarks of the largest face.

    Args:
        finder: Finds the faces. Without landmarks, masks are ellipses made from the face's box.
        on_image: Called after every image (progress, interruption).
    """

    def __init__(self, finder: FaceAnalyzer, on_image: Callable[[], None] = lambda: None) -> None:
        self._finder, self._on_image = finder, on_image

    def head(self, images: Tensor, height: int, width: int, grow: float) -> FoundMasks:
        """See :class:`MaskReader` and ``faces.masks.head_outline``."""
        return self._masks(images, height, width, grow, whole=True)

    def face(self, images: Tensor, height: int, width: int, grow: float) -> FoundMasks:
        """See :class:`MaskReader` and ``faces.masks.landmark_regions``."""
        return self._masks(images, height, width, grow, whole=False)

    def _masks(
        self, images: Tensor, height: int, width: int, grow: float, *, whole: bool
    ) -> FoundMasks:
        masks, found = [], []
        for image in images:
            faces = find_faces(self._finder, image, order="largest first")
            found.append(bool(faces))
            rows, columns = image.shape[-2:]
            if faces:
                polygon = head_outline(faces[0]) if whole else outline(faces[0], FACE)
                margin = grow * diameter(polygon_area(polygon))
                masks.append(polygon_mask(polygon, rows, columns, margin))
            else:
                masks.append(torch.zeros(rows, columns))
            self._on_image()
        mask = F.interpolate(torch.stack(masks)[:, None], (height, width), mode="bilinear")[:, 0]
        return FoundMasks(mask.clamp(0, 1), tuple(found))

"""From the face that the annotation head sees to the mask of what text-editing mode keeps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...faces.masks.face_mask import dilate
from ..composite import feather as feathered


def predicted_keep(
    face: Tensor, height: int, width: int, *, threshold: float, grow: float, feather: float
) -> Tensor:
    """[B, 1, height, width] in 0..1: 1 = keep the scene, 0 = draw the person.

    Args:
        face: [B, H, W] in 0..1, how surely a cell is of the face (``Annotations.face``).
        height, width: Of the latent.
        threshold: Cells at least this sure belong to the face.
        grow: Margin around it, as a share of the face's diameter: that of the disc of its area.
        feather: Cells of the latent over which the edge fades, inside the mask.
    """
    masks = [_dilated(one, grow) for one in (face >= threshold).float()]
    small = F.interpolate(torch.cat(masks), (height, width), mode="area")
    return feathered(1 - small, feather)


def _dilated(mask: Tensor, grow: float) -> Tensor:
    diameter = float((4 / torch.pi * mask.sum()).sqrt())
    return dilate(mask[None, None], round(grow * diameter))

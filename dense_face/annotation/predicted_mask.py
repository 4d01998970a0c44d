"""The blend mask from the face that the annotation head predicts."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ...faces.masks import compositing
from ...faces.masks.dilate import dilate_by_fraction


def predicted_mask(
    face: Tensor, height: int, width: int, *, threshold: float, grow: float, feather: float
) -> Tensor:
    """[B, 1, height, width] in 0..1: 1 = draw the person, 0 = keep the scene.

    Args:
        face: [B, H, W] in 0..1, the face's probability in each cell (``Annotations.face``).
        height, width: Of the latent.
        threshold: Cells of at least this probability belong to the face.
        grow: Margin as a fraction of the face's diameter, that of the disc of equal area.
        feather: Cells of the latent over which the edge fades, inside the mask.
    """
    mask = dilate_by_fraction((face >= threshold).float()[:, None], grow)
    return compositing.feather(F.interpolate(mask, (height, width), mode="area"), feather)

"""Masks as the release and the parity fixtures store them: 1 = keep the base, 0 = redraw.

All other code uses the host's polarity (1 = redraw); ``1 - mask`` converts at this boundary.
Source: docs/reference/dense_face.md A8.
"""

from __future__ import annotations

from torch import Tensor

from ...dense_face.blending import area_resize

KEEP_THRESHOLD = 0.75


def release_mask(image: Tensor, height: int, width: int) -> Tensor:
    """A mask image [B, 1, H, W] in 0..1 -> the release's latent mask [B, 1, height, width].

    A cell is kept (1) where the mean over its area is at least :data:`KEEP_THRESHOLD`, else
    redrawn (0).
    """
    small = area_resize(image.float(), height, width).clamp(0, 1)
    # The release resizes 8-bit images, so it compares integer grey levels with the threshold.
    return ((small * 255).round() / 255 >= KEEP_THRESHOLD).float()

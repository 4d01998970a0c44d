"""From image tensors in 0..1 to 8-bit values."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_uint8(image: Tensor) -> Tensor:
    """Round floats in 0..1, of any shape, to uint8 in 0..255; other values are clamped first."""
    return (image.detach().clamp(0, 1) * 255).round().to(torch.uint8)


def to_array(image: Tensor) -> NDArray[np.uint8]:
    """An image [..., C, H, W] in 0..1 as a contiguous numpy array [..., H, W, C] in 0..255."""
    return np.ascontiguousarray(to_uint8(image).movedim(-3, -1).cpu().numpy())

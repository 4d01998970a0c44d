"""One portrait of a made-up person, by numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from .captions import caption
from .people import sample_heads
from .renderer import render


def portrait(
    person: int, scene: int, angles: tuple[float, float, float], size: int = 128
) -> tuple[Tensor, str]:
    """Render person number ``person`` in scene number ``scene``.

    Args:
        angles: Yaw, pitch, roll in degrees (signs: docs/conventions.md).
        size: Side of the picture in pixels.

    Returns:
        The picture [1, 3, size, size] in 0..1 and its caption.
    """
    heads = sample_heads([scene], [person]).replace(angles=torch.tensor([angles]))
    return render(heads, size).rgb, caption(heads)[0]

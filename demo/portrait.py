"""Portraits of held-out people in held-out scenes, by number."""

from __future__ import annotations

import torch
from torch import Tensor

from .captions import caption
from .people import sample_heads
from .renderer.renderer import render
from .seeds import held_out_seed

PEOPLE, SCENES = 0, 1
"""Evaluation seeds (``held_out_seed``) of the people and of the scenes."""


def portrait(
    person: int, scene: int, angles: tuple[float, float, float], size: int = 128
) -> tuple[Tensor, str]:
    """Render person number ``person`` in scene number ``scene``.

    Args:
        person, scene: 0 to 2**20 - 1.
        angles: Yaw, pitch, roll in degrees (signs: docs/conventions.md).
        size: Side of the image in pixels.

    Returns:
        The image [1, 3, size, size] in 0..1 and its caption.
    """
    seeds = held_out_seed(SCENES, scene), held_out_seed(PEOPLE, person)
    heads = sample_heads([seeds[0]], [seeds[1]]).replace(angles=torch.tensor([angles]))
    return render(heads, size).rgb, caption(heads)[0]

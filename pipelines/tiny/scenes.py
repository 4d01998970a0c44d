"""Redrawing heads in scenes: masks and the final composite."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...errors import InputError
from ...faces.masks.compositing import composite, feather

GROW = 0.12
"""Margin around the scene's head, as a fraction of its diameter."""
FEATHER = 4.0
"""Pixels over which the new head fades into the scene, inside the mask."""


@dataclass(frozen=True, eq=False)
class Personalised:
    """Scenes with a new head, tensors [B, 3, 128, 128] in 0..1.

    image: The finished image; equal to the scene where ``mask`` is 0, bit for bit.
    generated: The decoded image, before compositing.
    mask: [B, 1, 128, 128], nonzero where the finished image may differ from the scene.
    sampling_mask: [B, 1, 128, 128], 0 where sampling kept the scene; 1 where it redrew it, SFSR
        only in latent cells that lie wholly inside.
    """

    image: Tensor
    generated: Tensor
    mask: Tensor
    sampling_mask: Tensor


def check_scenes(scenes: Tensor, count: int, side: int) -> None:
    """Raise InputError unless there are ``count`` scenes [3, side, side]."""
    if scenes.shape != (count, 3, side, side):
        raise InputError(
            f"the scenes have shape {list(scenes.shape)}",
            fix=f"Give {count} images of {side} px, one per seed",
        )


def swapped(
    scenes: Tensor, generated: Tensor, mask: Tensor, without: Tensor, heads: Tensor
) -> Personalised:
    """Only the generated heads composited, into the scenes with the old heads removed.

    Args:
        mask: The sampling mask [B, 1, H, W].
        without, heads: From ``faces.masks.head_swap.swap``: [B, 3, H, W] and [B, H, W].
    """
    heads = heads[:, None]
    image = composite(without, generated, heads, FEATHER)
    changed = (feather(heads, FEATHER) > 0) | (without != scenes).any(1, keepdim=True)
    return Personalised(image, generated, changed.float(), mask)

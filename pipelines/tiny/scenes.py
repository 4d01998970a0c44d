"""Scenes whose head is drawn anew: the mask, what of a latent is kept, and the finished image."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ...demo.networks.analyzer import TinyAnalyzer, analyse
from ...errors import InputError
from ...faces.masks.compositing import composite, feather
from ...faces.masks.head_mask import head_mask

GROW = 0.12
"""Margin around the scene's head, as a share of its diameter."""
FEATHER = 4.0
"""Pixels over which the new head fades into the scene, inside the mask."""


@dataclass(frozen=True, eq=False)
class Personalised:
    """Scenes with a new head, tensors [B, 3, 128, 128] in 0..1.

    image: Finished; where ``keep`` is 1 the scene's own values, bit for bit.
    generated: As decoded, before the composite.
    keep: [B, 1, 128, 128], 1 where the finished image keeps the scene.
    drawn: [B, 1, 128, 128], 1 where the sampling drew anew, 0 where it held the scene.
    """

    image: Tensor
    generated: Tensor
    keep: Tensor
    drawn: Tensor


def check_scenes(scenes: Tensor, count: int, side: int) -> None:
    """Raise InputError unless there are ``count`` scenes [3, side, side]."""
    if scenes.shape != (count, 3, side, side):
        raise InputError(
            f"the scenes have the shape {list(scenes.shape)}",
            fix=f"Give {count} images of {side} px, one for each seed",
        )


def head_masks(analyzer: TinyAnalyzer, scenes: Tensor, grow: float = GROW) -> Tensor:
    """Where the heads of scenes are, with a margin: [B, H, W], 1 = draw anew.

    Args:
        grow: The margin as a share of the head's diameter.

    Raises:
        InputError: A scene without a head.
    """
    mask = head_mask(analyse(analyzer, scenes).head_logit, *scenes.shape[-2:], grow=grow)
    if not bool((mask.amax((1, 2)) > 0).all()):
        raise InputError(
            "no head was found",
            where="scene image",
            fix="Use an image of a tiny-world head, or leave the scene out",
        )
    return mask


def kept(mask: Tensor, count: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """What is kept for a mask [B or 1, H, W], 1 = draw anew.

    Returns:
        Keep-masks [count, 1, H, W], and of latents [count, 1, height, width].
    """
    keep = 1 - mask.expand(count, -1, -1)[:, None].float()
    # Sampled like this by the host: both hosts then keep the same cells.
    return keep, F.interpolate(keep, (height, width), mode="bilinear")


def finished(scenes: Tensor, generated: Tensor, keep: Tensor) -> Personalised:
    """The generated images in their scenes, but for what is kept [B, 1, H, W] (:func:`kept`)."""
    stays = feather(keep, FEATHER)
    return Personalised(composite(scenes, generated, stays), generated, stays, 1 - keep)


def swapped(
    scenes: Tensor, generated: Tensor, keep: Tensor, without: Tensor, heads: Tensor
) -> Personalised:
    """The generated heads alone, in their scenes without the old ones.

    Args:
        keep: [B, 1, H, W], what the sampling held.
        without, heads: As of ``faces.head_swap.swap`` [B, 3, H, W], [B, H, W].
    """
    stays = feather(1 - heads[:, None], FEATHER)
    image = composite(without, generated, stays)
    kept = ((stays == 1) & (without == scenes).all(1, keepdim=True)).float()
    return Personalised(image, generated, kept, 1 - keep)

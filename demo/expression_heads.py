"""Portraits of held-out people by number, and heads that differ by their expression alone."""

from __future__ import annotations

import torch
from torch import Tensor

from .captions import caption
from .people import CLASSES, IDENTITY_INDEX, Heads, sample_heads
from .renderer.renderer import render
from .seeds import held_out_seed

PEOPLE, SCENES = 0, 1
"""Evaluation seeds (``held_out_seed``) of the people and of the scenes."""
#: The default person, with light skin and large eyes.
FACE = 7
#: Nothing that hides the face, and brows that are visible in small images.
_PLAIN = {
    "glasses": "none", "facial_hair": "none", "earrings": "none", "hair_style": "buzzed",
    "hair_color": "brown", "lip_color": "red",
}  # fmt: skip
_CLEAR = {"brow_thickness": 0.8, "freckles": -1.0, "wrinkles": -1.0}
_GREY_PLAIN = (7.0, 0.0, 0.0, 0.6)


def expression_heads(
    expressions: Tensor, person: int = FACE, angles: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> Heads:
    """One person with B expressions, on plain grey, without glasses or beard.

    Args:
        expressions: [B, 51] in 0..1, ARKit order.
        person: Number of a held-out person.
        angles: Yaw, pitch, roll in degrees (``docs/conventions.md``).
    """
    heads = sample_heads([held_out_seed(PEOPLE, person)])
    identity = heads.identity.clone()
    for name, word in _PLAIN.items():
        identity[:, IDENTITY_INDEX[name]] = float(CLASSES[name][0].index(word))
    for name, value in _CLEAR.items():
        identity[:, IDENTITY_INDEX[name]] = value
    one = heads.replace(
        identity=identity,
        angles=torch.tensor([angles]),
        light=torch.tensor([[-0.3, 0.4, 0.1, 0.2]]),
        camera=torch.tensor([[0.0, 0.01, 1.2]]),
        background=torch.tensor([_GREY_PLAIN]),
    )
    return one[[0] * len(expressions)].replace(expression=expressions)


def expression_images(expressions: Tensor, person: int = FACE, size: int = 128) -> Tensor:
    """Render :func:`expression_heads`: images [B, 3, size, size] in 0..1."""
    return render(expression_heads(expressions, person), size).rgb


def portrait(
    person: int, scene: int, angles: tuple[float, float, float], size: int = 128
) -> tuple[Tensor, str]:
    """Person number ``person`` in scene number ``scene``, both 0 to 2**20 - 1, and the caption.

    The image is [1, 3, size, size] in 0..1; angles are yaw, pitch, roll in degrees.
    """
    seeds = held_out_seed(SCENES, scene), held_out_seed(PEOPLE, person)
    heads = sample_heads([seeds[0]], [seeds[1]]).replace(angles=torch.tensor([angles]))
    return render(heads, size).rgb, caption(heads)[0]

"""Losses of the images that Dense-Face draws itself: their settings, and what is read from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..pipelines.tiny.dense_face import GUIDANCE
from .rollout import Rollout


@dataclass(frozen=True)
class LikenessLosses:
    """The losses of images that the network draws itself.

    rows: Rows of the batch that are drawn: the first whose identity and pose are known.
    identity: Weight of 1 minus the cosine similarity.
    mistaken: Weight of the cross-entropy over the people of these rows.
    pose: Weight of the squared error of the head pose, in units of 30 degrees.
    nodes: Of the midpoint estimate. earliest, latest: Range of timesteps where it starts.
    rollout: Samples the starting points.
    """

    rows: int = 8
    identity: float = 0.5
    mistaken: float = 0.1
    pose: float = 1.0
    nodes: int = 2
    earliest: int = 250
    latest: int = 900
    rollout: Rollout = field(default_factory=lambda: Rollout(guidance=GUIDANCE))


@dataclass(frozen=True, eq=False)
class PersonReading:
    """Identities [B, D], unit norm, and yaw, pitch, roll in degrees [B, 3] read from B images."""

    identity: Tensor
    angles: Tensor


PersonReader = Callable[[Tensor, torch.Generator], PersonReading]
"""A frozen, differentiable network; reads scaled latents [B, 4, h, w]."""

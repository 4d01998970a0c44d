"""What is asked of face-generation mode: who, with which words, with the head turned how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from ...demo.people import PITCH_LIMIT, ROLL_LIMIT, YAW_LIMIT
from ...dense_face.pose_image import pose_image
from ...errors import InputError
from ...faces.identity import Identity
from .prompts import face_prompt

Angles = tuple[float, float, float]
"""Yaw, pitch, roll in degrees (signs: docs/conventions.md)."""

ANGLE_NAMES = ("yaw", "pitch", "roll")
LIMITS: Angles = (YAW_LIMIT, PITCH_LIMIT, ROLL_LIMIT)
"""The largest angles that the tiny world was trained on."""

_MOST_SEED = 2**63 - 1
T = TypeVar("T")


@dataclass(frozen=True)
class Parts:
    """Which parts of Dense-Face act in face-generation mode; all but for controls."""

    adapter: bool = True
    token: bool = True
    pose: bool = True


ALL_PARTS = Parts()


@dataclass(frozen=True, eq=False)
class Faces:
    """B faces to draw.

    texts: Prompts with a ``*``. identities: [B, 512]. hints: Pose images [B, 3, S, S] in 0..1.
    """

    texts: Sequence[str]
    identities: Tensor
    hints: Tensor
    parts: Parts

    def __getitem__(self, part: slice) -> Faces:
        return Faces(self.texts[part], self.identities[part], self.hints[part], self.parts)

    @classmethod
    def asked(
        cls,
        identities: Identity | Sequence[Identity],
        prompts: str | Sequence[str],
        angles: Angles | Sequence[Angles],
        count: int,
        *,
        encoder: str,
        size: int,
        parts: Parts = ALL_PARTS,
    ) -> Faces:
        """Check and complete what a caller gave; one value serves all ``count`` images.

        Args:
            encoder: The face encoder that the adapter understands.
            size: Side of the pose images in pixels.

        Raises:
            InputError: An angle beyond the range, a prompt that would lose the person, or counts
                that differ.
            IncompatibleError: The identity was measured by another encoder.
        """
        who = for_each(identities, Identity, count, "identities")
        for identity in who:
            identity.require(encoder)
        turned: Sequence[Angles] = for_each(angles, tuple, count, "head poses")
        return cls(
            [face_prompt(text) for text in for_each(prompts, str, count, "prompts")],
            torch.stack([identity.vector for identity in who]),
            pose_hints(turned, size),
            parts,
        )


def pose_hints(angles: Sequence[Angles], size: int) -> Tensor:
    """Pose images [B, 3, size, size] in 0..1.

    Raises:
        InputError: An angle is beyond :data:`LIMITS`.
    """
    for one in angles:
        check_angles(one)
    drawn = [torch.from_numpy(pose_image(*one, size=size)) for one in angles]
    return torch.stack(drawn).permute(0, 3, 1, 2).float() / 255


def check_angles(angles: Sequence[float]) -> None:
    """Raise InputError, naming the angle, where yaw, pitch or roll is beyond :data:`LIMITS`."""
    for name, angle, limit in zip(ANGLE_NAMES, angles, LIMITS, strict=True):
        if not abs(angle) <= limit:  # also catches NaN
            raise InputError(
                f"the {name} of {angle:g} degrees is beyond the trained range",
                fix=f"Choose a value between {-limit:g} and {limit:g}",
            )


def as_seeds(seeds: int | Sequence[int]) -> list[int]:
    """One seed for each image; raises InputError for none, or one out of 0..2**63 - 1."""
    found = [seeds] if isinstance(seeds, int) else list(seeds)
    if not found:
        raise InputError("no seed was given", fix="Give one for each image")
    for seed in found:
        if not 0 <= seed <= _MOST_SEED:
            raise InputError(f"the seed {seed} is out of range", fix=f"Choose 0 to {_MOST_SEED}")
    return found


def for_each(values: T | Sequence[T], kind: type, count: int, what: str) -> list[T]:
    """One value (of type ``kind``) for all, or a sequence of one for each; else InputError."""
    found: list[T] = [values] if isinstance(values, kind) else list(values)  # type: ignore[arg-type]
    if len(found) not in (1, count):
        raise InputError(
            f"{len(found)} {what} were given for {count} seeds",
            fix="Give one for all or one for each seed",
        )
    return found * count if len(found) == 1 else found

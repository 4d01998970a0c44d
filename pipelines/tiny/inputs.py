"""Inputs of both pipelines, checked and completed: identities, prompts, poses, expressions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from ...dense_face.pose_image import pose_images
from ...errors import InputError
from ...faces.angles import Angles, check_angles
from ...faces.identity import Identity
from ...sfsr.adapter import SFSRAdapter
from ...sfsr.compound import CompoundTokens
from ...sfsr.compound_inputs import expression_batch, identity_batch
from ...sfsr.expression import Expression
from .prompts import face_prompt, faceless_prompt

_MAX_SEED = 2**63 - 1
T = TypeVar("T")


@dataclass(frozen=True)
class Parts:
    """The parts of Dense-Face that act in face-generation mode; controls switch some off."""

    adapter: bool = True
    token: bool = True
    pose: bool = True


ALL_PARTS = Parts()


@dataclass(frozen=True, eq=False)
class DenseFaceInputs:
    """Inputs of face-generation mode for B images.

    texts: Prompts with a ``*``. identities: [B, 512]. hints: Pose images [B, 3, S, S] in 0..1.
    """

    texts: Sequence[str]
    identities: Tensor
    hints: Tensor
    parts: Parts

    def __getitem__(self, part: slice) -> DenseFaceInputs:
        return replace(
            self,
            texts=self.texts[part],
            identities=self.identities[part],
            hints=self.hints[part],
        )

    @classmethod
    def prepare(
        cls,
        identities: Identity | Sequence[Identity],
        prompts: str | Sequence[str],
        angles: Angles | Sequence[Angles],
        count: int,
        *,
        encoder: str,
        size: int,
        parts: Parts = ALL_PARTS,
    ) -> DenseFaceInputs:
        """Check and complete the inputs; a single value serves all ``count`` images.

        Args:
            size: Side of the pose images in pixels.

        Raises:
            InputError: An angle is out of range, a prompt's ``*`` would not be read, or counts
                differ.
            IncompatibleError: An identity was measured by another encoder.
        """
        people = for_each(identities, Identity, count, "identities")
        for identity in people:
            identity.require(encoder)
        return cls(
            [face_prompt(text) for text in for_each(prompts, str, count, "prompts")],
            torch.stack([identity.vector for identity in people]),
            pose_hints(for_each(angles, tuple, count, "head poses"), size),
            parts,
        )


@dataclass(frozen=True, eq=False)
class SFSRInputs:
    """Inputs of SFSR for B images.

    texts: Prompts. tokens: Identity and expression [B, n, W]. hints: Pose images [B, 3, S, S] in
    0..1. background: [B, 5, h, w] of ``sfsr.background``, or None. weights, starts: Of identity and
    expression; a start is the fraction of the denoising after which the source acts.
    """

    texts: Sequence[str]
    tokens: CompoundTokens
    hints: Tensor
    background: Tensor | None
    weights: tuple[float, float]
    starts: tuple[float, float]

    def __getitem__(self, part: slice) -> SFSRInputs:
        return replace(
            self,
            texts=self.texts[part],
            tokens=CompoundTokens(self.tokens.identity[part], self.tokens.expression[part]),
            hints=self.hints[part],
            background=None if self.background is None else self.background[part],
        )

    @classmethod
    @torch.no_grad()
    def prepare(
        cls,
        adapter: SFSRAdapter,
        identities: Sequence[Identity],
        expressions: Expression | Sequence[Expression],
        prompts: str | Sequence[str],
        angles: Angles | Sequence[Angles],
        background: Tensor | None,
        weights: tuple[float, float],
        starts: tuple[float, float],
        *,
        size: int,
    ) -> SFSRInputs:
        """Check and complete the inputs; a single value serves all images.

        Args:
            identities: One per image.
            size: Side of the pose images in pixels.

        Raises:
            InputError: An angle is out of range, a start is outside 0..1, or counts differ.
            IncompatibleError: An identity, or the learned part of an expression, comes from
                a network other than the adapter's.
        """
        for start in starts:
            if not 0 <= start <= 1:
                raise InputError(f"the start is {start:g}", fix="Use 0 (from the first step) to 1")
        count, layout = len(identities), adapter.layout
        people = identity_batch([[identity] for identity in identities], layout)
        faces = expression_batch(for_each(expressions, Expression, count, "expressions"), layout)
        texts = [faceless_prompt(text) for text in for_each(prompts, str, count, "prompts")]
        hints = pose_hints(for_each(angles, tuple, count, "head poses"), size)
        return cls(texts, adapter.embedding(people, faces), hints, background, weights, starts)


def pose_hints(angles: Sequence[Angles], size: int) -> Tensor:
    """Pose images [B, 3, size, size] in 0..1.

    Raises:
        InputError: An angle is outside ``faces.angles.ANGLE_LIMITS``.
    """
    for each in angles:
        check_angles(each)
    return pose_images(angles, size).float() / 255


def as_seeds(seeds: int | Sequence[int]) -> list[int]:
    """Seeds as a list; InputError if it is empty or one is outside 0..2**63 - 1."""
    found = [seeds] if isinstance(seeds, int) else list(seeds)
    if not found:
        raise InputError("no seed was given", fix="Give one per image")
    for seed in found:
        if not 0 <= seed <= _MAX_SEED:
            raise InputError(f"the seed {seed} is out of range", fix=f"Choose 0 to {_MAX_SEED}")
    return found


def for_each(values: T | Sequence[T], kind: type, count: int, what: str) -> list[T]:
    """One value (of type ``kind``) for all, or a sequence with one per image; else InputError."""
    found: list[T] = [values] if isinstance(values, kind) else list(values)  # type: ignore[arg-type]
    if len(found) not in (1, count):
        raise InputError(
            f"{len(found)} {what} were given for {count} seeds",
            fix="Give one for all or one per seed",
        )
    return found * count if len(found) == 1 else found

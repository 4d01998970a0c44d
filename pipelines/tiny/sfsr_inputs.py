"""What is asked of SFSR: who, with which expression, in which scene, with the head turned how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import InputError
from ...faces.identity import Identity
from ...sfsr.adapter import SFSRAdapter
from ...sfsr.compound import CompoundTokens
from ...sfsr.compound_inputs import expression_batch, identity_batch
from ...sfsr.expression import Expression
from .inputs import Angles, for_each, pose_hints
from .prompts import faceless_prompt


@dataclass(frozen=True, eq=False)
class SFSRInputs:
    """B faces to draw in their scenes.

    texts: Prompts. tokens: Identity and expression [B, n, W]. hints: Pose images [B, 3, S, S] in
    0..1. background: [B, 5, h, w] of ``sfsr.background``, or None. weights, starts: Of identity and
    expression; a start is the share of the way down the noise from which the source acts.
    """

    texts: Sequence[str]
    tokens: CompoundTokens
    hints: Tensor
    background: Tensor | None
    weights: tuple[float, float]
    starts: tuple[float, float]

    def __getitem__(self, part: slice) -> SFSRInputs:
        return SFSRInputs(
            self.texts[part],
            CompoundTokens(self.tokens.identity[part], self.tokens.expression[part]),
            self.hints[part],
            None if self.background is None else self.background[part],
            self.weights,
            self.starts,
        )

    @classmethod
    @torch.no_grad()
    def asked(
        cls,
        adapter: SFSRAdapter,
        identities: Identity | Sequence[Identity],
        expressions: Expression | Sequence[Expression],
        prompts: str | Sequence[str],
        angles: Sequence[Angles],
        background: Tensor | None,
        weights: tuple[float, float],
        starts: tuple[float, float],
        *,
        size: int,
    ) -> SFSRInputs:
        """Check and complete what a caller gave; one value serves all images.

        Args:
            angles: One for each image: they say how many.
            size: Side of the pose images in pixels.

        Raises:
            InputError: An angle beyond the range, a start outside 0..1, or counts that differ.
            IncompatibleError: An identity, or the learned part of an expression, was measured by
                another network than the adapter's.
        """
        for start in starts:
            if not 0 <= start <= 1:
                raise InputError(f"a start of {start:g}", fix="Give 0 (from the first step) to 1")
        count, layout = len(angles), adapter.layout
        who = identity_batch([[i] for i in for_each(identities, Identity, count, "people")], layout)
        faces = for_each(expressions, Expression, count, "expressions")
        tokens = adapter.embedding(who, expression_batch(faces, layout))
        texts = [faceless_prompt(t) for t in for_each(prompts, str, count, "prompts")]
        return cls(texts, tokens, pose_hints(angles, size), background, weights, starts)

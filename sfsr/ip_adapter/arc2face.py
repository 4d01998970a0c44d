"""Arc2Face's expression adapter: tokens of a FLAME expression, their keys and values.

    t(x) = LayerNorm(reshape(W2 GELU(W1 x + b1) + b2)), or one linear layer in place of two

The file is an IP-Adapter without LoRA whose vector is FLAME's 55 numbers. The unconditional half
has t(0), which is also the neutral face.
Source: docs/reference/published_weights.md A6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ...errors import InputError
from ...faces.flame import COUNT
from ..arc2face.flame import flame_numbers
from ..expression import Expression
from ..token_attention import EXPRESSION, KeysValues, TokenAttention
from .expected import check_layout
from .layout import FlameLayout
from .on_target import OnTarget
from .projection import projection_state


class FlameEmbedding(nn.Module):
    """Numbers [B, 55] -> tokens [B, n, W]; names of the parameters are those of the file."""

    def __init__(self, layout: FlameLayout) -> None:
        super().__init__()
        self.width = layout.width
        out = layout.tokens * layout.width
        self.proj: nn.Module = nn.Linear(COUNT, out)
        if layout.hidden:
            self.proj = nn.Sequential(
                nn.Linear(COUNT, layout.hidden), nn.GELU(), nn.Linear(layout.hidden, out)
            )
        self.norm = nn.LayerNorm(layout.width)

    def forward(self, numbers: Tensor) -> Tensor:
        """Tokens [B, n, W]."""
        numbers = numbers.to(self.norm.weight)
        return self.norm(self.proj(numbers).unflatten(1, (-1, self.width)))


class FlameAdapter(nn.Module, OnTarget[FlameLayout]):
    """The expression side alone; without background hint, identity and LoRA."""

    hint = None

    def __init__(self, layout: FlameLayout) -> None:
        super().__init__()
        self.layout = layout
        self.embedding = FlameEmbedding(layout)
        self.attention = TokenAttention(layout.target.layers, layout.width, (EXPRESSION,))

    def numbers(self, faces: Sequence[Expression]) -> Tensor:
        """FLAME numbers [B, 55] of B expressions.

        Raises:
            InputError: There are none.
            IncompatibleError: An expression carries no FLAME numbers.
        """
        if not faces:
            raise InputError("there is no expression", fix="Connect one")
        return torch.stack([flame_numbers(face) for face in faces])

    def tokens(self, numbers: Tensor) -> Tensor:
        """Tokens [B, n, W].

        Args:
            numbers: [B, 55] (:meth:`numbers`).

        Raises:
            InputError: They have another shape.
        """
        if numbers.ndim != 2 or numbers.shape[1] != COUNT:
            raise InputError(
                f"FLAME expressions of shape {list(numbers.shape)}",
                where=self.kind.title,
                fix=f"Give {COUNT} numbers for each face",
            )
        return self.embedding(numbers)

    def absent(self) -> Tensor:
        """Tokens [1, n, W] of the neutral face, for the unconditional half: not zeros."""
        return self.embedding(torch.zeros(1, COUNT))

    def keys_values(self, tokens: Tensor) -> dict[str, KeysValues]:
        """Layer to keys and values [B, n, C] of tokens, once for a whole run."""
        return self.attention.source_keys_values(EXPRESSION, tokens)


def flame_adapter(
    tensors: Mapping[str, Tensor], layout: FlameLayout, where: str = ""
) -> FlameAdapter:
    """The adapter of a file's tensors, in float32 and frozen.

    Raises:
        ModelFileError, IncompatibleError: As ``expected.check_layout``.
    """
    check_layout(tensors, layout, where)
    with torch.device("meta"):
        adapter = FlameAdapter(layout)
    adapter.load_state_dict(projection_state(tensors, layout.target, EXPRESSION), assign=True)
    return adapter.eval().requires_grad_(False)

"""FineFace: the expression by twelve action units, as one constant vector a layer.

    token = [au (12) ; W au + b (W - 12)];  added = au_to_v token, at every place alike

One token is one key, and the softmax of one key is 1: queries and ``au_to_k`` have no influence.
The token is affine in the units, so what is added is ``M au + c``, M [C, 12]: two small tables a
layer take the place of the file's 77 MB, and no network runs, neither in a step nor at a slider.
Source: docs/reference/published_weights.md D7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ...errors import InputError
from ..disfa import STRONGEST, UnitIntensities
from ..token_attention import KeysValues
from .expected import check_layout, unit_weight
from .layout import ExpressionLayout
from .on_target import OnTarget


class UnitEncoder(nn.Module):
    """Intensities [B, 12] -> the token [B, 1, W]; parameters as the file's ``au_encoder``."""

    def __init__(self, units: int, width: int) -> None:
        super().__init__()
        self.au_encoder = nn.Linear(units, width - units)

    def forward(self, units: Tensor) -> Tensor:
        """[B, 1, W]: the intensities themselves, then what the layer makes of them."""
        units = units.to(self.au_encoder.weight)
        return torch.cat([units, self.au_encoder(units)], 1)[:, None]


class ExpressionAdapter(OnTarget[ExpressionLayout]):
    """The expression side alone; without background hint, without identity.

    layout: What it is. encoder: Its token, for those who want to see it.
    """

    hint = None

    def __init__(
        self,
        layout: ExpressionLayout,
        encoder: UnitEncoder,
        maps: Mapping[str, tuple[Tensor, Tensor]],
    ) -> None:
        self.layout = layout
        self.encoder = encoder
        self._maps = dict(maps)

    def intensities(self, faces: Sequence[UnitIntensities]) -> Tensor:
        """[B, 12] of B faces; raises InputError without any."""
        if not faces:
            raise InputError("there is no expression", fix="Connect one")
        return torch.stack([face.values for face in faces])

    def vectors(self, units: Tensor) -> dict[str, Tensor]:
        """Layer to what it adds at every place before ``to_out``, [B, C].

        Args:
            units: Intensities [B, 12] in 0..5.

        Raises:
            InputError: Another number of units, or numbers outside 0..5.
        """
        if units.ndim != 2 or units.shape[1] != self.layout.units:
            raise InputError(
                f"intensities of shape {list(units.shape)}",
                where=self.kind.title,
                fix=f"Give {self.layout.units} for each face",
            )
        if not bool(((units >= 0) & (units <= STRONGEST)).all()):  # also catches NaN
            raise InputError(
                f"intensities outside 0 to {STRONGEST:g}",
                where=self.kind.title,
                fix="Look at the node or file before",
            )
        return {layer: units.to(m) @ m.T + c for layer, (m, c) in self._maps.items()}

    def absent(self) -> dict[str, Tensor]:
        """The same [1, C] of a face at rest, for the half without prompt: not nothing."""
        return self.vectors(torch.zeros(1, self.layout.units))

    def keys_values(self, vectors: Mapping[str, Tensor]) -> dict[str, KeysValues]:
        """The vectors as keys and values of one token, for code that knows nothing else.

        The keys are zeros: with one key they are without influence.
        """
        return {layer: (torch.zeros_like(v)[:, None], v[:, None]) for layer, v in vectors.items()}


def expression_adapter(
    tensors: Mapping[str, Tensor], layout: ExpressionLayout, where: str = ""
) -> ExpressionAdapter:
    """The adapter of the pair's tensors, in float32 and frozen.

    Raises:
        ModelFileError, IncompatibleError: As ``expected.check_layout``.
    """
    check_layout(tensors, layout, where)
    units, target = layout.units, layout.target
    weight, bias = tensors["au_encoder.weight"].double(), tensors["au_encoder.bias"].double()
    with torch.device("meta"):
        encoder = UnitEncoder(units, target.width)
    state = {"au_encoder.weight": weight.float(), "au_encoder.bias": bias.float()}
    encoder.load_state_dict(state, assign=True)
    maps: dict[str, tuple[Tensor, Tensor]] = {}
    for i, layer in enumerate(target.layers):
        # In float64: 756 products are summed once, for all runs.
        raw, made = (
            tensors[unit_weight(2 * i + 1, "v", target)]
            .double()
            .split([units, target.width - units], 1)
        )
        maps[layer] = (raw + made @ weight).float(), (made @ bias).float()
    return ExpressionAdapter(layout, encoder.eval().requires_grad_(False), maps)

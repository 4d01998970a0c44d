"""The whole SFSR adapter, and its file: ``format=sfsr-adapter/1``, one safetensors file.

The metadata name the encoders that the adapter was trained with (``identities``, ``learned``,
``layers``, sizes), so that a vector of another encoder is reported instead of giving a bad image.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import limits
from ..errors import ModelFileError, refuse_with
from ..readers.json_text import parse_json
from ..state_dict import check_state_dict, check_values
from ..storage import read_weights, write_weights
from .background import BackgroundHint
from .compound import CompoundEmbedding
from .compound_inputs import CompoundLayout
from .token_attention import TokenAttention

FORMAT = "sfsr-adapter/1"
_NUMBERS = ("learned", "tokens", "width", "hidden")
_HINT = "hint."


class SFSRAdapter(nn.Module):
    """Tokens, their keys and values, and an optional background hint.

    An untrained adapter changes nothing.

    Args:
        layout: Encoders and sizes of its inputs.
        layers: Cross-attention -> width C, named by the block in the LDM layout
            (``input_blocks.1``).
        hint_channels: Channels of the UNet's first convolution; 0 for no background hint
            (nine-channel UNets, latent blending).
    """

    def __init__(
        self, layout: CompoundLayout, layers: Mapping[str, int], hint_channels: int = 0
    ) -> None:
        super().__init__()
        self.layout = layout
        self.layers = dict(layers)
        self.embedding = CompoundEmbedding(layout)
        self.attention = TokenAttention(layers, layout.width)
        self.hint = BackgroundHint(hint_channels) if hint_channels else None

    def save(
        self, path: str | Path, about: Mapping[str, str], dtype: torch.dtype = torch.float16
    ) -> None:
        """Write the adapter file.

        Args:
            path: The file.
            about: More metadata.
            dtype: Of matrices and kernels. Biases and norms keep at least half precision: they are
                few, and 8 bits (``float8_e4m3fn``) would change them by several percent.

        Raises:
            InputError: The file cannot be written.
        """
        small = dtype if dtype.itemsize > 1 else torch.float16
        tensors = {
            name: tensor.to(dtype if tensor.ndim > 1 else small)
            for name, tensor in self.state_dict().items()
        }
        layout = self.layout
        metadata = {
            **about,
            "format": FORMAT,
            "identities": json.dumps(dict(layout.identities)),
            "learned_encoder": layout.learned_encoder,
            "layers": json.dumps(self.layers),
            **{name: str(getattr(layout, name)) for name in _NUMBERS},
        }
        write_weights(path, tensors, metadata)


def load_adapter(path: str | Path) -> SFSRAdapter:
    """Load an adapter file (float32, frozen, evaluation mode).

    Raises:
        ModelFileError: The file is missing, truncated, altered or of another format; its metadata
            cannot be read; a weight is missing or unknown.
        IncompatibleError: A weight does not have the shape that the metadata imply.
    """
    tensors, about = read_weights(path)
    if about.get("format") != FORMAT:
        raise ModelFileError(
            f"the file says format={about.get('format')!r} instead of {FORMAT!r}",
            where=str(path),
            fix="Use an SFSR adapter of this pack",
        )
    check_values(tensors, str(path))
    layout, layers = _read_layout(about, path)
    first = tensors.get(f"{_HINT}last.weight")
    # On the meta device, so that wrong sizes in the metadata allocate nothing.
    with refuse_with(_unusable(path, "sizes")), torch.device("meta"):
        adapter = SFSRAdapter(layout, layers, 0 if first is None else len(first))
    check_state_dict(adapter, tensors, "the SFSR adapter")
    weights = {name: tensor.float() for name, tensor in tensors.items()}
    adapter.load_state_dict(weights, assign=True)
    return adapter.eval().requires_grad_(False)


def _read_layout(
    about: Mapping[str, str], path: str | Path
) -> tuple[CompoundLayout, dict[str, int]]:
    with refuse_with(_unusable(path, "metadata")):
        numbers: dict[str, Any] = {name: int(about[name]) for name in _NUMBERS}
        identities = {str(k): int(v) for k, v in parse_json(about["identities"]).items()}
        layers = {str(k): int(v) for k, v in parse_json(about["layers"]).items()}
        if len(layers) + len(identities) > limits.LAYERS:
            raise ValueError("too many layers")
        return CompoundLayout(
            identities, learned_encoder=about["learned_encoder"], **numbers
        ), layers


def _unusable(path: str | Path, what: str) -> ModelFileError:
    return ModelFileError(
        f"the adapter file has unusable {what}", where=str(path), fix="Download or write it again"
    )

"""Where attentions lie in a UNet: by the files' numbers, by diffusers' names, by SD's own names.

Files of IP-Adapters number all attentions in the order of diffusers' ``attn_processors``: down, up,
middle last; even = self-attention, odd = cross-attention. The pack calls a cross-attention by its
block in Stable Diffusion's own names (``input_blocks.1``), and in SDXL, whose blocks hold several,
by its transformer there (``input_blocks.4.transformer_blocks.1``); a weight by its place below the
UNet (``input_blocks.1.1.transformer_blocks.0.attn1.to_q``).
Source: docs/reference/published_weights.md A2, C2, C4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")
"""The weights of one attention, below its place."""
_INDEX = ".transformer_blocks."
"""In the names of layers of SDXL, between the block and the transformer's index."""
_PARTS = ("input_blocks", "output_blocks", "middle_block")
_WIDTHS = {"input_blocks": (320, 640, 1280), "output_blocks": (1280, 640, 320)}
LAYERS: dict[str, int] = {
    **{f"input_blocks.{n}": _WIDTHS["input_blocks"][n // 3] for n in (1, 2, 4, 5, 7, 8)},
    **{f"output_blocks.{n}": _WIDTHS["output_blocks"][n // 3 - 1] for n in range(3, 12)},
    "middle_block": 1280,
}
"""Cross-attentions of Stable Diffusion 1.5 to their widths, in the files' order."""
_SDXL_BLOCKS = (
    *((f"input_blocks.{n}", 2, 640) for n in (4, 5)),
    *((f"input_blocks.{n}", 10, 1280) for n in (7, 8)),
    *((f"output_blocks.{n}", 10, 1280) for n in range(3)),
    *((f"output_blocks.{n}", 2, 640) for n in range(3, 6)),
    ("middle_block", 10, 1280),
)
"""Block, transformers in it, width."""
SDXL_LAYERS: dict[str, int] = {
    f"{block}{_INDEX}{index}": width
    for block, count, width in _SDXL_BLOCKS
    for index in range(count)
}
"""The 70 cross-attentions of SDXL to their widths, in the files' order."""
_DIFFUSERS = re.compile(r"(?:(down|up)_blocks\.(\d+)|mid_block)\.attentions\.(\d+)")


@dataclass(frozen=True)
class Target:
    """What a file has to fit: the UNet's cross-attentions, its text, the face's vectors.

    layers: Layer (module docstring) to width C, in the files' order (:func:`in_file_order`).
    width: Numbers in a token of the text, and so in each of an adapter's tokens.
    vector: Length of a face's vector.
    """

    layers: Mapping[str, int]
    width: int = 768
    vector: int = 512

    def attention_width(self, number: int) -> int:
        """Width C of an attention, self or cross."""
        return tuple(self.layers.values())[number // 2]

    @property
    def attentions(self) -> int:
        """How many there are, self and cross."""
        return 2 * len(self.layers)


SD15 = Target(LAYERS)
"""Stable Diffusion 1.5, and InsightFace's vectors."""
SDXL = Target(SDXL_LAYERS, 2048)
"""The same for SDXL."""


def layer_name(block: str, index: int, count: int) -> str:
    """A layer by its block and its transformer's index among ``count`` in that block."""
    return block if count == 1 else f"{block}{_INDEX}{index}"


def split_layer(layer: str) -> tuple[str, int | None]:
    """A layer's block and the index of its transformer; None where the block holds one alone.

    ``input_blocks.4.transformer_blocks.1`` -> ("input_blocks.4", 1).
    """
    block, _, index = layer.partition(_INDEX)
    return block, int(index) if index else None


def transformer_place(layer: str) -> str:
    """A layer's transformer below the UNet: ``input_blocks.1.1.transformer_blocks.0``."""
    block, index = split_layer(layer)
    return f"{block}.1{_INDEX}{index or 0}"


def in_file_order(layers: Mapping[str, int]) -> dict[str, int]:
    """Layers in the order of the files' numbers: input, output, then the middle."""

    def place(layer: str) -> tuple[int, int, int]:
        block, index = split_layer(layer)
        part, _, number = block.partition(".")
        return _PARTS.index(part), int(number or 0), index or 0

    return {layer: layers[layer] for layer in sorted(layers, key=place)}


def attention_place(number: int, target: Target = SD15) -> str:
    """Place of an attention by its number: 1 -> ``input_blocks.1.1.transformer_blocks.0.attn2``."""
    layer = tuple(target.layers)[number // 2]
    return f"{transformer_place(layer)}.attn{number % 2 + 1}"


def cross_attention_number(layer: str, target: Target = SD15) -> int:
    """The files' number of a layer's cross-attention, odd."""
    return 2 * list(target.layers).index(layer) + 1


def block_of_diffusers(name: str) -> str | None:
    """SD's block of a diffusers transformer: ``down_blocks.0.attentions.1`` -> ``input_blocks.2``.

    What follows the transformer's name is ignored; None for a name of another form. For UNets
    built like SD1.5 and SDXL: two transformers a level going down, three going up.
    """
    found = _DIFFUSERS.match(name)
    if found is None:
        return None
    way, level, index = found[1], int(found[2] or 0), int(found[3])
    if way is None:
        return "middle_block" if index == 0 else None
    if way == "down":
        return f"input_blocks.{1 + 3 * level + index}" if index < 2 else None
    return f"output_blocks.{3 * level + index}" if index < 3 else None


def diffusers_attention(place: str) -> str:
    """The reverse, for a whole place: ``input_blocks.2.1.transformer_blocks.0.attn2.to_q`` ->
    ``down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_q``.
    """
    block, inner = place.split(f".1{_INDEX}")
    part, _, number = block.partition(".")
    if part == "middle_block":
        transformer = "mid_block.attentions.0"
    elif part == "input_blocks":
        level, index = divmod(int(number) - 1, 3)
        transformer = f"down_blocks.{level}.attentions.{index}"
    else:
        level, index = divmod(int(number), 3)
        transformer = f"up_blocks.{level}.attentions.{index}"
    return f"{transformer}{_INDEX}{inner}"

"""Stable Diffusion's own (LDM) weight layout against the diffusers one, for any width and depth.

Files of this pack and of the Dense-Face release use the LDM names (``input_blocks.1.1...``); the
diffusers classes use their own (``down_blocks.0.attentions.0...``). This file holds the shape of a
UNet as numbers (:class:`UNetLayout`) and the key map computed from it (``vae_layout``: those of the
autoencoder); ``renaming`` applies maps to state dicts. Keys in the maps carry no file prefix; the
prefixes are the ``*_PREFIX`` constants.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import IncompatibleError

UNET_PREFIX = "model.diffusion_model."
TEXT_PREFIX = "cond_stage_model.transformer.text_model."

KeyMap = dict[str, str]


@dataclass(frozen=True)
class UNetLayout:
    """The numbers that fix a Stable Diffusion 1.x UNet.

    ``attention[l]`` says whether level ``l`` (downsampling 2**l) has transformers; the middle
    always has one. ``heads`` is the number of heads, the same on every level. The defaults are SD
    1.5.
    """

    model_channels: int = 320
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    attention: tuple[bool, ...] = (True, True, True, False)
    heads: int = 8
    context_dim: int = 768
    transformer_depth: int = 1
    in_channels: int = 4
    out_channels: int = 4
    image_size: int = 32

    @property
    def channels(self) -> tuple[int, ...]:
        """Width of each level, shallow to deep."""
        return tuple(self.model_channels * mult for mult in self.channel_mult)

    @classmethod
    def from_ldm(cls, net: Mapping[str, Any]) -> UNetLayout:
        """From LDM's constructor arguments (``attention_resolutions`` = downsampling factors)."""
        mult = tuple(int(m) for m in net["channel_mult"])
        factors = {int(f) for f in net["attention_resolutions"]}
        return cls(
            model_channels=int(net["model_channels"]),
            channel_mult=mult,
            num_res_blocks=int(net["num_res_blocks"]),
            attention=tuple(2**level in factors for level in range(len(mult))),
            heads=int(net["num_heads"]),
            context_dim=int(net["context_dim"]),
            transformer_depth=int(net.get("transformer_depth", 1)),
            in_channels=int(net.get("in_channels", 4)),
            out_channels=int(net.get("out_channels", 4)),
            image_size=int(net.get("image_size", 32)),
        )

    @classmethod
    def from_diffusers(cls, config: Mapping[str, Any]) -> UNetLayout:
        """From a ``UNet2DConditionModel.config`` (its ``attention_head_dim`` counts heads)."""
        channels = tuple(config["block_out_channels"])
        return cls(
            model_channels=channels[0],
            channel_mult=tuple(c // channels[0] for c in channels),
            num_res_blocks=config["layers_per_block"],
            attention=tuple(kind.startswith("CrossAttn") for kind in config["down_block_types"]),
            heads=config["attention_head_dim"],
            context_dim=config["cross_attention_dim"],
            transformer_depth=config.get("transformer_layers_per_block", 1),
            in_channels=config["in_channels"],
            out_channels=config["out_channels"],
            image_size=config.get("sample_size") or 32,
        )

    def diffusers_kwargs(self) -> dict[str, Any]:
        """Constructor arguments of the equal ``UNet2DConditionModel``.

        Raises:
            IncompatibleError: The first level is wider than the first convolution; LDM can build
                that, diffusers cannot.
        """
        if self.channel_mult[0] != 1:
            raise IncompatibleError(
                f"diffusers cannot build a UNet with channel_mult {self.channel_mult}",
                fix="Use one that begins with 1",
            )
        down = tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in self.attention)
        up = tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(self.attention))
        return {
            "sample_size": self.image_size,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "block_out_channels": self.channels,
            "layers_per_block": self.num_res_blocks,
            "down_block_types": down,
            "up_block_types": up,
            "cross_attention_dim": self.context_dim,
            "attention_head_dim": self.heads,
            "transformer_layers_per_block": self.transformer_depth,
            "norm_num_groups": 32,
        }


@dataclass(frozen=True)
class Piece:
    """One sub-module of the UNet under both names.

    ``kind`` is conv, res, res_skip, attn, down or up; ``width`` the channels that come out.
    """

    kind: str
    ldm: str
    diffusers: str
    width: int


def unet_pieces(layout: UNetLayout) -> Iterator[Piece]:
    """All numbered sub-modules of the UNet, in the order in which they run."""
    channels, repeats = layout.channels, layout.num_res_blocks
    last = len(channels) - 1
    current, block = layout.model_channels, 1
    skips = [current]
    yield Piece("conv", "input_blocks.0.0", "conv_in", current)
    for level, width in enumerate(channels):
        theirs = f"down_blocks.{level}"
        for i in range(repeats):
            ours = f"input_blocks.{block}"
            yield _res(f"{ours}.0", f"{theirs}.resnets.{i}", current, width)
            if layout.attention[level]:
                yield Piece("attn", f"{ours}.1", f"{theirs}.attentions.{i}", width)
            current = width
            skips.append(current)
            block += 1
        if level < last:
            yield Piece("down", f"input_blocks.{block}.0", f"{theirs}.downsamplers.0", current)
            skips.append(current)
            block += 1
    yield _res("middle_block.0", "mid_block.resnets.0", current, current)
    yield Piece("attn", "middle_block.1", "mid_block.attentions.0", current)
    yield _res("middle_block.2", "mid_block.resnets.1", current, current)
    for block in range((last + 1) * (repeats + 1)):
        up, i = divmod(block, repeats + 1)
        level = last - up
        ours, theirs, width = f"output_blocks.{block}", f"up_blocks.{up}", channels[level]
        yield _res(f"{ours}.0", f"{theirs}.resnets.{i}", current + skips.pop(), width)
        current = width
        if layout.attention[level]:
            yield Piece("attn", f"{ours}.1", f"{theirs}.attentions.{i}", width)
        if level and i == repeats:
            place = 2 if layout.attention[level] else 1
            yield Piece("up", f"{ours}.{place}", f"{theirs}.upsamplers.0", width)


def unet_to_diffusers_keys(layout: UNetLayout) -> KeyMap:
    """LDM key -> diffusers key for every tensor of the UNet, without ``model.diffusion_model.``."""
    names: KeyMap = {
        "time_embed.0": "time_embedding.linear_1",
        "time_embed.2": "time_embedding.linear_2",
        "out.0": "conv_norm_out",
        "out.2": "conv_out",
    }
    exact: KeyMap = {}
    for piece in unet_pieces(layout):
        for ldm, diffusers in _INSIDE[piece.kind].items():
            names[piece.ldm + ldm] = piece.diffusers + diffusers
        if piece.kind == "attn":
            for depth in range(layout.transformer_depth):
                inner = f".transformer_blocks.{depth}."
                for name in _TRANSFORMER_WITH_BIAS:
                    names[piece.ldm + inner + name] = piece.diffusers + inner + name
                for name in _TRANSFORMER_WITHOUT_BIAS:
                    exact[f"{piece.ldm}{inner}{name}.weight"] = (
                        f"{piece.diffusers}{inner}{name}.weight"
                    )
    return with_parameters(names) | exact


def site_of(module_name: str, layout: UNetLayout) -> tuple[str, int, str]:
    """LDM place of a diffusers attention module: (block, transformer index, ``attn1`` or
    ``attn2``).

    ``down_blocks.0.attentions.0.transformer_blocks.0.attn2`` -> ``("input_blocks.1", 0, "attn2")``;
    a trailing ``.processor`` is accepted. The middle is ``"middle_block"``. Raises KeyError for a
    name outside the layout.
    """
    transformer, _, inner = module_name.removesuffix(".processor").partition(".transformer_blocks.")
    index, _, attention = inner.partition(".")
    for piece in unet_pieces(layout):
        if piece.kind == "attn" and piece.diffusers == transformer:
            return piece.ldm.removesuffix(".1"), int(index), attention
    raise KeyError(module_name)


def transformer_of(block: str, layout: UNetLayout) -> str:
    """diffusers name of the transformer in an LDM block (``middle_block``); KeyError if none."""
    for piece in unet_pieces(layout):
        if piece.kind == "attn" and piece.ldm == f"{block}.1":
            return piece.diffusers
    raise KeyError(block)


_RES: KeyMap = {
    ".in_layers.0": ".norm1",
    ".in_layers.2": ".conv1",
    ".emb_layers.1": ".time_emb_proj",
    ".out_layers.0": ".norm2",
    ".out_layers.3": ".conv2",
}
_INSIDE: dict[str, KeyMap] = {
    "conv": {"": ""},
    "res": _RES,
    "res_skip": _RES | {".skip_connection": ".conv_shortcut"},
    "attn": {".norm": ".norm", ".proj_in": ".proj_in", ".proj_out": ".proj_out"},
    "down": {".op": ".conv"},
    "up": {".conv": ".conv"},
}
_TRANSFORMER_WITH_BIAS = (
    "norm1",
    "norm2",
    "norm3",
    "attn1.to_out.0",
    "attn2.to_out.0",
    "ff.net.0.proj",
    "ff.net.2",
)
_TRANSFORMER_WITHOUT_BIAS = tuple(f"attn{i}.to_{x}" for i in (1, 2) for x in "qkv")


def _res(ldm: str, diffusers: str, width_in: int, width_out: int) -> Piece:
    return Piece("res" if width_in == width_out else "res_skip", ldm, diffusers, width_out)


def with_parameters(names: KeyMap) -> KeyMap:
    """Names of modules with a weight and a bias each -> keys of those."""
    return {f"{a}.{kind}": f"{b}.{kind}" for a, b in names.items() for kind in ("weight", "bias")}

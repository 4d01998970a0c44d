"""The sizes of a Stable Diffusion 1.x UNet and autoencoder, as stored in a base file's metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import IncompatibleError


@dataclass(frozen=True)
class UNetLayout:
    """The hyperparameters of a Stable Diffusion 1.x UNet.

    ``attention[l]`` says whether level ``l`` (downsampling 2**l) has transformers; the middle
    block always has one. ``heads`` is the number of heads on every level. The defaults are SD
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
        """Constructor arguments of the equivalent ``UNet2DConditionModel``.

        Raises:
            IncompatibleError: The first level is wider than the first convolution; LDM can build
                that, diffusers cannot.
        """
        if self.channel_mult[0] != 1:
            raise IncompatibleError(
                f"diffusers cannot build a UNet with channel_mult {self.channel_mult}",
                fix="Use one that starts with 1",
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
class VAELayout:
    """The hyperparameters of a Stable Diffusion 1.x autoencoder. The defaults are SD 1.5."""

    channels: tuple[int, ...] = (128, 256, 512, 512)
    num_res_blocks: int = 2

    @classmethod
    def from_diffusers(cls, config: Mapping[str, Any]) -> VAELayout:
        """From the ``config`` of an ``AutoencoderKL``."""
        return cls(tuple(config["block_out_channels"]), config["layers_per_block"])

    def diffusers_kwargs(self) -> dict[str, Any]:
        """Constructor arguments of the equivalent ``AutoencoderKL``."""
        levels = len(self.channels)
        return {
            "in_channels": 3,
            "out_channels": 3,
            "block_out_channels": self.channels,
            "layers_per_block": self.num_res_blocks,
            "latent_channels": 4,
            "norm_num_groups": 32,
            "down_block_types": ("DownEncoderBlock2D",) * levels,
            "up_block_types": ("UpDecoderBlock2D",) * levels,
        }

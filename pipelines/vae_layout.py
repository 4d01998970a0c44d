"""The autoencoder of Stable Diffusion in its own (LDM) weight layout against the diffusers one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .layout import KeyMap, with_parameters

VAE_PREFIX = "first_stage_model."


@dataclass(frozen=True)
class VAELayout:
    """The numbers that fix a Stable Diffusion 1.x autoencoder. The defaults are SD 1.5."""

    channels: tuple[int, ...] = (128, 256, 512, 512)
    num_res_blocks: int = 2

    @classmethod
    def from_diffusers(cls, config: Mapping[str, Any]) -> VAELayout:
        """From the ``config`` of an ``AutoencoderKL``."""
        return cls(tuple(config["block_out_channels"]), config["layers_per_block"])

    def diffusers_kwargs(self) -> dict[str, Any]:
        """Constructor arguments of the equal ``AutoencoderKL``."""
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


def vae_to_diffusers_keys(layout: VAELayout) -> KeyMap:
    """LDM key -> diffusers key for every tensor of the autoencoder, without ``first_stage_model.``.

    The four maps of each middle attention are 1x1 convolutions in LDM and Linear layers in
    diffusers; ``renaming`` reshapes [C, C, 1, 1] <-> [C, C].
    """
    channels, last = layout.channels, len(layout.channels) - 1
    names: KeyMap = {"quant_conv": "quant_conv", "post_quant_conv": "post_quant_conv"}
    current = channels[0]
    for level, width in enumerate(channels):
        for i in range(layout.num_res_blocks):
            resnet = f"encoder.down_blocks.{level}.resnets.{i}"
            _vae_res(names, f"encoder.down.{level}.block.{i}", resnet, current != width)
            current = width
        if level < last:
            names[f"encoder.down.{level}.downsample.conv"] = (
                f"encoder.down_blocks.{level}.downsamplers.0.conv"
            )
    for up, level in enumerate(range(last, -1, -1)):
        for i in range(layout.num_res_blocks + 1):
            resnet = f"decoder.up_blocks.{up}.resnets.{i}"
            _vae_res(names, f"decoder.up.{level}.block.{i}", resnet, current != channels[level])
            current = channels[level]
        if level:
            names[f"decoder.up.{level}.upsample.conv"] = f"decoder.up_blocks.{up}.upsamplers.0.conv"
    for half in ("encoder", "decoder"):
        for name in ("conv_in", "conv_out"):
            names[f"{half}.{name}"] = f"{half}.{name}"
        names[f"{half}.norm_out"] = f"{half}.conv_norm_out"
        for i in (0, 1):
            _vae_res(names, f"{half}.mid.block_{i + 1}", f"{half}.mid_block.resnets.{i}", False)
        for ldm, diffusers in _VAE_ATTENTION.items():
            names[f"{half}.mid.attn_1.{ldm}"] = f"{half}.mid_block.attentions.0.{diffusers}"
    return with_parameters(names)


_VAE_ATTENTION: KeyMap = {
    "norm": "group_norm",
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "proj_out": "to_out.0",
}


def _vae_res(names: KeyMap, ldm: str, diffusers: str, skip: bool) -> None:
    for name in ("norm1", "conv1", "norm2", "conv2"):
        names[f"{ldm}.{name}"] = f"{diffusers}.{name}"
    if skip:
        names[f"{ldm}.nin_shortcut"] = f"{diffusers}.conv_shortcut"

"""State dicts between the layout of Stable Diffusion's files (LDM) and diffusers' classes.

Files of this pack and of the Dense-Face release use the LDM names (``input_blocks.1.1...``), the
diffusers classes their own (``down_blocks.0.attentions.0...``). Files are read by diffusers' own
conversion, which is not a documented API: this is the only module that touches it. diffusers has
no inverse, so the LDM names of a network's tensors are computed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from ..errors import ModelFileError
from ..state_dict import without_prefix

try:
    from diffusers.loaders.single_file_utils import (
        convert_controlnet_checkpoint,
        convert_ldm_unet_checkpoint,
        convert_ldm_vae_checkpoint,
        convert_open_clip_checkpoint,
    )
except ImportError as error:
    raise ImportError(
        "this version of diffusers does not offer its checkpoint conversion where version 0.42 "
        "does; install diffusers 0.42"
    ) from error

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."
TEXT_PREFIX = "cond_stage_model.transformer.text_model."

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_OUTSIDE_BLOCKS = {
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out": "proj_out"}


def unet_ldm_name(name: str, config: Mapping[str, Any]) -> str:
    """The LDM name, without prefix, of a tensor or attention module of a diffusers UNet.

    Args:
        name: ``down_blocks.0.attentions.0.proj_in.weight`` -> ``input_blocks.1.1.proj_in.weight``.

    Raises:
        KeyError: A UNet of Stable Diffusion 1.x or SDXL has no such tensor.
    """
    each = config["layers_per_block"] + 1
    match name.split("."):
        case ["mid_block", "attentions", _, *rest]:
            return _joined("middle_block.1", rest)
        case ["mid_block", "resnets", index, *rest]:
            return _joined(f"middle_block.{2 * int(index)}", _resnet(rest))
        case ["down_blocks", level, "downsamplers", _, _, *rest]:
            return _joined(f"input_blocks.{(int(level) + 1) * each}.0.op", rest)
        case ["up_blocks", level, "upsamplers", _, *rest]:
            place = 2 if config["up_block_types"][int(level)].startswith("CrossAttn") else 1
            return _joined(f"output_blocks.{(int(level) + 1) * each - 1}.{place}", rest)
        case [("down_blocks" | "up_blocks") as side, level, kind, index, *rest]:
            number = int(level) * each + int(index)
            blocks, first = ("input", 1) if side == "down_blocks" else ("output", 0)
            block = f"{blocks}_blocks.{first + number}"
            if kind == "attentions":
                return _joined(f"{block}.1", rest)
            return _joined(f"{block}.0", _resnet(rest))
    module, _, kind = name.rpartition(".")
    return f"{_OUTSIDE_BLOCKS[module]}.{kind}"


def vae_ldm_name(name: str, config: Mapping[str, Any]) -> str:
    """The LDM name, without prefix, of a tensor of a diffusers autoencoder with this config."""
    last = len(config["block_out_channels"]) - 1
    match name.split("."):
        case [half, "mid_block", "attentions", _, part, *rest]:
            return f"{half}.mid.attn_1.{_VAE_ATTENTION[part]}.{rest[-1]}"
        case [half, "mid_block", "resnets", index, *rest]:
            return _joined(f"{half}.mid.block_{int(index) + 1}", _vae_resnet(rest))
        case [half, "down_blocks", level, "resnets", index, *rest]:
            return _joined(f"{half}.down.{level}.block.{index}", _vae_resnet(rest))
        case [half, "up_blocks", level, "resnets", index, *rest]:
            return _joined(f"{half}.up.{last - int(level)}.block.{index}", _vae_resnet(rest))
        case [half, "down_blocks", level, "downsamplers", _, *rest]:
            return _joined(f"{half}.down.{level}.downsample", rest)
        case [half, "up_blocks", level, "upsamplers", _, *rest]:
            return _joined(f"{half}.up.{last - int(level)}.upsample", rest)
    return name.replace("conv_norm_out", "norm_out")


def attention_blocks(unet: UNet2DConditionModel) -> dict[str, str]:
    """LDM block (``middle_block``) -> diffusers name of its transformer, in execution order."""
    found = {}
    for name in unet.attn_processors:
        transformer = name.partition(".transformer_blocks.")[0]
        found[unet_ldm_name(transformer, unet.config).removesuffix(".1")] = transformer

    def place(block: str) -> tuple[str, int]:  # input, middle, output: alphabetical
        kind, _, number = block.partition(".")
        return kind, int(number or 0)

    return {block: found[block] for block in sorted(found, key=place)}


def unet_from_ldm(
    tensors: Mapping[str, Tensor], unet: UNet2DConditionModel, *, where: str = ""
) -> dict[str, Tensor]:
    """The state dict for a UNet from the tensors of a file, which may hold other networks too.

    Args:
        where: The file, for the error.

    Raises:
        ModelFileError: A weight is missing.
    """
    given = {name: tensor for name, tensor in tensors.items() if name.startswith(UNET_PREFIX)}
    found = convert_ldm_unet_checkpoint(given, unet.config)
    names = {name: UNET_PREFIX + unet_ldm_name(name, unet.config) for name in unet.state_dict()}
    return _all_of(names, found, where)


def controlnet_from_ldm(
    tensors: Mapping[str, Tensor], config: Mapping[str, Any]
) -> dict[str, Tensor]:
    """The tensors of a ControlNet under diffusers' names, from either naming.

    Args:
        config: That of the UNet it belongs to.
    """
    found = convert_controlnet_checkpoint(dict(tensors), config)
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def unet_to_ldm(unet: UNet2DConditionModel, prefix: str = UNET_PREFIX) -> dict[str, Tensor]:
    """A UNet's tensors under their LDM names."""
    return {
        prefix + unet_ldm_name(name, unet.config): tensor
        for name, tensor in unet.state_dict().items()
    }


def vae_from_ldm(
    tensors: Mapping[str, Tensor], vae: AutoencoderKL, *, where: str = ""
) -> dict[str, Tensor]:
    """The state dict for an autoencoder; see :func:`unet_from_ldm`."""
    given = {name: tensor for name, tensor in tensors.items() if name.startswith(VAE_PREFIX)}
    found = convert_ldm_vae_checkpoint(given, vae.config)
    names = {name: VAE_PREFIX + vae_ldm_name(name, vae.config) for name in vae.state_dict()}
    return _all_of(names, found, where)


def vae_to_ldm(vae: AutoencoderKL) -> dict[str, Tensor]:
    """An autoencoder's tensors under their LDM names.

    LDM stores the four maps of each middle attention as 1x1 convolutions [C, C, 1, 1].
    """
    stored = {}
    for name, tensor in vae.state_dict().items():
        ldm = vae_ldm_name(name, vae.config)
        as_convolution = ".mid.attn_1." in ldm and tensor.ndim == 2
        stored[VAE_PREFIX + ldm] = tensor[:, :, None, None] if as_convolution else tensor
    return stored


def text_from_ldm(
    tensors: Mapping[str, Tensor], text_encoder: CLIPTextModel, prefix: str = TEXT_PREFIX
) -> dict[str, Tensor]:
    """The CLIP tensors of a file under the names that the installed transformers uses.

    transformers 4 prefixes them with ``text_model.``; transformers 5 does not. The stored
    ``embeddings.position_ids`` is dropped where the model has no such buffer.
    """
    own = text_encoder.state_dict()
    inside = "text_model." if any(key.startswith("text_model.") for key in own) else ""
    found = {inside + key: t for key, t in without_prefix(tensors, prefix).items()}
    return {k: t for k, t in found.items() if k in own or not k.endswith("position_ids")}


def open_clip_text_from_ldm(
    tensors: Mapping[str, Tensor], text_encoder: CLIPTextModelWithProjection, prefix: str
) -> dict[str, Tensor]:
    """The state dict for a text encoder from a file's tensors in OpenCLIP's layout."""
    given = {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    found = convert_open_clip_checkpoint(text_encoder, given, prefix)
    return {name: found[name] for name in text_encoder.state_dict() if name in found}


def text_to_ldm(text_encoder: CLIPTextModel) -> dict[str, Tensor]:
    """A CLIP text encoder's tensors under their LDM names."""
    return {
        TEXT_PREFIX + key.removeprefix("text_model."): tensor
        for key, tensor in text_encoder.state_dict().items()
    }


def _all_of(names: Mapping[str, str], found: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    missing = [ldm for name, ldm in names.items() if name not in found]
    if missing:
        raise ModelFileError(
            f"{len(missing)} weights are missing, the first is {missing[0]}",
            where=where,
            fix="Use a complete file of this configuration in the original layout",
        )
    return {name: found[name] for name in names}


def _joined(block: str, rest: list[str]) -> str:
    return ".".join([block, *rest])


def _resnet(parts: list[str]) -> list[str]:
    return [_RESNET[parts[0]], *parts[1:]]


def _vae_resnet(parts: list[str]) -> list[str]:
    return ["nin_shortcut" if parts[0] == "conv_shortcut" else parts[0], *parts[1:]]

"""A small model of Stable Diffusion's architecture as ordinary MODEL, CLIP and VAE.

The host's own loaders recognise SD1.5 by its widths (320 channels, 768-wide text), so a smaller one
is built here from the same classes. All sizes are read from its tensors, except the numbers of
attention heads, which come from the ``config`` in the file's metadata.

Host objects used: ``supported_models.SD15``, ``latent_formats.SD15``, ``sd.VAE(sd, config)``,
``model_detection.detect_unet_config``, ``cached_patcher_init`` (0.15.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import comfy.latent_formats
import comfy.model_base
import comfy.model_detection
import comfy.model_management as mm
import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import comfy.utils
from torch import Tensor

from ....errors import ModelFileError
from ....readers.json_text import parse_json
from ....state_dict import without_prefix
from ....storage import read_weights
from ..memory import patcher_class
from .tiny_text import build_clip

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."
TEXT_PREFIX = "cond_stage_model.transformer.text_model."


class TinyLatents(comfy.latent_formats.SD15):
    """Stable Diffusion's latents in the tiny world's own colours, for the host's previews."""

    def __init__(self) -> None:
        super().__init__()
        # Least squares over the autoencoder's latents of 192 renders; explains 0.8 of the variance.
        self.latent_rgb_factors = [
            [-0.0146, -0.2638, -0.3338],
            [-0.1697, 0.0295, -0.1321],
            [0.2669, 0.2184, 0.0429],
            [0.1959, 0.1004, -0.0453],
        ]
        self.latent_rgb_factors_bias = [0.2606, 0.0563, -0.0479]
        self.taesd_decoder_name = None


def load_tiny_sd(path: Path) -> tuple[Any, Any, Any]:
    """(MODEL, CLIP, VAE) from one file in the original (LDM) layout.

    Raises:
        ModelFileError: The file is missing, corrupt or incomplete.
    """
    tensors, metadata = read_weights(path)
    heads = _heads(metadata, path)
    model = build_model(_part(tensors, UNET_PREFIX, path), heads["unet"])
    model.cached_patcher_init = (_model_again, (path,))
    clip = build_clip(_part(tensors, TEXT_PREFIX, path), heads["text"])
    clip.patcher.cached_patcher_init = (_text_again, (path,))
    return model, clip, _vae(_part(tensors, VAE_PREFIX, path))


def _model_again(path: Path, disable_dynamic: bool = False) -> Any:
    """A fresh MODEL from the file: the host calls this to copy it to other devices."""
    tensors, metadata = read_weights(path)
    heads = _heads(metadata, path)["unet"]
    return build_model(_part(tensors, UNET_PREFIX, path), heads, disable_dynamic)


def _text_again(path: Path, disable_dynamic: bool = False) -> Any:
    tensors, metadata = read_weights(path)
    heads = _heads(metadata, path)["text"]
    return build_clip(_part(tensors, TEXT_PREFIX, path), heads, disable_dynamic).patcher


def build_model(tensors: dict[str, Tensor], heads: int, disable_dynamic: bool = False) -> Any:
    """A MODEL from the tensors of a UNet of SD1.x's architecture (names without file prefix)."""

    class TinySD(comfy.supported_models.SD15):
        """SD1.5 with other sizes."""

        unet_extra_config = {"num_heads": heads, "num_head_channels": -1}  # noqa: RUF012 (host API)
        latent_format = TinyLatents

    device = mm.get_torch_device()
    sizes = comfy.model_detection.detect_unet_config(tensors, "")
    config = TinySD(sizes)
    stored = comfy.utils.weight_dtype(tensors)
    supported = config.supported_inference_dtypes
    parameters = sum(t.numel() for t in tensors.values())
    dtype = mm.unet_dtype(model_params=parameters, supported_dtypes=supported, weight_dtype=stored)
    config.set_inference_dtype(dtype, mm.unet_manual_cast(dtype, device, supported))
    offload = mm.unet_offload_device()
    net = comfy.model_base.BaseModel(config, device=offload)
    cls = comfy.model_patcher.ModelPatcher if disable_dynamic else patcher_class()
    patcher = cls(net, load_device=device, offload_device=offload)
    # After wrapping, as the host does: a dynamic patcher keeps the given tensors.
    assign = getattr(patcher, "is_dynamic", lambda: False)()
    net.diffusion_model.load_state_dict(tensors, strict=True, assign=assign)
    return patcher


def _vae(tensors: dict[str, Tensor]) -> Any:
    """The autoencoder; its widths are read from the first convolution of each level."""
    levels = 1 + max(int(k.split(".")[2]) for k in tensors if k.startswith("encoder.down."))
    width = tensors["encoder.conv_in.weight"].shape[0]
    outs = [tensors[f"encoder.down.{i}.block.0.conv1.weight"].shape[0] for i in range(levels)]
    blocks = 1 + max(int(k.split(".")[4]) for k in tensors if k.startswith("encoder.down.0.block."))
    sizes = {
        "double_z": True,
        "z_channels": tensors["decoder.conv_in.weight"].shape[1],
        "resolution": 128,
        "in_channels": 3,
        "out_ch": 3,
        "ch": width,
        "ch_mult": [out // width for out in outs],
        "num_res_blocks": blocks,
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    embed = tensors["post_quant_conv.weight"].shape[1]
    return comfy.sd.VAE(sd=tensors, config={"params": {"ddconfig": sizes, "embed_dim": embed}})


def _part(tensors: Mapping[str, Tensor], prefix: str, path: Path) -> dict[str, Tensor]:
    part = without_prefix(tensors, prefix)
    if not part:
        raise ModelFileError(
            f"the model file has no {prefix}* tensors", where=str(path), fix="Fetch the file again"
        )
    return part


def _heads(metadata: Mapping[str, str], path: Path) -> dict[str, int]:
    """Numbers of attention heads of the UNet and the text encoder from the file's metadata."""
    try:
        config = parse_json(metadata["config"])
        return {
            "unet": int(config["unet"]["heads"]),
            "text": int(config["text"]["num_attention_heads"]),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(
            "the model file lacks its configuration", where=str(path), fix="Fetch the file again"
        ) from error

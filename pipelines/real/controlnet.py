"""What ``--controlnet`` names: a pose branch of Dense-Face, or an ordinary ControlNet of SD 1.5.

An ordinary one is read from one local file, in the original layout or diffusers'; its sizes are
those of the base. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import ControlNetModel
from torch import Tensor

from ...dense_face.checkpoints.adapter_file import FORMAT, load_adapter
from ...dense_face.pose_branch import PoseBranch
from ...errors import IncompatibleError, InputError, ModelFileError, refuse_with
from ...faces.crops.crop import cropped
from ...state_dict import as_float32, check_values, without_prefix
from ..base import Base
from ..checkpoint_file import read_tensors
from ..guided import Control, as_unet_arguments
from ..layout import UNetLayout
from ..ldm import controlnet_from_ldm
from ..single_file import OTHER_BASES
from .scene import SceneCrop

STRENGTHS = 0.0, 10.0
"""Range of an ordinary ControlNet's strength; 1 as trained."""
_PREFIX = "control_model."
_ORIGINAL, _DIFFUSERS = "zero_convs.0.0.weight", "controlnet_down_blocks.0.weight"
_KEYS = "attn2.to_k.weight"
_HINT = "controlnet_cond_embedding."
_LATENT_CHANNELS = 4
_SHARED = (
    "block_out_channels",
    "layers_per_block",
    "down_block_types",
    "cross_attention_dim",
    "attention_head_dim",
    "transformer_layers_per_block",
    "norm_num_groups",
)
"""Sizes that a ControlNet has in common with its base."""
_FIX = "Use a ControlNet for Stable Diffusion 1.5, such as control_v11p_sd15_openpose"


def load_control(path: str | Path, base: Base) -> PoseBranch | ControlNetModel:
    """A pose branch of this pack's format, or any other ControlNet for the base.

    Raises:
        ModelFileError: The file is missing, damaged, incomplete, or of neither kind.
        IncompatibleError: It is for another base, or of a kind that is not run here.
    """
    path = Path(path)
    tensors, metadata = read_tensors(path)
    if metadata.get("format") == FORMAT:
        branch = load_adapter(path).pose_branch
        if branch is None:
            raise ModelFileError(
                "this Dense-Face file contains no pose branch", where=str(path), fix=_FIX
            )
        return branch
    if any(name.startswith(_PREFIX) for name in tensors):
        tensors = without_prefix(tensors, _PREFIX)
    refusal = ModelFileError(
        "the file holds no ControlNet of known shapes", where=str(path), fix=_FIX
    )
    with refuse_with(refusal):
        _require_kind(tensors, base, str(path))
        check_values(tensors, str(path))
        return _network(tensors, base, path)


def control_image(image: Tensor, size: int, scene: SceneCrop | None, where: str) -> Tensor:
    """A ControlNet's image [1, 3, size, size] from a whole one [3, H, W], both in 0..1.

    Args:
        scene: The image belongs to this whole scene and is cropped like it; without one its
            central square is resized.

    Raises:
        InputError: It has another size than the scene.
    """
    if scene is not None:
        if image.shape != scene.image.shape:
            raise InputError(
                "the control image has another size than the scene",
                where=where,
                fix="Make the control image from this scene",
            )
        return cropped(image, scene.place).clamp(0, 1)[None]
    height, width = image.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[None, :, top : top + side, left : left + side]
    return F.interpolate(square, (size, size), mode="bilinear", antialias=True).clamp(0, 1)


def controlled(network: ControlNetModel, image: Tensor, strength: float) -> Control:
    """What a ControlNet adds for an image [1, 3, S, S] in 0..1, in both halves of the guidance."""

    def control(x: Tensor, t: Tensor, contexts: Tensor) -> dict[str, Any]:
        hint = image.to(x).expand(len(x), -1, -1, -1)
        call: Any = network
        down, middle = call(x, t, contexts, hint, conditioning_scale=strength, return_dict=False)
        return as_unet_arguments([*down, middle])

    return control


def _require_kind(tensors: Mapping[str, Tensor], base: Base, where: str) -> None:
    if "lora_controlnet" in tensors:
        raise IncompatibleError("this is a Control-LoRA", where=where, fix=_FIX)
    if _ORIGINAL not in tensors and _DIFFUSERS not in tensors:
        raise ModelFileError("the file holds no ControlNet", where=where, fix=_FIX)
    if "difference" in tensors:
        raise IncompatibleError(
            "this ControlNet is saved as a difference from its base", where=where, fix=_FIX
        )
    widths = [t.shape[-1] for name, t in tensors.items() if name.endswith(_KEYS)]
    if not widths:
        raise ModelFileError(
            "this is a pose branch without its Dense-Face file",
            where=where,
            fix="Give the file that denseface convert wrote",
        )
    wanted = base.unet.config["cross_attention_dim"]
    if widths[0] != wanted:
        other = OTHER_BASES.get(widths[0], f"a base whose text has {widths[0]} numbers a token")
        raise IncompatibleError(f"this ControlNet is for {other}", where=where, fix=_FIX)


def _network(tensors: Mapping[str, Tensor], base: Base, path: Path) -> ControlNetModel:
    found = controlnet_from_ldm(tensors, base.unet.config)
    hints = [f"{_HINT}conv_in.weight", *(f"{_HINT}blocks.{2 * i + 1}.weight" for i in range(3))]
    _require_weights([name for name in hints if name not in found], path)
    sizes = UNetLayout.from_diffusers(base.unet.config).diffusers_kwargs()
    with torch.device("meta"):
        network = ControlNetModel(
            **{name: sizes[name] for name in _SHARED},
            in_channels=_LATENT_CHANNELS,
            conditioning_channels=found[hints[0]].shape[1],
            conditioning_embedding_out_channels=tuple(found[n].shape[0] for n in hints),
            # The weights do not tell; ComfyUI goes by the name, too.
            global_pool_conditions="shuffle" in path.stem,
        )
    own = network.state_dict()
    _require_weights(
        [n for n, t in own.items() if n not in found or found[n].shape != t.shape], path
    )
    network.load_state_dict(as_float32({name: found[name] for name in own}), assign=True)
    return network.eval().requires_grad_(False)


def _require_weights(lacking: list[str], path: Path) -> None:
    if lacking:
        raise ModelFileError(
            f"{len(lacking)} weights of the ControlNet are missing or do not fit the base, the "
            f"first is {lacking[0]}",
            where=str(path),
            fix=_FIX,
        )

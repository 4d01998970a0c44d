"""Sentences about files that are something else: for another base, another input, half of a thing.

Source of the widths: docs/reference/published_weights.md A6, C4, D7 (SD2.1 files of FineFace).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ...errors import IncompatibleError, ModelFileError
from .places import Target

SDXL_FILES = "ip-adapter-faceid_sdxl, -plusv2_sdxl and -portrait_sdxl"
"""All that works on SDXL."""
WORKS = (
    "Use a file for Stable Diffusion 1.5: ip-adapter-faceid_sd15, -plus_sd15, -plusv2_sd15, "
    "-portrait_sd15 or -portrait-v11_sd15, FineFace's sd15_attn_processors with sd15_au_encoder, "
    f"or Arc2Face's exp_adapter; for SDXL there are {SDXL_FILES}"
)
_BASES = {2048: "SDXL", 1024: "Stable Diffusion 2", 768: "Stable Diffusion 1.5"}
_UNET, _KEYS = "model.diffusion_model.", ".attn2.to_k.weight"
"""Names of weights in checkpoints of base models."""
_SELF_ATTENTION = ".attn1."
_OF_IMAGES = ("image_proj.latents", "image_proj.proj.weight", "image_proj.proj.3.weight")
"""Weights that only projections of CLIP vision states have: Plus, plain, full-face."""


def refuse_base(width: int, target: Target, what: str, where: str) -> None:
    """Raise unless an adapter of this text width is for the target.

    Args:
        width: Of its keys' input; 0 where the file has no such matrix, which is reported elsewhere.
        what: Title of the adapter, for the message.

    Raises:
        IncompatibleError: It is for another base; the sentence names that base if it is known.
    """
    if width in (0, target.width):
        return
    base = _BASES.get(width)
    made = f"for {base}" if base else "for a base that this pack does not know"
    raise IncompatibleError(
        f"this {what} is {made}, whose text has {width} numbers a token instead of {target.width}",
        where=where,
        fix=WORKS,
    )


def refuse_vector(vector: int, target: Target, where: str) -> None:
    """Raise unless a projection reads vectors of the target's length.

    Raises:
        IncompatibleError: It reads vectors of another length.
    """
    if vector == target.vector:
        return
    raise IncompatibleError(
        f"this IP-Adapter reads {vector} numbers instead of a face's {target.vector}",
        where=where,
        fix=WORKS,
    )


def refuse_unnormalised(path: str | Path) -> None:
    """Raise for the variant of Portrait for SDXL that only its name distinguishes.

    Raises:
        IncompatibleError: It reads vectors before they are normalised, whose length an identity
            does not keep.
    """
    if "unnorm" in Path(path).name.lower():
        raise IncompatibleError(
            "this adapter reads face vectors that are not normalised, by its file name, and "
            "identities are of length 1",
            where=str(path),
            fix="Use ip-adapter-faceid-portrait_sdxl",
        )


def refuse_images(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise for IP-Adapters that read no vector: plain, Plus(-face), full-face.

    Raises:
        IncompatibleError: It is one of them.
    """
    if any(name in tensors for name in _OF_IMAGES):
        raise IncompatibleError(
            "this IP-Adapter reads images instead of a face's vector", where=where, fix=WORKS
        )


def unknown_file(tensors: Mapping[str, Tensor], where: str) -> ModelFileError | IncompatibleError:
    """The error for a file without any part of an adapter."""
    if tensors and all("lora" in name.lower() for name in tensors):
        fix = "Load it with a LoRA loader, or choose the FaceID file itself, which contains it"
        if all(_SELF_ATTENTION in name for name in tensors):
            fix = "If it is Arc2Face's reference adapter, load it in Apply Arc2Face Reference"
        return IncompatibleError("this is a LoRA without its adapter", where=where, fix=fix)
    if any(name.startswith(_UNET) for name in tensors):
        widths = (t.shape[-1] for n, t in tensors.items() if n.endswith(_KEYS) and t.ndim == 2)
        base = _BASES.get(next(widths, 0), "a base model")
        return IncompatibleError(
            f"this is a checkpoint of {base} and no adapter",
            where=where,
            fix=f"Load it as the base (Load Checkpoint, --base). {WORKS}",
        )
    return ModelFileError("the file holds no adapter that is known here", where=where, fix=WORKS)

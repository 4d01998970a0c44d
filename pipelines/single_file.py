"""Base models from one local file in LDM layout: this pack's own, or Stable Diffusion 1.5.

SDXL's are read by ``sdxl.load``.

Nothing is downloaded. Checkpoints contain no tokenizer, so prompts other than the empty one
need a folder with one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from ..demo.vocabulary import WORDS
from ..errors import IncompatibleError, InputError, ModelFileError
from .base import (
    Base,
    build_base,
    clip_config,
    load_base,
    new_text_encoder,
    new_unet,
    new_vae,
    stored_sizes,
)
from .checkpoint_file import opened_checkpoint, read_header, read_tensors
from .layout import UNetLayout, VAELayout
from .ldm import UNET_PREFIX, VAE_PREFIX, vae_from_ldm
from .text import token_ids

SD15_UNET = UNetLayout(image_size=64)
SD15_TEXT = clip_config(49408, 77, 49406, 49407, width=768, layers=12, heads=12)
FIRST = "input_blocks.0.0.weight"
KEYS = "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
#: Weights whose shapes tell Stable Diffusion 1.5 from its relatives.
SHAPES = {FIRST: (320, 4, 3, 3), KEYS: (320, 768)}
OTHER_BASES = {1024: "Stable Diffusion 2", 2048: "SDXL"}
"""By the width of the text."""
_SDXL = "conditioner.embedders."
"""Its text encoders, in a checkpoint."""

Tokenize = Callable[[Sequence[str]], Tensor]
"""Texts -> token ids [B, L]."""


def load_checkpoint(
    path: str | Path, *, inpainting: bool = False, dtype: torch.dtype = torch.float32
) -> Base:
    """A frozen base, from a file with sizes in its metadata or with those of SD 1.5.

    It is read tensor by tensor: at no time is more in memory than the base and one tensor.

    Args:
        path: ``.safetensors``, or what ``torch.save`` wrote; nothing in it is run.
        inpainting: Whether a UNet of nine channels will do, too.
        dtype: Of matrices and kernels; norms and embeddings are in float32.

    Raises:
        ModelFileError: The file is missing, altered or lacks a weight.
        IncompatibleError: It is another kind of model (SDXL, SD 2, ...).
    """
    layout = unet_layout(path, inpainting=inpainting)
    if "config" in read_header(path)[1]:
        return load_base(path, dtype)
    with opened_checkpoint(path) as file:
        try:
            return build_base(
                file.tensors, layout, VAELayout(), SD15_TEXT, file.metadata, dtype, file.read
            )
        except RuntimeError as error:  # load_state_dict: weights are missing
            raise ModelFileError(
                "the file's text encoder or autoencoder is incomplete",
                where=str(path),
                fix="Use a full checkpoint with VAE and text encoder",
            ) from error


def untrained_base(path: str | Path) -> Base:
    """Frozen networks of the sizes of a checkpoint, with values at random; only its header is read.

    Raises:
        ModelFileError, IncompatibleError: As :func:`load_checkpoint`.
    """
    layout, (_, metadata) = unet_layout(path), read_header(path)
    vae, text = VAELayout(), SD15_TEXT
    if "config" in metadata:
        _, vae, text = stored_sizes(metadata, str(path))
    networks = new_unet(layout), new_vae(vae), new_text_encoder(text)
    for network in networks:
        network.requires_grad_(False)
    return Base(*networks, metadata)


def unet_layout(path: str | Path, *, inpainting: bool = False) -> UNetLayout:
    """The sizes of a checkpoint's UNet, without reading its values.

    Raises:
        ModelFileError, IncompatibleError: As :func:`load_checkpoint`.
    """
    shapes, metadata = read_header(path)
    if "config" in metadata:
        layout = stored_sizes(metadata, str(path))[0]
    else:
        layout = replace(SD15_UNET, in_channels=_channels(shapes, str(path)))
    _require_channels(layout.in_channels, inpainting, path)
    return layout


def load_vae(path: str | Path, base: Base) -> Base:
    """The base with the autoencoder of another file, in the original layout or diffusers'.

    Those of Stable Diffusion 1.5 and of SDXL are of one shape: which it is nobody can see.

    Raises:
        ModelFileError: The file is missing, altered, or holds no autoencoder of these sizes.
    """
    tensors, _ = read_tensors(path)
    vae = cast("AutoencoderKL", AutoencoderKL.from_config(base.vae.config))
    if not any(name.startswith((VAE_PREFIX, "encoder.down_blocks.")) for name in tensors):
        tensors = {VAE_PREFIX + name: tensor for name, tensor in tensors.items()}
    try:
        found = dict(tensors)
        if any(name.startswith(VAE_PREFIX) for name in tensors):
            found = vae_from_ldm(tensors, vae, where=str(path))
        vae.load_state_dict({name: tensor.float() for name, tensor in found.items()})
    except (RuntimeError, KeyError) as error:
        raise ModelFileError(
            "the file holds no autoencoder that fits this base",
            where=str(path),
            fix="Use one for the same kind of base, such as vae-ft-mse-840000 for Stable "
            "Diffusion 1.5",
        ) from error
    return replace(base, vae=vae.eval().requires_grad_(False))


def is_sdxl(tensors: Iterable[str]) -> bool:
    """Whether the names of a checkpoint's tensors are those of SDXL, its refiner or a relative."""
    return any(name.startswith(_SDXL) for name in tensors)


def _channels(tensors: Mapping[str, Tensor], where: str) -> int:
    """Input channels of Stable Diffusion 1.5; IncompatibleError for any other model."""
    first, keys = (tensors.get(UNET_PREFIX + name) for name in (FIRST, KEYS))
    shapes = [None if t is None else tuple(t.shape) for t in (first, keys)]
    channels = shapes[0][1] if shapes[0] is not None and len(shapes[0]) == 4 else 0
    if shapes == [(320, channels, 3, 3), SHAPES[KEYS]]:
        return channels
    width = shapes[1][-1] if shapes[1] else 0
    name = "SDXL" if is_sdxl(tensors) else OTHER_BASES.get(width)
    raise IncompatibleError(
        "the file is not a Stable Diffusion 1.5 checkpoint" + (f": it is {name}" if name else ""),
        where=where,
        fix="Choose a checkpoint of that model, one file with its VAE and text encoder",
    )


def _require_channels(channels: int, inpainting: bool, path: str | Path) -> None:
    known = (4, 9) if inpainting else (4,)
    if channels not in known:
        raise IncompatibleError(
            f"the file is not a Stable Diffusion 1.5 checkpoint of {' or '.join(map(str, known))} "
            f"input channels: its UNet has {channels}",
            where=str(path),
            fix="Choose another checkpoint of that model",
        )


def comfyui_tokenizer() -> Path | None:
    """The folder of CLIP's tokenizer in a ComfyUI that this pack is installed in, if it is."""
    folder = Path(__file__).resolve().parents[3] / "comfy" / "sd1_tokenizer"
    return folder if folder.is_dir() else None


def tokenizer_for(base: Base, folder: Path | None) -> Tokenize:
    """The tokenizer for a base.

    Args:
        base: The tiny world has its own vocabulary; other bases need a tokenizer's folder.
        folder: Contains CLIP's tokenizer (``vocab.json``, ``merges.txt``). None: every text is
            replaced by the empty prompt.

    Raises:
        InputError: The folder contains no tokenizer.
    """
    config = base.text_encoder.config
    if config.vocab_size == len(WORDS):
        return token_ids
    length = config.max_position_embeddings
    if folder is None:
        begin, end = SD15_TEXT["bos_token_id"], SD15_TEXT["eos_token_id"]
        empty = torch.tensor([begin] + [end] * (length - 1))
        return lambda texts: empty.expand(len(texts), -1)
    return _clip_tokenizer(folder, config.vocab_size, length)


def _clip_tokenizer(folder: Path, words: int, length: int) -> Tokenize:
    from transformers import CLIPTokenizer

    refusal = InputError(
        f"the folder contains no CLIP tokenizer with {words} tokens",
        where=str(folder),
        fix="Give a folder with its vocab.json and merges.txt",
    )
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        raise refusal from error
    # transformers loads an empty tokenizer from an empty folder.
    if len(tokenizer) != words:
        raise refusal

    def tokenize(texts: Sequence[str]) -> Tensor:
        return tokenizer(
            list(texts),
            padding="max_length",
            max_length=length,
            truncation=True,
            return_tensors="pt",
        ).input_ids

    return tokenize

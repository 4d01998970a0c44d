"""Base models from one local file in LDM layout: this pack's own, or Stable Diffusion 1.5.

Nothing is downloaded. Checkpoints contain no tokenizer, so prompts other than the empty one
need a folder with one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..demo.vocabulary import WORDS
from ..errors import IncompatibleError, InputError, ModelFileError
from ..storage import read_weights
from .base import Base, build_base, clip_config, load_base
from .layout import UNetLayout, VAELayout
from .ldm import UNET_PREFIX
from .text import token_ids

SD15_UNET = UNetLayout(image_size=64)
SD15_TEXT = clip_config(49408, 77, 49406, 49407, width=768, layers=12, heads=12)
#: Weights whose shapes tell Stable Diffusion 1.5 from its relatives.
SHAPES = {
    "input_blocks.0.0.weight": (320, 4, 3, 3),
    "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
}

Tokenize = Callable[[Sequence[str]], Tensor]
"""Texts -> token ids [B, L]."""


def load_checkpoint(path: str | Path) -> Base:
    """A frozen float32 base, from a file with sizes in its metadata or with those of SD 1.5.

    Raises:
        ModelFileError: The file is missing, altered or lacks a weight.
        IncompatibleError: It is another kind of model (SDXL, SD 2, inpainting, ...).
    """
    tensors, metadata = read_weights(path)
    if "config" in metadata:
        return load_base(path)
    for name, shape in SHAPES.items():
        found = tensors.get(UNET_PREFIX + name)
        if found is None or tuple(found.shape) != shape:
            raise IncompatibleError(
                "the file is not a Stable Diffusion 1.5 checkpoint",
                where=str(path),
                fix="Use a single .safetensors file of that model that contains VAE and "
                "text encoder",
            )
    try:
        return build_base(tensors, SD15_UNET, VAELayout(), SD15_TEXT, metadata)
    except RuntimeError as error:  # load_state_dict: weights are missing
        raise ModelFileError(
            "the file's text encoder or autoencoder is incomplete",
            where=str(path),
            fix="Use a full checkpoint with VAE and text encoder",
        ) from error


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

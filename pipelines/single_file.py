"""Base models from one local file in the original layout: the pack's own, or Stable Diffusion 1.5.

Nothing is fetched. Checkpoints hold no tokenizer, so words need a folder with one; the empty prompt
does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..demo.vocabulary import WORDS
from ..errors import IncompatibleError, InputError, ModelFileError
from ..storage import read_weights
from .base import Base, build_base, load_base
from .layout import UNetLayout, VAELayout
from .ldm import UNET_PREFIX
from .text import token_ids

SD15_UNET = UNetLayout(image_size=64)
SD15_TEXT: dict[str, Any] = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "bos_token_id": 49406,
    "eos_token_id": 49407,
    "pad_token_id": 49407,
}
#: Weights whose shapes tell Stable Diffusion 1.5 from its relatives.
SHAPES = {
    "input_blocks.0.0.weight": (320, 4, 3, 3),
    "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
}

Tokenize = Callable[[Sequence[str]], Tensor]
"""Texts -> token numbers [B, L]."""


def load_checkpoint(path: str | Path) -> Base:
    """A base in float32, frozen, from a file that says its sizes or has those of SD 1.5.

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
                "the file holds no Stable Diffusion 1.5",
                where=str(path),
                fix="Choose a checkpoint of that model, one .safetensors file with its VAE and "
                "text encoder",
            )
    try:
        return build_base(tensors, SD15_UNET, VAELayout(), SD15_TEXT, metadata)
    except RuntimeError as error:  # torch's word for missing weights
        raise ModelFileError(
            "the file's text encoder or autoencoder is incomplete",
            where=str(path),
            fix="Choose a whole checkpoint, with its VAE and text encoder",
        ) from error


def tokenizer_for(base: Base, folder: Path | None) -> Tokenize:
    """How texts become token numbers for a base.

    Args:
        base: The tiny world has its own words; others need a tokenizer or say nothing.
        folder: With the files of CLIP's tokenizer (``vocab.json``, ``merges.txt``); None for the
            empty prompt, whatever the text.

    Raises:
        InputError: The folder holds no tokenizer.
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
        f"the folder holds no CLIP tokenizer of {words} words",
        where=str(folder),
        fix="Name a folder with its vocab.json and merges.txt",
    )
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        raise refusal from error
    # transformers makes an empty tokenizer of an empty folder.
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

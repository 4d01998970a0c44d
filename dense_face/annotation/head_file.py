"""Files of annotation heads: ``format=denseface-annotation-head/3``, one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch

from ...errors import ModelFileError, refuse_with
from ...readers.json_text import parse_json
from ...state_dict import as_float32, check_state_dict, check_values
from ...storage import read_format, write_weights
from .head import AnnotationHead, HeadConfig

FORMAT = "denseface-annotation-head/3"
_WHOLE = ("stages.0.", "unfold.", "surface.")


def save_head(
    path: str | Path,
    head: AnnotationHead,
    metadata: Mapping[str, str],
    inner: torch.dtype = torch.float16,
) -> None:
    """Write a head, with its sizes in the metadata.

    Args:
        head: The head; biases, norms and the layers named below are stored in fp16.
        inner: dtype of the inner layers, which hold most of the weights; ``torch.float8_e4m3fn``
            nearly halves the file. The projection of the widest stage and the last layers stay in
            fp16, because rounding them would be visible.

    Raises:
        InputError: The file cannot be written.
    """
    small = {
        name: tensor.to(torch.float16 if tensor.ndim < 2 or name.startswith(_WHOLE) else inner)
        for name, tensor in head.state_dict().items()
    }
    numbers = json.dumps(asdict(head.config))
    write_weights(path, small, {**metadata, "format": FORMAT, "config": numbers})


def load_head(path: str | Path) -> tuple[AnnotationHead, dict[str, str]]:
    """Load a head (float32, frozen, evaluation mode) and the metadata of its file.

    Raises:
        ModelFileError: The file is missing, truncated, altered or of another format; a weight is
            missing or unknown.
        IncompatibleError: A weight does not have the shape that the metadata imply.
    """
    tensors, metadata = read_format(path, FORMAT, "Choose the file of an annotation head")
    refusal = ModelFileError(
        "the file does not give the sizes of its annotation head",
        where=str(path),
        fix="Download or write it again",
    )
    with refuse_with(refusal):
        numbers = parse_json(metadata["config"])
        lists = {name: tuple(numbers.get(name, ())) for name in ("stage_widths", "fine_widths")}
        config = HeadConfig(**{**numbers, **lists})
    check_values(tensors, str(path))
    head = AnnotationHead(config, device="meta")
    check_state_dict(head, tensors, "the annotation head")
    head.to_empty(device="cpu").load_state_dict(as_float32(tensors))
    return head.eval().requires_grad_(False), metadata

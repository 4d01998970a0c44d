"""Files of annotation heads: ``format=denseface-annotation-head/3``, one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch

from ...errors import FacePackError, ModelFileError
from ...state_dict import load_strict
from ...storage import read_weights, write_weights
from .head import AnnotationHead, HeadConfig

FORMAT = "denseface-annotation-head/3"
_WHOLE = ("stages.0.", "unfold.", "surface.")


def save_head(
    path: str | Path,
    head: AnnotationHead,
    metadata: Mapping[str, str],
    inner: torch.dtype = torch.float16,
) -> None:
    """Write a head, its numbers in the metadata.

    Args:
        path: Of the file.
        head: To be written, in fp16.
        metadata: Told beside its numbers.
        inner: How the matrices between reading features and drawing maps are stored, most of all
            weights; ``torch.float8_e4m3fn`` nearly halves the file. The entrance of the widest
            stage and the last layers stay in fp16, where each rounding would be seen.

    Raises:
        InputError: The place cannot be written to.
    """
    small = {
        name: tensor.to(torch.float16 if tensor.ndim < 2 or name.startswith(_WHOLE) else inner)
        for name, tensor in head.state_dict().items()
    }
    numbers = json.dumps(asdict(head.config))
    write_weights(path, small, {**metadata, "format": FORMAT, "config": numbers})


def load_head(path: str | Path) -> tuple[AnnotationHead, dict[str, str]]:
    """A head (float32, frozen, evaluation mode) and the metadata of its file.

    Raises:
        ModelFileError: Missing, truncated or altered; another format; a weight lacks or is unknown.
        IncompatibleError: A weight has another shape than the file's own numbers ask for.
    """
    tensors, metadata = read_weights(path)
    if metadata.get("format") != FORMAT:
        raise ModelFileError(
            f"the file says format={metadata.get('format')!r} instead of {FORMAT!r}",
            where=str(path),
            fix="Choose the file of an annotation head",
        )
    try:
        numbers = json.loads(metadata["config"])
        config = HeadConfig(**{**numbers, "stage_widths": tuple(numbers["stage_widths"])})
    except (KeyError, TypeError, ValueError, FacePackError) as error:
        raise ModelFileError(
            "the file does not say the sizes of its annotation head",
            where=str(path),
            fix="Fetch or write it again",
        ) from error
    head = AnnotationHead(config, device="meta").to_empty(device="cpu")
    floats = {name: tensor.to(torch.float32) for name, tensor in tensors.items()}
    load_strict(head, floats, "the annotation head")
    return head.eval().requires_grad_(False), metadata

"""The tiny world's analyzer under the host's memory management."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import comfy.model_management as mm
import torch
from torch import Tensor

from ....demo.networks import analyzer as tiny
from ....demo.networks import evaluator as evaluator
from ....demo.networks.evaluator_faces import EvaluatorRecogniser
from ....demo.networks.face_finder import TinyWorldFaces
from ....demo.networks.photographs import require_renders
from ....faces.face import Face
from ....faces.masks.face_mask import face_mask, head_mask
from ....faces.masks.mask_reader import FoundMasks
from ..memory import load, managed

_AT_ONCE = 16
"""Images per call; the host can interrupt between calls."""
_FOR_PHOTOGRAPHS = (
    "For photographs use Load Face Analyzer and a checkpoint of your own, as in the templates "
    "11 Portrait from a photo and 14 Swap a face"
)


def load_analyzer(path: Path) -> tuple[Any, str]:
    """(patcher, name of the encoder) of the analyzer in a file; raises ModelFileError."""
    return managed(tiny.load_analyzer(path)), tiny.ENCODER


def find_tiny(patcher: Any, image: Tensor) -> list[Face]:
    """The faces that the tiny world's analyzer detects in an image [3, H, W] in 0..1.

    Raises:
        InputError: The image is a photograph.
    """
    load(patcher, image.numel() * image.element_size())
    return TinyWorldFaces(patcher.model, _FOR_PHOTOGRAPHS).find(image)


class TinyMasks:
    """The tiny world's ``faces.masks.mask_reader.MaskReader``."""

    def __init__(self, patcher: Any, on_image: Callable[[], None] = lambda: None) -> None:
        self._patcher, self._on_image = patcher, on_image

    def head(self, images: Tensor, height: int, width: int, grow: float) -> FoundMasks:
        """See ``MaskReader``."""
        seen = analyse(self._patcher, images, self._on_image)
        return FoundMasks(head_mask(seen.head_logit, height, width, grow=grow), _found(seen))

    def face(self, images: Tensor, height: int, width: int, grow: float) -> FoundMasks:
        """See ``MaskReader``."""
        seen = analyse(self._patcher, images, self._on_image)
        return FoundMasks(face_mask(seen.part_logits, height, width, grow=grow), _found(seen))


def _found(seen: tiny.Analysis) -> tuple[bool, ...]:
    require_renders(seen, fix=_FOR_PHOTOGRAPHS)
    return tuple((seen.face_logit > 0).tolist())


def load_evaluator(path: Path) -> EvaluatorRecogniser:
    """The tiny world's evaluator as a recogniser; raises ModelFileError."""
    patcher = managed(evaluator.load_evaluator(path))

    def run(images: Tensor) -> Tensor:
        device = load(patcher, images.numel() * images.element_size())
        return patcher.model(images.to(device))[0].cpu()

    return EvaluatorRecogniser(run)


def analyse(
    patcher: Any, images: Tensor, on_image: Callable[[], None] = lambda: None
) -> tiny.Analysis:
    """The analysis of images [B, 3, H, W] in 0..1 of any size; tensors on the CPU.

    on_image: Called for every image once it is analysed (progress, interruption).
    """
    working = _AT_ONCE * images[0].numel() * images.element_size()
    device = load(patcher, working)
    seen = []
    for some in images.split(_AT_ONCE):
        mm.throw_exception_if_processing_interrupted()
        seen.append(tiny.analyse(patcher.model, some.to(device)))
        for _ in some:
            on_image()
    return tiny.Analysis(
        **{f.name: torch.cat([getattr(s, f.name).cpu() for s in seen]) for f in fields(seen[0])}
    )

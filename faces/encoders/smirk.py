"""SMIRK's expression encoder: FLAME's numbers of a face in a photograph.

timm's ``tf_mobilenetv3_large_minimal_100``, the mean of its last feature map and a linear layer.
The file has pose and shape encoders and a generator, too; only this encoder is read, weight by
weight, and nothing in the file is run. The crop is 1.4 times as large as the face's landmarks.
Source: docs/reference/published_weights.md B3.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from ...errors import FacePackError, IncompatibleError, InputError, ModelFileError
from ...published_files import BY_KEY
from ...readers.lazy_tensor import LazyTensor, to_meta
from ...readers.torch_file import open_checkpoint, read_checkpoint
from ...state_dict import as_float32, check_state_dict, check_values, without_prefix
from ..analyzers import FaceAnalyzer
from ..crops.similarity import Similarity
from ..crops.warping import warp
from ..face import Box, Face
from ..flame import COUNT, within_range
from .aligned_recogniser import CHANNEL_ORDERS

IMAGE_SIZE = 224
PREFIX = "smirk_encoder.expression_encoder."
BACKBONE = "tf_mobilenetv3_large_minimal_100"
_CHANNELS = 960
_CONTEXT = 1.4
"""Side of the crop in means of the width and height of the landmarks' box."""
_OTHER_FILES = {
    "smirk_": "other networks of SMIRK without the expression encoder",
    "conv_stem.": "a network of timm that is not SMIRK's",
    "image_proj.": "an adapter for attention layers, as Arc2Face's for expressions is",
    "input_layer.": "IR-SE50",
    "layer0.": "6DRepNet",
    "text_model.": "a text encoder",
    "model.diffusion_model.": "a Stable Diffusion checkpoint",
}
"""Start of a weight's name to what the file then is."""


class SmirkEncoder(nn.Module):
    """Face crops [B, 3, 224, 224] in 0..1 -> FLAME numbers [B, 55] (``faces.flame``).

    Raises:
        FacePackError: timm is not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        make = _timm().create_model
        self.encoder: nn.Module = make(BACKBONE, pretrained=False, features_only=True)
        self.expression_layers = nn.Sequential(nn.Linear(_CHANNELS, COUNT))

    def forward(self, crops: Tensor) -> Tensor:
        """[B, 3, 224, 224] -> [B, 55]."""
        # A fifth faster on a CPU than the default layout.
        crops = crops.contiguous(memory_format=torch.channels_last)
        return within_range(self.expression_layers(self.encoder(crops)[-1].mean((2, 3))))


class SmirkAnalyzer:
    """An analyzer (``faces.analyzers``) whose faces also have FLAME's numbers.

    Args:
        analyzer: Finds the faces.
        run: The network: crops [1, 3, 224, 224] -> numbers [1, 55], any device.
        channel_order: RGB as in SMIRK's own demo, or BGR as in Arc2Face's.

    Raises:
        InputError: The channel order is unknown.
    """

    def __init__(
        self, analyzer: FaceAnalyzer, run: Callable[[Tensor], Tensor], channel_order: str = "RGB"
    ) -> None:
        if channel_order not in CHANNEL_ORDERS:
            raise InputError(
                f"{channel_order!r} is no channel order", fix=f"Use {' or '.join(CHANNEL_ORDERS)}"
            )
        self._analyzer, self._run, self._order = analyzer, run, channel_order

    @property
    def name(self) -> str:
        """The name of the analyzer that finds the faces."""
        return self._analyzer.name

    @torch.inference_mode()
    def find(self, image: Tensor) -> list[Face]:
        """See ``faces.analyzers.FaceAnalyzer``."""
        return [self._with_flame(image, face) for face in self._analyzer.find(image)]

    def _with_flame(self, image: Tensor, face: Face) -> Face:
        crop = face_crop(image, face)[None]
        crop = crop.flip(1) if self._order == "BGR" else crop
        return replace(face, flame=self._run(crop)[0].float().cpu())


def face_crop(image: Tensor, face: Face) -> Tensor:
    """The network's input [3, 224, 224] for a face of an image [3, H, W] in 0..1; 0 outside.

    The crop is centred on the box of the 478 landmarks, else on the detector's box.
    """
    left, top, right, bottom = _box(face)
    side = _CONTEXT * (right - left + bottom - top) / 2
    corner = torch.tensor([left + right - side, top + bottom - side], dtype=torch.float64) / 2
    to_image = Similarity(side / IMAGE_SIZE, torch.eye(2, dtype=torch.float64), corner)
    crop = warp(image, to_image, IMAGE_SIZE, IMAGE_SIZE, outside="zeros", smooth=False)
    return crop.clamp(0, 1)


def load_smirk(path: str | Path) -> SmirkEncoder:
    """The encoder, frozen, in float32 on the CPU.

    Args:
        path: ``SMIRK_em1.pt`` as published.

    Raises:
        ModelFileError: The file is missing, damaged, or holds something else, which is named.
        FacePackError: timm is not installed.
    """
    path = Path(path)
    fix = f"Use {BY_KEY['smirk'].where_to_get}"
    _timm()  # imported first: its own tensors must not be made on the meta device
    with torch.device("meta"):
        net = SmirkEncoder().eval()
    with open_checkpoint(path) as stream:
        found = read_checkpoint(stream, str(path))
        own = without_prefix(found, PREFIX)
        if not own:
            raise ModelFileError(f"the file is {_kind(found)}, not SMIRK", where=str(path), fix=fix)
        try:
            check_state_dict(net, to_meta(own), "the expression encoder")
        except (ModelFileError, IncompatibleError) as error:
            raise ModelFileError(
                f"the file is a SMIRK of another layout: {error.what}", where=str(path), fix=fix
            ) from error
        weights = as_float32({name: tensor.read() for name, tensor in own.items()})
    check_values(weights, str(path))
    net.load_state_dict(weights, assign=True)
    return net.requires_grad_(False)


def _box(face: Face) -> Box:
    if face.scheme != "mesh":
        return face.box
    low, high = (part.values.tolist() for part in (face.landmarks.min(0), face.landmarks.max(0)))
    return low[0], low[1], high[0], high[1]


def _kind(found: Mapping[str, LazyTensor]) -> str:
    """What a file without the encoder is."""
    if not found:
        return "a table of other tables, as an adapter's is"
    known = (kind for start, kind in _OTHER_FILES.items() if without_prefix(found, start))
    return next(known, f"another network ({len(found)} weights, the first is {next(iter(found))})")


def _timm() -> ModuleType:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise FacePackError(
            f"SMIRK needs the library timm, which cannot be imported ({error})",
            fix="Install it with pip install timm",
        ) from error

"""The host's CLIP vision on aligned faces, for adapters that also read the face's image.

FaceID-Plus and Plus v2 read the penultimate hidden states of a face aligned at 224 px, and in the
half without prompt those of an image whose *normalised* pixels are zero
(docs/reference/published_weights.md C2).

Host objects used: of ``comfy.clip_vision.ClipVisionModel`` ``encode_image``, ``patcher``,
``load_device``, ``image_size``, ``model_type`` and ``model``, whose second output are the states.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import comfy.model_management as mm
import torch
from torch import Tensor

from ...errors import IncompatibleError
from ...faces.face import Face
from ...published_files import BY_KEY
from ...sfsr.ip_adapter.face_image import face_image

_CLIP = "clip_vision_model"
_PENULTIMATE = -2


@torch.no_grad()
def face_states(clip_vision: Any, faces: Iterable[tuple[Tensor, Face]], where: str) -> Tensor:
    """Penultimate states [F, T, K] of F faces, on the CPU in float32.

    Args:
        clip_vision: A CLIP_VISION.
        faces: At least one image [3, H, W] in 0..1 with the face that was found in it.
        where: Name of the node, for errors.

    Raises:
        InputError: A face has no five points, or was found in an image of another size.
        IncompatibleError: The vision model is no CLIP.
    """
    _require_clip(clip_vision, where)
    states = []
    for image, face in faces:  # one by one: any number of faces takes the memory of one
        output = clip_vision.encode_image(face_image(image, face).movedim(0, -1)[None])
        states.append(output["penultimate_hidden_states"].to("cpu", torch.float32))
    return torch.cat(states)


@torch.no_grad()
def absent_states(clip_vision: Any, where: str) -> Tensor:
    """Penultimate states [1, T, K] of normalised pixels that are all zero.

    No image leads there through ``encode_image``, which rounds to 8 bits before it normalises.

    Raises:
        IncompatibleError: The vision model is no CLIP.
    """
    _require_clip(clip_vision, where)
    mm.load_models_gpu([clip_vision.patcher])
    side = clip_vision.image_size
    pixels = torch.zeros(1, 3, side, side, device=clip_vision.load_device)
    states = clip_vision.model(pixel_values=pixels, intermediate_output=_PENULTIMATE)[1]
    return states.to("cpu", torch.float32)


def _require_clip(clip_vision: Any, where: str) -> None:
    kind = getattr(clip_vision, "model_type", type(clip_vision).__name__)
    if kind != _CLIP:
        raise IncompatibleError(
            f"the vision model is {kind}, and FaceID-Plus reads CLIP's",
            where=where,
            fix=f"Load {BY_KEY['clip_vision'].where_to_get} in Load CLIP Vision",
        )

"""What both drawing nodes have in common: their outputs, and the preview over a scene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ...errors import InputError
from ..images import channels_first, channels_last
from ..inputs import output
from ..sockets import FacesSocket

if TYPE_CHECKING:
    from ...faces.mesh.hint import Image

CATEGORY = "face/mesh"


def scene_input(tooltip: str) -> Any:
    """IMAGE, optional."""
    return io.Image.Input("scene", optional=True, tooltip=tooltip)


def scenes_of(scene: Tensor, where: str) -> Tensor:
    """IMAGE -> [B, 3, H, W] in 0..1."""
    return channels_first(scene, where)


def outputs(*, faces: bool) -> list[Any]:
    """The drawing, its preview and a report."""
    found = output(FacesSocket, "faces", "The drawn faces, for Face Mask, Crop Face and others.")
    return [
        output(io.Image, "image", "The drawing, for the image input of Apply ControlNet."),
        output(io.Image, "preview", "The drawing over the scene."),
        *([found] if faces else []),
        output(io.String, "report", "A line for each image: what was drawn, and what to look at."),
    ]


def drawn(hints: Sequence[Image], scenes: Tensor | None, where: str) -> tuple[Tensor, Tensor]:
    """Drawings [H, W, 3] 0..255 -> IMAGE, and IMAGE over the scenes [B, 3, H, W] where given.

    Raises:
        InputError: There is another number of scenes, or they have another size.
    """
    from ...faces.mesh.hint import over

    images = torch.stack([torch.from_numpy(hint) for hint in hints]).movedim(-1, 1).float() / 255
    image = channels_last(images)
    if scenes is None:
        return image, image
    if len(scenes) not in (1, len(images)):
        raise InputError(
            f"{len(scenes)} scenes were given for {len(images)} drawings",
            where=where,
            fix="Give one for all, or exactly one for each",
        )
    return image, channels_last(over(images, scenes))

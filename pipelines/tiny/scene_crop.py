"""A head in a scene of any size: cropped to a portrait of the tiny world, redrawn, pasted back."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...demo.networks.evaluator_faces import PORTRAIT, WHOLE
from ...demo.networks.face_finder import TinyWorldFaces
from ...faces.analyzers import find_faces, manual_face
from ...faces.crops.batch import AROUND_BOX, place_for_face
from ...faces.crops.crop import CropPlace, cropped, pasted
from ...faces.identity import Identity
from ...sfsr.expression import Expression
from .not_tiny import FOR_PHOTOGRAPHS, not_tiny_world
from .scenes import FEATHER
from .sfsr import SFSRPipeline


def express_in(
    pipeline: SFSRPipeline,
    scene: Tensor,
    identity: Identity,
    expression: Expression,
    prompt: str,
    seed: int,
    **choices: Any,
) -> Tensor:
    """``SFSRPipeline.express`` for the largest head of one scene of any size.

    Args:
        scene: [3, H, W] in 0..1.
        choices: Other arguments of ``express``.

    Returns:
        [3, H, W]; unchanged outside the head's mask, bit for bit.

    Raises:
        InputError: No head was found, the scene is a photograph; or as ``express``.
    """
    side = pipeline.world.side
    place = _place(pipeline, scene)
    if place is None:
        return pipeline.express(scene[None], identity, expression, prompt, seed, **choices).image[0]
    crop = cropped(scene, place).clamp(0, 1)[None]
    made = pipeline.express(crop, identity, expression, prompt, seed, **choices)
    return pasted(scene, made.image[0], place, made.mask[0, 0], soft=FEATHER / side)


def _place(pipeline: SFSRPipeline, scene: Tensor) -> CropPlace | None:
    """The crop around the largest head; None if the scene is already a portrait."""
    side = pipeline.world.side
    finder = TinyWorldFaces(pipeline.world.analyzer, FOR_PHOTOGRAPHS)
    faces = find_faces(finder, scene, order="largest first")
    if not faces:
        raise not_tiny_world("scene image")
    box, size = faces[0].box, faces[0].image_size
    if size == (side, side) and PORTRAIT * (box[3] - box[1]) > WHOLE * side:
        return None
    # From the box, not the landmarks: eyes and mouth of a turned head are far from its centre.
    padding = (PORTRAIT / AROUND_BOX - 1) / 2
    return place_for_face(manual_face(size, box=box), side, padding)

"""SFSR-generated expressions of the renderer's default person, for visual comparison."""

from __future__ import annotations

import torch
from torch import Tensor

from ..demo.expression_heads import expression_images
from ..demo.word_sheet import Draw
from ..faces.blendshapes import ARKIT_NAMES
from ..pipelines.tiny.sfsr import SFSRPipeline
from ..sfsr.expression import Expression


def word_drawer(seed: int, pipeline: SFSRPipeline | None = None) -> Draw:
    """A function that generates expressions of one person, given by a neutral render.

    Args:
        seed: Noise seed, the same for all.
        pipeline: The bundled one if None.

    Raises:
        ModelFileError: A bundled file is missing or altered.
    """
    sfsr = pipeline or SFSRPipeline.load()
    scene = expression_images(torch.zeros(1, len(ARKIT_NAMES)))
    who = sfsr.world.identity(scene)

    def draw(codes: Tensor) -> Tensor:
        faces = [Expression(code, "word") for code in codes]
        seeds = [seed] * len(faces)
        return sfsr.express(scene.expand(len(faces), -1, -1, -1), who, faces, "", seeds).image

    return draw

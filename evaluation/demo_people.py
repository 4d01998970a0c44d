"""The demo's second sheet: same prompt, same seed, different people."""

from __future__ import annotations

import torch
from PIL import Image

from ..demo.contact_sheet import labelled_sheet
from ..faces.angles import Angles
from ..pipelines.tiny.dense_face import DenseFacePipeline
from .demo import STEPS
from .held_out import reference_heads, rendered

PEOPLE = 5
#: One column each: label, prompt, head angles. All rows use the same seeds.
IMAGES: tuple[tuple[str, str, Angles], ...] = (
    ("smiling", "wearing a red shirt, smiling, on a blue gradient background", (0, 0, 0)),
    ("surprised", "wearing a white shirt, surprised, by a window", (-20, 0, 0)),
    ("laughing, turned", "wearing a green shirt, laughing, in a forest", (35, 0, 0)),
    ("looking up", "wearing a blue shirt, neutral expression, at sunset", (0, 20, 0)),
    ("looking down", "wearing a yellow shirt, sad, on a pink dotted background", (15, -20, 0)),
    ("tilted", "wearing a black shirt, smiling, on a yellow striped background", (0, 0, 18)),
)
TITLE = "Prompt, head pose and seed are the same within a column; only the reference differs"


def people_sheet(pipeline: DenseFacePipeline, seed: int) -> Image.Image:
    """Five people in six images each, full-frame; the seed chooses people and noise.

    Raises:
        InputError: The seed is out of range.
    """
    references = rendered(reference_heads(seed, PEOPLE))
    who = [pipeline.identity(reference[None]) for reference in references]
    columns = len(IMAGES)
    images = pipeline.face_image(
        [identity for identity in who for _ in IMAGES],
        [prompt for _, prompt, _ in IMAGES] * PEOPLE,
        [angles for *_, angles in IMAGES] * PEOPLE,
        [seed + column for column in range(columns)] * PEOPLE,
        steps=STEPS,
    ).unflatten(0, (PEOPLE, columns))
    rows = [torch.cat([references[i : i + 1], images[i]]) for i in range(PEOPLE)]
    return labelled_sheet(rows, ("reference", *(label for label, *_ in IMAGES)), TITLE, [])

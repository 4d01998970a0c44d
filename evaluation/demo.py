"""``denseface demo``: five strangers in new scenes and head poses, with metrics."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from ..demo.contact_sheet import labelled_sheet
from ..demo.networks.evaluator import TinyEvaluator
from ..pipelines.tiny.dense_face import DenseFacePipeline
from .dense_face import Plan, evaluate
from .held_out import PEOPLE, reference_heads, rendered
from .metrics import Report

TURNS = (-40, -20, 0, 20, 40)
COLUMNS = (
    "reference",
    "text-editing base",
    "result",
    *(f"turned {yaw:+d}°" if yaw else "turned 0°" for yaw in TURNS),
    "other scene",
)
TITLE = "Dense-Face in the bundled tiny world of rendered heads"
SEED = 1
#: Few enough for a minute on two cores; ``denseface evaluate`` uses more.
COUNT, PROMPTS, SCENES = 24, 12, 4
STEPS = 10
"""Fewer than the command line's 20, to leave time for SFSR."""


@dataclass(frozen=True)
class Scene:
    """A scene prompt in two parts: the person at first, and what stays when they are replaced."""

    stranger: str
    rest: str

    @property
    def base_prompt(self) -> str:
        """For text-editing mode."""
        return f"a close-up photo of a person with {self.stranger}, {self.rest}, facing forward"


#: Per person: the scene of the row, and the other scene of the last column.
SCENES_OF_ROWS = (
    (
        Scene("long brown hair, light skin", "wearing a blue shirt, smiling, in a forest"),
        Scene("short black hair, tan skin", "wearing a red shirt, laughing, at sunset"),
    ),
    (
        Scene("short blond hair, pale skin", "wearing a black shirt, smiling, at sunset"),
        Scene("brown bob hair, brown skin", "wearing a white shirt, surprised, by a window"),
    ),
    (
        Scene("curly black hair, dark skin", "wearing a yellow shirt, laughing, by a window"),
        Scene("long red hair, pale skin", "wearing a green shirt, winking, in a forest"),
    ),
    (
        Scene(
            "red bob hair, pale skin",
            "wearing a green shirt, neutral expression, on a blue gradient background",
        ),
        Scene(
            "short brown hair, light skin",
            "wearing a purple shirt, smiling, on a yellow dotted background",
        ),
    ),
    (
        Scene(
            "long black hair, tan skin",
            "wearing a white shirt, smiling, on a pink striped background",
        ),
        Scene("short gray hair, light skin", "wearing a blue shirt, kissing, in a forest"),
    ),
)


def demo(
    pipeline: DenseFacePipeline, evaluator: TinyEvaluator, seed: int = SEED
) -> tuple[Image.Image, Report]:
    """The sheet and the metrics, on held-out people; InputError if the seed is out of range."""
    plan = Plan(seed, COUNT, PROMPTS, SCENES, controls=0, steps=STEPS)
    report = evaluate(pipeline, evaluator, plan)
    rows = _rows(pipeline, seed)
    return labelled_sheet(rows, COLUMNS, TITLE, _notes(report, seed)), report


def _rows(pipeline: DenseFacePipeline, seed: int) -> list[Tensor]:
    """One row [9, 3, 128, 128] for each person."""
    people = len(SCENES_OF_ROWS)
    references = rendered(reference_heads(seed, people))
    who = [pipeline.identity(reference[None]) for reference in references]
    first, other = zip(*SCENES_OF_ROWS, strict=True)
    scenes: list[Scene] = [*first, *other]
    latents = pipeline.text_latents(
        [scene.base_prompt for scene in scenes],
        [seed + i for i in range(len(scenes))],
        steps=STEPS,
    )
    bases = pipeline.decode(latents)
    # Each person in the row's scene, in its own head pose and each yaw, and in the other scene.
    owner, place, angles = [], [], []
    own = pipeline.scene_angles(bases)
    for person in range(people):
        owner += [person] * (len(TURNS) + 2)
        place += [person] * (len(TURNS) + 1) + [person + people]
        angles += [own[person], *((float(yaw), 0.0, 0.0) for yaw in TURNS), own[person + people]]
    made = pipeline.personalise(
        bases[place],
        [who[i] for i in owner],
        [scenes[i].rest for i in place],
        angles,
        [seed] * len(owner),
        latents=latents[place],
        steps=STEPS,
    ).image.unflatten(0, (people, -1))
    return [torch.cat([references[i : i + 1], bases[i : i + 1], made[i]]) for i in range(people)]


def _notes(report: Report, seed: int) -> list[str]:
    def value(name: str) -> float:
        return report[f"dense_face.{name}"]

    return [
        f"{COUNT} images, recognised among {PEOPLE} people by an independent evaluator: "
        f"{value('identity_top1'):.0%} (true renders {value('identity_ceiling_top1'):.0%}), chance "
        f"{1 / PEOPLE:.0%}   |   "
        f"head pose error {value('pose_mae_deg'):.1f}°   |   "
        f"prompt words recognised: {value('prompt_accuracy'):.0%}",
        f"background before the final composite: {value('background_psnr_db'):.1f} dB, after it "
        f"unchanged   |   {STEPS} steps, held-out people of evaluation seed {seed}; all computed "
        "in the run that made this sheet",
    ]

"""The demo's sheet of SFSR: two people, eight words, two scenes, with metrics."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from ..demo.contact_sheet import labelled_sheet
from ..demo.networks.evaluator import TinyEvaluator
from ..pipelines.tiny.sfsr import SFSRPipeline
from ..sfsr.words import expression_of_word
from .held_out import PEOPLE, reference_heads, rendered
from .metrics import Report
from .sfsr import NAME, Plan, evaluate

PERSONS = 2
WORDS = ("joy", "contentment", "surprise", "anger", "disgust", "sorrow", "terror", "contempt")
#: The scenes are generated from prompts, as in the paper, including the person in them.
SCENES = (
    "a close-up photo of a person with short black hair, tan skin, wearing a blue shirt, "
    "neutral expression, facing left, in a forest",
    "a close-up photo of a person with long blond hair, pale skin, wearing a red shirt, smiling, "
    "facing right, by a window",
)
TITLE = "SFSR in the bundled tiny world: a person, an expression by word, a scene that is kept"
#: Fewer than the command line's, so that the demo finishes within a minute on two cores.
STEPS, COUNT = 10, 16


def sfsr_demo(
    pipeline: SFSRPipeline, evaluator: TinyEvaluator, seed: int
) -> tuple[Image.Image, Report]:
    """The sheet and the metrics, on held-out people; InputError if the seed is out of range."""
    report = evaluate(pipeline, evaluator, Plan(seed, COUNT, controls=0, steps=STEPS))
    report = {name: value for name, value in report.items() if name.startswith(NAME)}
    columns = ("identity", "scene", *WORDS)
    return labelled_sheet(_rows(pipeline, seed), columns, TITLE, _notes(report, seed)), report


def _rows(pipeline: SFSRPipeline, seed: int) -> list[Tensor]:
    """One row [2 + words, 3, 128, 128] for each person in each scene."""
    world = pipeline.world
    references = rendered(reference_heads(seed, PERSONS))
    who = [world.identity(reference[None]) for reference in references]
    scenes = world.text_image(SCENES, [seed + i for i in range(len(SCENES))])
    faces = [expression_of_word(word, seed=seed) for word in WORDS]
    pairs = [(person, scene) for person in range(PERSONS) for scene in range(len(SCENES))]
    made = pipeline.express(
        scenes[[scene for _, scene in pairs for _ in WORDS]],
        [who[person] for person, _ in pairs for _ in WORDS],
        faces * len(pairs),
        "",
        [seed] * (len(pairs) * len(WORDS)),
        steps=STEPS,
    ).image.unflatten(0, (len(pairs), -1))
    return [
        torch.cat([references[person, None], scenes[scene, None], row])
        for (person, scene), row in zip(pairs, made, strict=True)
    ]


def _notes(report: Report, seed: int) -> list[str]:
    def value(name: str) -> float:
        return report[f"{NAME}.{name}"]

    return [
        f"{COUNT} held-out triples of people: recognised among {PEOPLE} by an independent "
        f"evaluator {value('identity_top1'):.0%} "
        f"(true renders {value('identity_ceiling_top1'):.0%})   |   target expression, "
        f"correlation {value('expression_correlation'):.2f} (true renders "
        f"{value('expression_ceiling_correlation'):.2f})",
        f"head pose error {value('pose_mae_deg'):.1f}°   |   background before "
        f"the final composite: {value('background_psnr_db'):.1f} dB, after it unchanged"
        f"   |   {STEPS} steps, held-out people of evaluation seed {seed}",
    ]

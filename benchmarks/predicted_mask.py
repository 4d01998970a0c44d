"""Joint blending with the predicted mask or a detector's: ``python -m ...predicted_mask``.

A scene is generated with a stranger in it, and Dense-Face replaces the stranger by a person:

* predicted: in one sampling; from ``START`` on the annotation head predicts at every step where
  the face is.
* detector: the scene is sampled to the end, the analyzer detects the face in the finished image,
  and a second sampling uses that mask.

Both use the same seeds, prompts, margins and start, no head pose, and no final composite. The
evaluator, a network that conditions nothing, recognises the person; the scene without the person,
from the same seed, shows what changed outside the face. Prints a table.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ..demo.bundled import ANNOTATION_FILE, WEIGHTS
from ..demo.captions import caption
from ..demo.networks.evaluator import TinyEvaluator, load_evaluator
from ..dense_face.annotation.head import AnnotationHead
from ..dense_face.annotation.head_file import load_head
from ..dense_face.annotation.predicted_mask import predicted_mask
from ..dense_face.blending import Model
from ..evaluation.held_out import PEOPLE, prompt_heads, reference_heads, rendered
from ..evaluation.metrics import Report, evaluated, identity_metrics, psnr_where
from ..faces.identity import Identity
from ..faces.masks.compositing import blend
from ..pipelines.annotation import SamplingCapture
from ..pipelines.guided import face_model, text_model
from ..pipelines.sampling import clean_schedule, sample, seeded_noise
from ..pipelines.tiny.dense_face import GUIDANCE, STEPS, DenseFacePipeline
from ..pipelines.tiny.inputs import DenseFaceInputs, Parts

START = 0.3
"""Fraction of the steps after which the face is drawn, as in the nodes by default."""
MARGIN = {"threshold": 0.5, "grow": 0.25, "feather": 1.0}
_BATCH = 16
MakeMask = Callable[[], Tensor]


@dataclass
class Way:
    """One method of blending: its images, masks and cost."""

    latents: list[Tensor] = field(default_factory=list)
    masks: list[Tensor] = field(default_factory=list)
    seconds: float = 0.0
    rows: int = 0


@dataclass(frozen=True, eq=False)
class Bench:
    """Networks and inputs of the comparison."""

    pipeline: DenseFacePipeline
    head: AnnotationHead
    texts: Sequence[str]
    faces: DenseFaceInputs
    noise: Tensor

    def batch(self, part: slice) -> tuple[Way, Way, Tensor]:
        """A slice of the images by both methods, and the scenes without the person."""
        pipeline, base, noise = self.pipeline, self.pipeline.base, self.noise[part]
        # The adapter needs a UNet of its own, because text-editing mode runs in the same steps.
        own = replace(base, unet=copy.deepcopy(base.unet))
        counted = [0]
        scene = _counting(text_model(base, self.texts[part], GUIDANCE), counted)
        with face_model(own, pipeline.adapter, self.faces[part], GUIDANCE) as person:
            person = _counting(person, counted)
            capture = SamplingCapture(base.unet, self.head, lambda t: t <= _first_timestep())
            tapped = capture.around(scene)
            predicted = _timed(counted, lambda: self._predicted(tapped, capture, person, noise))

            alone: list[Tensor] = []

            def twice() -> tuple[Tensor, Tensor]:
                alone.append(_sampled(scene, noise))
                seen = pipeline.analyse(pipeline.decode(alone[0]))
                mask = _mask(1 - seen.part_logits.softmax(1)[:, 0], noise)
                return _sampled(_from_start(scene, person, lambda: mask), noise), mask

            detector = _timed(counted, twice)
        return predicted, detector, alone[0]

    def _predicted(
        self, scene: Model, capture: SamplingCapture, person: Model, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        def mask() -> Tensor:
            return _mask(capture.result().face, noise)

        made = _sampled(_from_start(scene, person, mask), noise)
        masks = torch.stack([_mask(read.face, noise) for read in capture.read])
        return made, masks.amax(0)  # redrawn at any step


def _mask(face: Tensor, noise: Tensor) -> Tensor:
    return predicted_mask(face, *noise.shape[-2:], **MARGIN)


def _from_start(scene: Model, person: Model, mask: MakeMask) -> Model:
    """Text-editing mode at first, then both modes."""

    def model(x: Tensor, t: Tensor) -> Tensor:
        if int(t.flatten()[0]) > _first_timestep():
            return scene(x, t)
        there = scene(x, t)  # first, because the mask may depend on it
        # For the same x and t, mixing predicted noises mixes predicted clean latents.
        return blend(there, person(x, t), mask())

    return model


def _first_timestep() -> int:
    steps = clean_schedule(STEPS).timesteps.flip(0)
    return int(steps[round(START * len(steps))])


def _sampled(model: Model, noise: Tensor) -> Tensor:
    return sample(model, torch.zeros_like(noise), noise, clean_schedule(STEPS))


def _counting(model: Model, counted: list[int]) -> Model:
    """Counts the images passed through the UNet: two per image with guidance."""

    def counts(x: Tensor, t: Tensor) -> Tensor:
        counted[0] += 2 * len(x)
        return model(x, t)

    return counts


def _timed(counted: list[int], make: Callable[[], tuple[Tensor, Tensor]]) -> Way:
    counted[0] = 0
    started = time.perf_counter()
    latents, mask = make()
    return Way([latents], [mask], time.perf_counter() - started, counted[0])


@torch.no_grad()
def measure(seed: int, count: int) -> dict[str, Report]:
    """Name of the method -> its metrics."""
    pipeline = DenseFacePipeline.load()
    head, _ = load_head(WEIGHTS / ANNOTATION_FILE)
    evaluator = load_evaluator()
    heads, seeds = prompt_heads(seed, count)
    references = rendered(reference_heads(seed, PEOPLE), progress=True, label="references")
    who = pipeline.analyse(references).identity
    people = [Identity(who[i % PEOPLE], pipeline.adapter.encoder) for i in range(count)]
    texts = caption(heads)
    faces = DenseFaceInputs.prepare(
        people, "", (0.0, 0.0, 0.0), count,
        encoder=pipeline.adapter.encoder, size=pipeline.side, parts=Parts(pose=False),
    )  # fmt: skip
    bench = Bench(pipeline, head, texts, faces, seeded_noise(seeds, pipeline.latent_shape))
    ways = {"predicted": Way(), "detector": Way()}
    scenes = []
    for start in range(0, count, _BATCH):
        *found, scene = bench.batch(slice(start, start + _BATCH))
        scenes.append(scene)
        for way, one in zip(ways.values(), found, strict=True):
            way.latents += one.latents
            way.masks += one.masks
            way.seconds += one.seconds
            way.rows += one.rows
    gallery = evaluated(evaluator, references)[0][None]
    before = pipeline.decode(torch.cat(scenes))
    there = pipeline.analyse(before).face_logit > 0
    report: dict[str, Report] = {
        "scene only": {"likeness top1": _likeness(evaluator, before, gallery)["top1"]}
    }
    # Outside both masks, where neither method draws.
    outside = torch.maximum(*(torch.cat(way.masks) for way in ways.values())) <= 0
    outside = F.interpolate(outside.float(), scale_factor=8.0, mode="nearest")
    for name, way in ways.items():
        images = pipeline.decode(torch.cat(way.latents))
        alike = _likeness(evaluator, images, gallery)
        report[name] = {
            "background dB": psnr_where(images[there], before[there], outside[there]),
            "likeness top1": alike["top1"],
            "likeness cosine": alike["cosine"],
            "fraction redrawn": float(torch.cat(way.masks).mean()),
            "UNet passes per image": way.rows / count,
            "seconds per image": way.seconds / count,
        }
    return report


def _likeness(evaluator: TinyEvaluator, images: Tensor, gallery: Tensor) -> Report:
    return identity_metrics(
        evaluated(evaluator, images)[0], gallery.expand(-(-len(images) // PEOPLE), -1, -1)
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7, help="chooses people and scenes")
    parser.add_argument("--count", type=int, default=64, help="images")
    args = parser.parse_args()
    for name, values in measure(args.seed, args.count).items():
        for key, value in values.items():
            print(f"{name:<14} {key:<22} {value:.3f}")


if __name__ == "__main__":
    main()

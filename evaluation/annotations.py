"""The annotation head in the tiny world, evaluated on held-out people.

Predictions for lightly noised renders are compared with the ground truth, those made during
sampling with the bundled analyzer on the finished image. Also reported: the analyzer's own error,
and negative controls with the features of another image.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from operator import eq

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from ..demo.captions import caption
from ..demo.people import sample_heads
from ..demo.renderer.renderer import render
from ..demo.seeds import held_out_seed
from ..dense_face.annotation.annotations import Annotations
from ..dense_face.annotation.head import AnnotationHead
from ..dense_face.annotation.loss import small_parts
from ..faces.parts import PART_NAMES
from ..pipelines.annotation import Change, SamplingCapture, annotate_images, joined
from ..pipelines.guided import text_model
from ..pipelines.sampling import clean_schedule, sample, seeded_noise
from ..pipelines.tiny.dense_face import GUIDANCE, STEPS, DenseFacePipeline
from .held_out import check_count, prompt_heads
from .metrics import Report

NAME = "annotations"
READ_AT = 0.6
"""Fraction of the steps after which a generated image is annotated."""
#: Outer corners of the eyes in iBUG order: the unit of landmark errors.
_EYES = (36, 45)
_PEOPLE = 6 * 2**17
"""Where the seeds of these people start, within the 2**20 of an evaluation seed."""
_BATCH = 16


@dataclass(frozen=True, eq=False)
class Truth:
    """Ground truth of N images at the size of the maps.

    parts [N, H, W] uint8; landmarks [N, 68, 2] as fractions; depth [N, H, W], background 1.
    """

    parts: Tensor
    landmarks: Tensor
    depth: Tensor


def rendered_truth(seed: int, count: int, size: int, *, progress: bool) -> tuple[Tensor, Truth]:
    """Images [N, 3, 128, 128] of held-out people and their ground truth."""
    heads = sample_heads([held_out_seed(seed, _PEOPLE + i) for i in range(count)])
    bar = tqdm(range(count), desc="render", leave=False, disable=not progress)
    drawn = [render(heads[i]) for i in bar]
    step = drawn[0].depth.shape[-1] // size
    cells = slice(step // 2, None, step)
    truth = Truth(
        small_parts(torch.cat([d.parts for d in drawn]), size),
        torch.cat([d.landmarks for d in drawn]),
        torch.cat([d.depth for d in drawn])[:, cells, cells],
    )
    return torch.cat([d.rgb for d in drawn]), truth


def part_miou(seen: Tensor, true: Tensor) -> float:
    """Mean over the ten classes of the intersection over union.

    As in PASCAL VOC: intersections and unions are summed over all images first.

    Args:
        seen, true: Classes [N, H, W]. Classes in neither are ignored.
    """
    found = []
    for number in range(len(PART_NAMES)):
        ours, theirs = seen == number, true == number
        either = int((ours | theirs).sum())
        if either:
            found.append(int((ours & theirs).sum()) / either)
    return sum(found) / len(found)


def landmark_error(seen: Tensor, true: Tensor) -> float:
    """Mean distance of points [N, 68, 2], in distances of the outer eye corners of each image."""
    eyes = (true[:, _EYES[0]] - true[:, _EYES[1]]).norm(dim=-1)
    return float(((seen - true).norm(dim=-1).mean(1) / eyes.clamp(min=1e-3)).mean())


def depth_error(seen: Tensor, true: Tensor) -> float:
    """Mean absolute error of depth [N, H, W] outside the background, relative to its range."""
    errors = []
    for ours, theirs in zip(seen, true, strict=True):
        there = theirs < 1
        low, high = theirs[there].aminmax()
        errors.append((ours - theirs)[there].abs().mean() / (high - low))
    return float(torch.stack(errors).mean())


def face_iou(seen: Tensor, true: Tensor) -> float:
    """Mean over images of the IoU of two masks of faces [N, H, W] (bool)."""
    both, either = (seen & true).sum((1, 2)), (seen | true).sum((1, 2))
    return float((both / either.clamp(min=1)).mean())


def another_image(features: list[Tensor]) -> list[Tensor]:
    """The features of the next image in the batch: a negative control."""
    return [feature.roll(1, 0) for feature in features]


def against_truth(seen: Annotations, truth: Truth) -> Report:
    """The three metrics of rendered images."""
    return {
        "part_miou": part_miou(seen.parts, truth.parts),
        "landmark_error": landmark_error(seen.landmarks, truth.landmarks),
        "depth_error": depth_error(seen.depth, truth.depth),
    }


def evaluate(
    pipeline: DenseFacePipeline,
    head: AnnotationHead,
    seed: int,
    count: int,
    steps: int = STEPS,
    guidance: float = GUIDANCE,
) -> Report:
    """All metrics under flat names: ``annotations.*``, ``annotations.control.*``, ``seconds.*``.

    Raises:
        InputError: Seed, count, steps or guidance out of range.
        IncompatibleError: The head was trained for another UNet.
    """
    check_count(count)
    started = time.perf_counter()
    report = _of_renders(pipeline, head, seed, count)
    report |= _of_samples(pipeline, head, seed, count, steps, guidance)
    report = {f"{NAME}.{name}": value for name, value in report.items()}
    report["seconds.total"] = time.perf_counter() - started
    return report


def _of_renders(pipeline: DenseFacePipeline, head: AnnotationHead, seed: int, count: int) -> Report:
    size = pipeline.base.unet.config["sample_size"] * head.config.scale
    images, truth = rendered_truth(seed, count, size, progress=pipeline.progress)
    seeds = [held_out_seed(seed, _PEOPLE + i) for i in range(count)]

    def read(change: Change = list) -> Report:
        seen = annotate_images(pipeline.base, head, pipeline.encode, images, seeds, change=change)
        return against_truth(seen, truth)

    own = pipeline.analyse(images)
    logits = F.interpolate(own.part_logits, (size, size), mode="bilinear")
    control = {f"control.shuffled.{n}": v for n, v in read(another_image).items()}
    return {
        **read(),
        "analyzer.part_miou": part_miou(logits.argmax(1), truth.parts),
        "analyzer.landmark_error": landmark_error(own.landmarks, truth.landmarks),
        **control,
    }


def _of_samples(
    pipeline: DenseFacePipeline,
    head: AnnotationHead,
    seed: int,
    count: int,
    steps: int,
    guidance: float,
) -> Report:
    heads, seeds = prompt_heads(seed, count)
    texts = caption(heads)
    latents, seen, shuffled = _sampled(pipeline, head, texts, seeds, steps, guidance)
    finished = pipeline.analyse(pipeline.decode(latents))
    there = finished.face_logit > 0
    size = seen.depth.shape[-2:]
    logits = F.interpolate(finished.part_logits, size, mode="bilinear")
    # A cell is face where all parts together are more likely than the background, as in
    # faces/masks/face_mask.py and the nodes' masks.
    face, points = (logits.softmax(1)[:, 0] < 0.5)[there], finished.landmarks[there]

    def compared(read: Annotations) -> Report:
        return {
            "generated.face_iou": face_iou((read.face > 0.5)[there], face),
            "generated.landmark_error": landmark_error(read.landmarks[there], points),
        }

    return {
        **compared(seen),
        "generated.with_face": float(there.double().mean()),
        **{f"control.shuffled.{n}": v for n, v in compared(shuffled).items()},
    }


def _sampled(
    pipeline: DenseFacePipeline,
    head: AnnotationHead,
    texts: list[str],
    seeds: list[int],
    steps: int,
    guidance: float,
) -> tuple[Tensor, Annotations, Annotations]:
    """Latents of text-editing mode, the annotations read during sampling, and the control's."""
    base, schedule = pipeline.base, clean_schedule(steps)
    step = round(READ_AT * len(schedule))
    at_step = partial(eq, int(schedule.timesteps.flip(0)[min(step, len(schedule) - 1)]))
    latents, seen, shuffled = [], [], []
    starts = range(0, len(texts), _BATCH)
    bar = tqdm(total=len(starts) * len(schedule), leave=False, disable=not pipeline.progress)
    for start in starts:
        some = slice(start, start + _BATCH)
        capture = SamplingCapture(base.unet, head, at_step)
        control = SamplingCapture(base.unet, head, at_step, another_image)
        model = control.around(capture.around(text_model(base, texts[some], guidance)))
        noise = seeded_noise(seeds[some], pipeline.latent_shape)
        latents.append(sample(model, torch.zeros_like(noise), noise, schedule, None, bar.update))
        seen.append(capture.result())
        shuffled.append(control.result())
    bar.close()
    return torch.cat(latents), joined(seen), joined(shuffled)

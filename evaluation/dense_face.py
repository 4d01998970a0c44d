"""Dense-Face in the tiny world, evaluated on held-out people.

People are recognised by a separate network that conditions nothing. Each metric
comes with its ceiling (the same on true renders) and with negative controls.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from torch import Tensor

from ..demo.captions import caption, identity_free_caption
from ..demo.networks.evaluator import TinyEvaluator
from ..pipelines.tiny.dense_face import GUIDANCE, STEPS, DenseFacePipeline
from ..pipelines.tiny.inputs import Parts
from .gallery import Gallery
from .held_out import PEOPLE, Cases, angles_of, face_cases, prompt_heads, rendered, scene_heads
from .metrics import (
    Report,
    evaluated,
    largest_change,
    malformed_fraction,
    pose_errors,
    psnr_where,
    word_accuracy,
)

NAME = "dense_face"


@dataclass(frozen=True)
class Plan:
    """Which images are evaluated.

    Args:
        count: Images in face-generation mode, 64 people in turn.
        prompts: Images in text-editing mode.
        scenes: Blended images.
        controls: Images per control; 0 skips the controls.
    """

    seed: int
    count: int
    prompts: int
    scenes: int
    controls: int
    steps: int = STEPS
    guidance: float = GUIDANCE

    @classmethod
    def full(cls, seed: int, count: int, steps: int = STEPS, guidance: float = GUIDANCE) -> Plan:
        """All metrics; the less variable ones on at most 64 images."""
        some = min(count, PEOPLE)
        return cls(seed, count, count, some, some, steps, guidance)


def evaluate(pipeline: DenseFacePipeline, evaluator: TinyEvaluator, plan: Plan) -> Report:
    """All metrics under flat names: ``dense_face.*``, ``dense_face.control.*``, ``seconds.*``.

    Raises:
        InputError: Seed, count, steps or guidance out of range.
    """
    started = time.perf_counter()
    cases = face_cases(plan.seed, plan.count, progress=pipeline.progress)
    bench = _Bench(pipeline, evaluator, plan, cases)
    report = bench.faces()
    report |= bench.prompts()
    report |= bench.scenes()
    if plan.controls:
        report |= bench.controls()
    report["seconds.total"] = time.perf_counter() - started
    return report


class _Bench:
    """One evaluation: networks, cases and the gallery."""

    def __init__(
        self, pipeline: DenseFacePipeline, evaluator: TinyEvaluator, plan: Plan, cases: Cases
    ) -> None:
        self.pipeline, self.evaluator, self.plan, self.cases = pipeline, evaluator, plan, cases
        self.options = {"steps": plan.steps, "guidance": plan.guidance}
        self.gallery = Gallery(pipeline, evaluator, cases.references)

    def faces(self) -> Report:
        """Identity and pose in face-generation mode and in the true renders."""
        started = time.perf_counter()
        images = self._generated(len(self.cases))
        seconds = (time.perf_counter() - started) / len(images)
        targets = rendered(
            self.cases.targets, progress=self.pipeline.progress, label="render targets"
        )
        identity, pose = self.gallery.recognised(images), self._pose(images)
        ceiling, seen = self.gallery.recognised(targets), self._pose(targets)
        return {
            f"{NAME}.identity_top1": identity["top1"],
            f"{NAME}.identity_ceiling_top1": ceiling["top1"],
            f"{NAME}.identity_cosine": identity["cosine"],
            f"{NAME}.identity_ceiling_cosine": ceiling["cosine"],
            f"{NAME}.identity_cosine_stranger": identity["cosine_stranger"],
            f"{NAME}.pose_mae_deg": pose["pose"],
            f"{NAME}.yaw_mae_deg": pose["yaw"],
            f"{NAME}.pitch_mae_deg": pose["pitch"],
            f"{NAME}.roll_mae_deg": pose["roll"],
            f"{NAME}.pose_ceiling_mae_deg": seen["pose"],
            **self._malformed("malformed", images, targets),
            "seconds.per_image_in_batch": seconds,
        }

    def prompts(self) -> Report:
        """Prompt accuracy in text-editing mode and of the true renders."""
        heads, seeds = prompt_heads(self.plan.seed, self.plan.prompts)
        images = self.pipeline.text_image(caption(heads), seeds, **self.options)
        words = word_accuracy(evaluated(self.evaluator, images)[1], heads)
        truth = rendered(heads, progress=self.pipeline.progress, label="render prompts")
        ceiling = word_accuracy(evaluated(self.evaluator, truth)[1], heads)["all"]
        return {
            f"{NAME}.prompt_accuracy": words.pop("all"),
            f"{NAME}.prompt_ceiling_accuracy": ceiling,
            **self._malformed("prompt_malformed", images, truth),
            **{f"{NAME}.prompt_accuracy.{name}": value for name, value in words.items()},
        }

    def scenes(self) -> Report:
        """How well blending keeps a scene, and whether the person in it is recognised."""
        count = min(self.plan.scenes, len(self.cases))
        heads, seeds = scene_heads(self.plan.seed, count)
        scenes = rendered(heads, progress=self.pipeline.progress, label="render scenes")
        prompts, angles = identity_free_caption(heads), angles_of(heads)
        who = self.gallery.of_cases(count)
        made = self.pipeline.personalise(scenes, who, prompts, angles, seeds, **self.options)
        started = time.perf_counter()
        alone = (scenes[:1], who[0], prompts[0], angles[0], seeds[0])
        self.pipeline.personalise(*alone, **self.options)
        seconds = time.perf_counter() - started
        kept = made.mask == 0
        errors = pose_errors(self.pipeline.analyse(made.image).pose, heads.angles)
        return {
            f"{NAME}.background_psnr_db": psnr_where(made.generated, scenes, kept),
            f"{NAME}.background_change_after_composite": largest_change(made.image, scenes, kept),
            f"{NAME}.blended_identity_top1": self.gallery.top1(made.image),
            f"{NAME}.blended_pose_mae_deg": errors["pose"],
            "seconds.per_image": seconds,
        }

    def controls(self) -> Report:
        """The same metrics with one part switched off: negative controls."""
        count = min(self.plan.controls, len(self.cases))
        without_adapter = self._generated(count, parts=Parts(adapter=False, token=False))
        token_alone = self._generated(count, parts=Parts(adapter=False))
        adapter_alone = self._generated(count, parts=Parts(token=False))
        shuffled = self._generated(count, shift=1)
        unposed = self._generated(count, parts=Parts(pose=False))
        return {
            f"{NAME}.control.adapter_off.identity_top1": self.gallery.top1(without_adapter),
            f"{NAME}.control.token_alone.identity_top1": self.gallery.top1(token_alone),
            f"{NAME}.control.adapter_alone.identity_top1": self.gallery.top1(adapter_alone),
            f"{NAME}.control.shuffled_references.identity_top1": self.gallery.top1(shuffled),
            f"{NAME}.control.pose_branch_off.pose_mae_deg": self._pose(unposed)["pose"],
        }

    def _generated(self, count: int, *, shift: int = 0, parts: Parts | None = None) -> Tensor:
        """The first ``count`` cases, each with the reference of the person ``shift`` places on."""
        cases = self.cases
        return self.pipeline.face_image(
            self.gallery.of_cases(count, shift),
            cases.prompts[:count],
            cases.angles[:count],
            cases.seeds[:count],
            parts=parts or Parts(),
            **self.options,
        )

    def _pose(self, images: Tensor) -> Report:
        targets = self.cases.targets.angles[: len(images)]
        return pose_errors(self.pipeline.analyse(images).pose, targets)

    def _malformed(self, name: str, images: Tensor, truth: Tensor) -> Report:
        """The fraction of malformed faces; of the true renders and their VAE reconstructions."""
        pipeline = self.pipeline
        kinds = {
            name: images,
            f"{name}_ceiling": truth,
            f"{name}_latent_ceiling": pipeline.decode(pipeline.encode(truth)),
        }
        return {
            f"{NAME}.{key}": malformed_fraction(pipeline.analyzer, shown)
            for key, shown in kinds.items()
        }

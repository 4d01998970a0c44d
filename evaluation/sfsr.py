"""SFSR in the tiny world, evaluated on triples: person, another's expression, a third's scene.

All three are held-out people from one gallery of 64, so an identity leak into an image can be
recognised. Ground truth is a render of the person with that expression in that scene.
Each metric comes with its ceilings (that render, and its VAE reconstruction) and
with negative controls.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from ..demo.bundled import load_bundled
from ..demo.networks.evaluator import TinyEvaluator
from ..faces.identity import Identity
from ..pipelines.tiny.dense_face import STEPS
from ..pipelines.tiny.scenes import Personalised
from ..pipelines.tiny.sfsr import BLEND, GUIDANCE, HINT, SFSRPipeline
from ..sfsr.adapter import SFSRAdapter, load_adapter
from ..sfsr.expression import Expression
from .expression_metrics import expression_metrics, leak_metrics, visible_blendshapes
from .gallery import Gallery
from .held_out import PEOPLE, Triples, gallery_images, rendered, triples
from .metrics import Report, largest_change, malformed_fraction, pose_errors, psnr_where

NAME = "sfsr"
ESTIMATES = ("midpoint", "one_step")
"""Estimates of the clean image in the face losses: two briefly trained adapters that differ only
in this. The midpoint's effect is the difference between them, not to the shipped adapter."""


@dataclass(frozen=True)
class Plan:
    """Which images are evaluated.

    Args:
        count: Images of triples, 64 people in turn.
        controls: Images for expressions read from images and for each control, except the
            estimates, which use all; 0 skips them.
    """

    seed: int
    count: int
    controls: int
    steps: int = STEPS
    guidance: float = GUIDANCE

    @classmethod
    def full(cls, seed: int, count: int, steps: int = STEPS, guidance: float = GUIDANCE) -> Plan:
        """All metrics; controls on at most 64 images each."""
        return cls(seed, count, min(count, PEOPLE), steps, guidance)


def evaluate(
    pipeline: SFSRPipeline,
    evaluator: TinyEvaluator,
    plan: Plan,
    others: Mapping[str, SFSRAdapter] | None = None,
    estimates: Mapping[str, SFSRAdapter] | None = None,
) -> Report:
    """All metrics under flat names: ``sfsr.*``, ``sfsr.control.*``, ``seconds.*``.

    Args:
        others: More adapters to evaluate on the same cases, under ``sfsr.other.<name>.*``.
        estimates: Adapters evaluated as controls (:func:`load_estimates`).

    Raises:
        InputError: Seed, count, steps or guidance out of range.
    """
    started = time.perf_counter()
    bench = _Bench(pipeline, evaluator, plan, triples(plan.seed, plan.count))
    report = bench.faces()
    if plan.controls:
        report |= bench.from_images()
        report |= bench.controls()
        for name, adapter in (estimates or {}).items():
            report |= bench.other(f"control.trained_briefly.{name}", adapter)
    for name, adapter in (others or {}).items():
        report |= bench.other(f"other.{name}", adapter)
    report["seconds.total"] = time.perf_counter() - started
    return report


def load_estimates(folder: str | Path) -> dict[str, SFSRAdapter]:
    """The briefly trained adapters in a folder of weights, by their estimate.

    Raises:
        ModelFileError, IncompatibleError: As :func:`load_bundled`.
    """
    return {name: load_bundled(load_adapter, folder, f"tiny_sfsr_{name}") for name in ESTIMATES}


class _Bench:
    """One evaluation: networks, cases, their renders and the gallery."""

    def __init__(
        self, pipeline: SFSRPipeline, evaluator: TinyEvaluator, plan: Plan, cases: Triples
    ) -> None:
        self.pipeline, self.plan, self.cases = pipeline, plan, cases
        self.world = pipeline.world
        references = gallery_images(plan.seed, plan.count, progress=self.world.progress)
        self.gallery = Gallery(self.world, evaluator, references)
        self.scenes = self._rendered("scenes", len(cases))
        self.truth = self._rendered("targets", len(cases))
        self.targets = cases.exemplars.expression
        self.expressions = [Expression(values, "known") for values in self.targets]
        # A generated image can show only what the latents can represent.
        self.reconstructed = self.world.decode(self.world.encode(self.truth))
        self.visible = visible_blendshapes(self._read(self.reconstructed), self.targets)

    def faces(self) -> Report:
        """Identity, expression, pose, leaks and background, with those of the true renders."""
        started = time.perf_counter()
        made = self._made(len(self.cases))
        seconds = (time.perf_counter() - started) / len(self.cases)
        identity, ceiling = (self.gallery.recognised(x) for x in (made.image, self.truth))
        face, best_face, reconstructed_face = (
            self._expression(x) for x in (made.image, self.truth, self.reconstructed)
        )
        leaks = self._leaks(made.image)
        return {
            f"{NAME}.identity_top1": identity["top1"],
            f"{NAME}.identity_ceiling_top1": ceiling["top1"],
            f"{NAME}.identity_latent_ceiling_top1": self.gallery.top1(self.reconstructed),
            f"{NAME}.identity_cosine": identity["cosine"],
            f"{NAME}.identity_ceiling_cosine": ceiling["cosine"],
            f"{NAME}.identity_cosine_stranger": identity["cosine_stranger"],
            f"{NAME}.expression_correlation": face["correlation"],
            f"{NAME}.expression_ceiling_correlation": best_face["correlation"],
            f"{NAME}.expression_latent_ceiling_correlation": reconstructed_face["correlation"],
            f"{NAME}.expression_correlation_all": face["correlation_all"],
            f"{NAME}.expression_ceiling_correlation_all": best_face["correlation_all"],
            f"{NAME}.visible_blendshapes": float(self.visible.sum()),
            f"{NAME}.expression_error": face["error"],
            f"{NAME}.expression_error_of_scene": self._expression(self.scenes)["error"],
            f"{NAME}.expression_ceiling_error": best_face["error"],
            f"{NAME}.expression_latent_ceiling_error": reconstructed_face["error"],
            **{f"{NAME}.leak_{key}": value for key, value in leaks.items()},
            f"{NAME}.background_psnr_db": self._psnr(made),
            f"{NAME}.background_change_after_composite": largest_change(
                made.image, self.scenes, made.mask == 0
            ),
            f"{NAME}.pose_mae_deg": self._pose(made.image),
            f"{NAME}.pose_ceiling_mae_deg": self._pose(self.truth),
            f"{NAME}.malformed": self._malformed(made.image),
            f"{NAME}.malformed_ceiling": self._malformed(self.truth),
            f"{NAME}.malformed_latent_ceiling": self._malformed(self.reconstructed),
            "seconds.per_image": seconds,
        }

    def from_images(self) -> Report:
        """The same expressions, read from renders of their owners."""
        count = self.plan.controls
        read = self.pipeline.read_expressions(self._rendered("exemplars", count))
        made = self._made(count, expressions=read).image
        face, leaks = self._expression(made), self._leaks(made)
        owner = {key: value for key, value in leaks.items() if key.startswith("expression_owner")}
        return {
            f"{NAME}.from_image.expression_correlation": face["correlation"],
            f"{NAME}.from_image.expression_error": face["error"],
            **{f"{NAME}.from_image.leak_{key}": value for key, value in owner.items()},
        }

    def controls(self) -> Report:
        """The same metrics with one part switched off: negative controls."""
        count = self.plan.controls
        next_one = [(i + 1) % count for i in range(count)]
        nobody = self._made(count, weights=(0.0, 1.0)).image
        still = self._made(count, weights=(1.0, 0.0)).image
        strangers = self._made(count, who=self.gallery.of_cases(count, 1)).image
        exchanged = self._made(count, expressions=[self.expressions[i] for i in next_one]).image
        blended = self._made(count, background=BLEND)
        name = f"{NAME}.control"
        return {
            f"{name}.identity_off.identity_top1": self.gallery.top1(nobody),
            f"{name}.identity_off.expression_correlation": self._correlation(nobody),
            f"{name}.expression_off.expression_correlation": self._correlation(still),
            f"{name}.expression_off.identity_top1": self.gallery.top1(still),
            f"{name}.shuffled_identities.identity_top1": self.gallery.top1(strangers),
            f"{name}.shuffled_expressions.expression_correlation": self._correlation(exchanged),
            f"{name}.hint_off.background_psnr_db": self._psnr(blended),
            f"{name}.hint_off.identity_top1": self.gallery.top1(blended.image),
            f"{name}.hint_off.expression_correlation": self._correlation(blended.image),
        }

    def other(self, name: str, adapter: SFSRAdapter) -> Report:
        """Identity, expression and background of another adapter on all cases."""
        made = self._made(len(self.cases), pipeline=replace(self.pipeline, adapter=adapter))
        face = self._expression(made.image)
        return {
            f"{NAME}.{name}.identity_top1": self.gallery.top1(made.image),
            f"{NAME}.{name}.expression_correlation": face["correlation"],
            f"{NAME}.{name}.expression_error": face["error"],
            f"{NAME}.{name}.background_psnr_db": self._psnr(made),
            f"{NAME}.{name}.pose_mae_deg": self._pose(made.image),
            f"{NAME}.{name}.malformed": self._malformed(made.image),
        }

    def _made(
        self,
        count: int,
        *,
        who: list[Identity] | None = None,
        expressions: list[Expression] | None = None,
        weights: tuple[float, float] = (1.0, 1.0),
        background: str = HINT,
        pipeline: SFSRPipeline | None = None,
    ) -> Personalised:
        """Results for the first ``count`` cases."""
        pipeline = pipeline or self.pipeline
        return pipeline.express(
            self.scenes[:count],
            who or self.gallery.of_cases(count),
            expressions or self.expressions[:count],
            "",
            self.cases.seeds[:count],
            weights=weights,
            steps=self.plan.steps,
            guidance=self.plan.guidance,
            background=BLEND if pipeline.adapter.hint is None else background,
        )

    def _rendered(self, what: str, count: int) -> Tensor:
        heads = getattr(self.cases, what)[:count]
        return rendered(heads, progress=self.world.progress, label=f"render {what}")

    def _read(self, images: Tensor) -> Tensor:
        return self.world.analyse(images).blendshapes

    def _expression(self, images: Tensor) -> Report:
        targets = self.targets[: len(images)]
        return expression_metrics(self._read(images), targets, self.visible)

    def _correlation(self, images: Tensor) -> float:
        return self._expression(images)["correlation"]

    def _leaks(self, images: Tensor) -> Report:
        count = len(images)
        shown, true = (self.gallery.identities_of(x) for x in (images, self.truth[:count]))
        owners, hosts = self.cases.owners[:count], self.cases.hosts[:count]
        return leak_metrics(shown, true, self.gallery.identities, owners, hosts)

    def _psnr(self, made: Personalised) -> float:
        scenes = self.scenes[: len(made.sampling_mask)]
        return psnr_where(made.generated, scenes, made.sampling_mask == 0)

    def _pose(self, images: Tensor) -> float:
        targets = self.cases.scenes.angles[: len(images)]
        return pose_errors(self.world.analyse(images).pose, targets)["pose"]

    def _malformed(self, images: Tensor) -> float:
        return malformed_fraction(self.world.analyzer, images)

"""The gallery of an evaluation: references encoded once, to recognise images among them."""

from __future__ import annotations

import torch
from torch import Tensor

from ..demo.networks.evaluator import TinyEvaluator
from ..faces.identity import Identity
from ..pipelines.tiny.dense_face import DenseFacePipeline
from .held_out import PEOPLE
from .metrics import Report, evaluated, identity_metrics


class Gallery:
    """Rounds of 64 people with one reference image each.

    Args:
        pipeline: Its analyzer encodes the identities that condition the adapters.
        evaluator: Recognises the people; it conditions nothing.
        references: From ``held_out.gallery_images`` [R * 64, 3, 128, 128].
    """

    def __init__(
        self, pipeline: DenseFacePipeline, evaluator: TinyEvaluator, references: Tensor
    ) -> None:
        self.evaluator = evaluator
        vectors = [pipeline.analyse(some).identity for some in references.split(PEOPLE)]
        self._conditions = [Identity(v, pipeline.adapter.encoder) for v in torch.cat(vectors)]
        self.identities = evaluated(evaluator, references)[0].unflatten(0, (-1, PEOPLE))
        """The evaluator's identities [R, 64, D], unit norm."""

    def of_cases(self, count: int, shift: int = 0) -> list[Identity]:
        """The people of the first ``count`` cases, or those ``shift`` places on in their round."""
        return [self._conditions[i // PEOPLE * PEOPLE + (i + shift) % PEOPLE] for i in range(count)]

    def identities_of(self, images: Tensor) -> Tensor:
        """The evaluator's identities [N, D] of the images of the first N cases."""
        return evaluated(self.evaluator, images)[0]

    def recognised(self, images: Tensor) -> Report:
        """:func:`~.metrics.identity_metrics` of the images of the first N cases."""
        return identity_metrics(self.identities_of(images), self.identities)

    def top1(self, images: Tensor) -> float:
        """Fraction of the first N cases whose person is recognised among the 64."""
        return self.recognised(images)["top1"]

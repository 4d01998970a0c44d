"""The crowd of an evaluation as the networks know it: references read once, images recognised."""

from __future__ import annotations

import torch
from torch import Tensor

from ..demo.networks.evaluator import TinyEvaluator
from ..faces.identity import Identity
from ..pipelines.tiny.dense_face import DenseFacePipeline
from .held_out import PEOPLE
from .metrics import Report, identity_metrics, judged


class Gallery:
    """Rounds of 64 people, by one reference image each.

    Args:
        pipeline: Its analyzer reads what the adapters are told.
        evaluator: Recognises the people; conditions nothing.
        references: As of ``held_out.crowd`` [R * 64, 3, 128, 128].
    """

    def __init__(
        self, pipeline: DenseFacePipeline, evaluator: TinyEvaluator, references: Tensor
    ) -> None:
        self.evaluator = evaluator
        who = [pipeline.analyse(some).identity for some in references.split(PEOPLE)]
        self._identities = [Identity(v, pipeline.adapter.encoder) for v in torch.cat(who)]
        self.crowd = judged(evaluator, references)[0].unflatten(0, (-1, PEOPLE))
        """The evaluator's identities [R, 64, D], unit norm."""

    def of_cases(self, count: int, shift: int = 0) -> list[Identity]:
        """Of the first ``count`` cases the person, or the ``shift``-th next one of the round."""
        return [self._identities[i // PEOPLE * PEOPLE + (i + shift) % PEOPLE] for i in range(count)]

    def seen(self, images: Tensor) -> Tensor:
        """The evaluator's identities [N, D] of the images of the first N cases."""
        return judged(self.evaluator, images)[0]

    def recognised(self, images: Tensor) -> Report:
        """:func:`~.measures.identity_metrics` of the images of the first N cases."""
        return identity_metrics(self.seen(images), self.crowd)

    def top1(self, images: Tensor) -> float:
        """Share of the first N cases whose person is recognised among the 64."""
        return self.recognised(images)["top1"]

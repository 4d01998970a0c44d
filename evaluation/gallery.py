"""The crowd of an evaluation as the networks know it: references read once, pictures recognised."""

from __future__ import annotations

import torch
from torch import Tensor

from ..demo.networks.evaluator import TinyJudge
from ..faces.identity import Identity
from ..pipelines.tiny.dense_face import DenseFacePipeline
from .held_out import PEOPLE
from .metrics import Report, identity_measures, judged


class KnownPeople:
    """Rounds of 64 people, by one reference picture each.

    Args:
        pipeline: Its analyzer reads what the adapters are told.
        judge: Recognises the people; conditions nothing.
        references: As of ``held_out.crowd`` [R * 64, 3, 128, 128].
    """

    def __init__(self, pipeline: DenseFacePipeline, judge: TinyJudge, references: Tensor) -> None:
        self.judge = judge
        who = [pipeline.analyse(some).identity for some in references.split(PEOPLE)]
        self._identities = [Identity(v, pipeline.adapter.encoder) for v in torch.cat(who)]
        self.crowd = judged(judge, references)[0].unflatten(0, (-1, PEOPLE))
        """The judge's identities [R, 64, D], unit norm."""

    def of_cases(self, count: int, shift: int = 0) -> list[Identity]:
        """Of the first ``count`` cases the person, or the ``shift``-th next one of the round."""
        return [self._identities[i // PEOPLE * PEOPLE + (i + shift) % PEOPLE] for i in range(count)]

    def seen(self, pictures: Tensor) -> Tensor:
        """The judge's identities [N, D] of the pictures of the first N cases."""
        return judged(self.judge, pictures)[0]

    def recognised(self, pictures: Tensor) -> Report:
        """:func:`~.measures.identity_measures` of the pictures of the first N cases."""
        return identity_measures(self.seen(pictures), self.crowd)

    def top1(self, pictures: Tensor) -> float:
        """Share of the first N cases whose person is recognised among the 64."""
        return self.recognised(pictures)["top1"]

"""Stages ``analyzer`` and ``evaluator``: two networks with different images, shapes and seeds."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...demo.networks.analyzer import DEGREES, IDENTITY_DIM, TinyAnalyzer
from ...demo.networks.evaluator import ATTRIBUTES, TinyEvaluator
from ...demo.people import CLASSES, CONTINUOUS_NAMES, IDENTITY_INDEX, Heads
from .augment import augmented, faceless
from .data import PER_PERSON, Images

_TEMPERATURE = 0.07


def pair_loss(first: Tensor, second: Tensor) -> Tensor:
    """Contrastive loss of unit vectors [P, D]; rows i of both belong together."""
    logits = first @ second.T / _TEMPERATURE
    target = torch.arange(len(first))
    return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))


def draw_pairs(images: Images, people: int, generator: torch.Generator) -> Tensor:
    """Indices [2 * people]: the first images of random people, then their second images."""
    who = torch.randperm(len(images) // PER_PERSON, generator=generator)[:people] * PER_PERSON
    return torch.cat([who, who + 1])


def attribute_targets(heads: Heads) -> dict[str, Tensor]:
    """Class numbers [B] of every attribute that the evaluator predicts."""
    targets = {name: heads.identity[:, IDENTITY_INDEX[name]].long() for name in CLASSES}
    targets["background_color"] = heads.background[:, 0].long()
    targets["background_pattern"] = heads.background[:, 1].long()
    return targets


class AnalyzerTask(nn.Module):
    """All outputs of the analyzer except the expression.

    Identity is learned by a contrastive loss on pairs and by predicting the head's parameters.
    """

    def __init__(self, images: Images, people: int) -> None:
        super().__init__()
        self.net = TinyAnalyzer()
        # For training only: predicts the parameters of a head from its identity vector.
        self.numbers = nn.Linear(IDENTITY_DIM, len(CONTINUOUS_NAMES))
        self.classes = nn.ModuleDict(
            {name: nn.Linear(IDENTITY_DIM, len(words)) for name, (words, _) in CLASSES.items()}
        )
        self.images, self.people = images, people

    def forward(self, generator: torch.Generator) -> dict[str, Tensor]:
        pick = draw_pairs(self.images, self.people, generator)
        batch = augmented(self.images, pick, generator)
        empty = faceless(batch.rgb[::8], generator)
        seen = self.net(torch.cat([batch.rgb, empty]))
        count = len(pick)
        who = seen.identity[:count].float()
        truth = batch.heads.identity
        numbers = F.mse_loss(self.numbers(16 * who).float(), truth[:, : len(CONTINUOUS_NAMES)])
        named = [
            F.cross_entropy(head(16 * who).float(), truth[:, IDENTITY_INDEX[name]].long())
            for name, head in self.classes.items()
        ]
        classes = torch.stack(named).mean()
        pairs = pair_loss(who[: self.people], who[self.people :])
        points = F.l1_loss(seen.landmarks[:count].float(), batch.landmarks)
        pose = F.smooth_l1_loss(
            seen.pose[:count].float() / DEGREES, batch.heads.angles / DEGREES, beta=0.05
        )
        parts = F.cross_entropy(seen.part_logits[:count].float(), batch.parts)
        head = F.binary_cross_entropy_with_logits(seen.head_logit[:count].float(), batch.head)
        is_face = torch.cat([torch.ones(count), torch.zeros(len(empty))])
        face = F.binary_cross_entropy_with_logits(seen.face_logit.float(), is_face)
        loss = (
            20 * points + 3 * pose + 0.5 * parts + 0.5 * head + 0.2 * face
            + 0.4 * pairs + 0.5 * classes + 0.7 * numbers
        )  # fmt: skip
        parts_of_loss = {
            "points": points, "pose": pose, "parts": parts, "head": head, "face": face,
            "pairs": pairs, "classes": classes, "numbers": numbers,
        }  # fmt: skip
        return {"loss": loss, **{name: part.detach() for name, part in parts_of_loss.items()}}


class EvaluatorTask(nn.Module):
    """Identity by a contrastive loss on pairs, and classification of the attributes."""

    def __init__(self, images: Images, people: int) -> None:
        super().__init__()
        self.net = TinyEvaluator()
        self.images, self.people = images, people

    def forward(self, generator: torch.Generator) -> dict[str, Tensor]:
        pick = draw_pairs(self.images, self.people, generator)
        batch = augmented(self.images, pick, generator)
        who, named = self.net(batch.rgb)
        pairs = pair_loss(who[: self.people].float(), who[self.people :].float())
        targets = attribute_targets(batch.heads)
        words = torch.stack(
            [F.cross_entropy(named[name].float(), targets[name]) for name in ATTRIBUTES]
        ).mean()
        return {"loss": pairs + words, "pairs": pairs.detach(), "words": words.detach()}

"""Metrics of images: identity, head pose, prompt accuracy, and background preservation."""

from __future__ import annotations

import json
import math

import torch
from torch import Tensor

from ..demo.networks.analyzer import TinyAnalyzer, analyse
from ..demo.networks.evaluator import TinyEvaluator
from ..demo.people import BACKGROUND_PATTERNS, CLASSES, IDENTITY_INDEX, Heads
from ..faces.angles import ANGLE_NAMES

Report = dict[str, float]
_AT_ONCE = 64
_BALD = CLASSES["hair_style"][0].index("bald")
_NO_GLASSES = CLASSES["glasses"][0].index("none")
_SCENES = ("window", "sunset", "forest")


@torch.no_grad()
def evaluated(evaluator: TinyEvaluator, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The evaluator's identities [N, D], unit norm, and its class for each attribute [N]."""
    seen = [evaluator(some) for some in images.split(_AT_ONCE)]
    words = {name: torch.cat([logits[name].argmax(1) for _, logits in seen]) for name in seen[0][1]}
    return torch.cat([who for who, _ in seen]), words


def identity_metrics(shown: Tensor, gallery: Tensor) -> Report:
    """Recognition of each image among the references.

    Args:
        shown: Identities of the images [N, D], unit norm; image i shows person i % P of round
            i // P.
        gallery: Identities of the references [R, P, D].

    Returns:
        top1: Fraction of images whose own reference is the most similar of its round.
        cosine, cosine_stranger: Mean similarity to the own reference, and to the others.
    """
    people = gallery.shape[1]
    number = torch.arange(len(shown))
    similar = torch.einsum("nd,npd->np", shown, gallery[number // people])
    own = similar[number, number % people]
    strangers = (similar.sum(1) - own) / (people - 1)
    return {
        "top1": _mean(similar.argmax(1) == number % people),
        "cosine": _mean(own),
        "cosine_stranger": _mean(strangers),
    }


def pose_errors(seen: Tensor, target: Tensor) -> Report:
    """Mean absolute errors of angles [N, 3] in degrees: each angle's, and ``pose`` over all."""
    errors = (seen - target).abs()
    single = {name: _mean(errors[:, i]) for i, name in enumerate(ANGLE_NAMES)}
    return {"pose": _mean(errors), **single}


@torch.no_grad()
def malformed_fraction(analyzer: TinyAnalyzer, images: Tensor) -> float:
    """Fraction of images [N, 3, 128, 128] whose face is malformed, or that show none.

    NaN for an analyzer without a criterion (``demo.networks.malformed``).
    """
    if analyzer.malformed is None:
        return math.nan
    found = []
    for some in images.split(_AT_ONCE):
        seen = analyse(analyzer, some)
        logit = analyzer.malformed(analyzer.trunk(some), seen.landmarks)
        found.append((logit > 0) | ~(seen.face_logit > 0))
    return _mean(torch.cat(found))


def named_attributes(heads: Heads) -> dict[str, tuple[Tensor, Tensor]]:
    """The attributes that captions describe: hair, skin, glasses and background.

    Returns:
        Attribute -> (class of each head [N], whether its caption names it [N]).
    """
    kinds = {name: heads.identity[:, i].long() for name, i in IDENTITY_INDEX.items()}
    pattern = heads.background[:, 1].long()
    scenes = torch.tensor([BACKGROUND_PATTERNS.index(name) for name in _SCENES])
    always = torch.ones(len(heads), dtype=torch.bool)
    return {
        "hair_color": (kinds["hair_color"], kinds["hair_style"] != _BALD),
        "hair_style": (kinds["hair_style"], always),
        "skin": (kinds["skin"], always),
        "glasses": (kinds["glasses"], kinds["glasses"] != _NO_GLASSES),
        "frame_color": (kinds["frame_color"], kinds["glasses"] != _NO_GLASSES),
        "background_color": (heads.background[:, 0].long(), ~torch.isin(pattern, scenes)),
        "background_pattern": (pattern, always),
    }


def word_accuracy(words: dict[str, Tensor], heads: Heads) -> Report:
    """Fraction of captioned attributes that the evaluator recognises: ``all``, and each one.

    Attributes that no caption names are omitted.
    """
    report: Report = {}
    right, named = 0, 0
    for name, (truth, said) in named_attributes(heads).items():
        hits = (words[name] == truth) & said
        if bool(said.any()):
            report[name] = int(hits.sum()) / int(said.sum())
        right, named = right + int(hits.sum()), named + int(said.sum())
    return {"all": right / named, **report}


def psnr_where(images: Tensor, truth: Tensor, where: Tensor) -> float:
    """Mean over images of the PSNR in dB over selected pixels.

    Args:
        images, truth: [N, 3, H, W] in 0..1.
        where: [N, 1, H, W], nonzero at the pixels to compare.

    Images without such pixels are ignored; identical ones count as 100 dB.
    """
    found = []
    for image, true, here in zip(images, truth, where.bool(), strict=True):
        error = (image - true)[here.expand_as(image)].square()
        if len(error):
            found.append(-10 * torch.log10(error.mean().clamp(min=1e-10)))
    return _mean(torch.stack(found)) if found else float("nan")


def largest_change(images: Tensor, truth: Tensor, where: Tensor) -> float:
    """Largest absolute difference over the pixels ``where`` [N, 1, H, W] is nonzero."""
    return float(((images - truth).abs() * where).max())


def json_of(report: Report) -> str:
    """The report as a JSON object; NaN becomes null."""
    known = {
        name: round(value, 6) if math.isfinite(value) else None for name, value in report.items()
    }
    return json.dumps(known, indent=1)


def _mean(values: Tensor) -> float:
    return float(values.double().mean())

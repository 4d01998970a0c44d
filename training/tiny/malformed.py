"""Stage ``malformed``: a criterion of malformed faces on the frozen analyzer's features."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...demo.bundled import ANALYZER_FILE, MALFORMED_FILE
from ...demo.networks.analyzer import TinyAnalyzer, load_analyzer
from ...demo.networks.malformed import patch_features
from ...faces.pixels import to_uint8
from ...storage import CHECKSUM_KEY, atomic_path, read_weights
from .deformations import deformed
from .run import TrainingRun

IMAGES = 4000
"""Images that are used, at most: the first half to fit, the second to set the threshold."""
MALFORMED = 0.01
"""Fraction of renders above the threshold."""
_DECAY = 0.1
_ITERATIONS = 60
_BATCH = 50
_TOGETHER = 250
"""Images that provide one another's foreign parts."""


def malformed(run: TrainingRun) -> None:
    """Fit the criterion to the analyzer, on training images and deformed ones."""
    path = run.weights / ANALYZER_FILE
    net = load_analyzer(path)
    images = run.load()
    rgb, landmarks = images.rgb[:IMAGES], images.landmarks[:IMAGES]
    half = len(rgb) // 2
    generator = torch.Generator().manual_seed(13)
    wrong = [
        to_uint8(deformed(some.float() / 255, points, generator))
        for some, points in zip(
            rgb[:half].split(_TOGETHER), landmarks[:half].split(_TOGETHER), strict=True
        )
    ]
    true, others = features_of(net, rgb).tensor_split([half])
    about = {
        "command": f"denseface train-demo malformed --images {run.images}",
        "analyzer": read_weights(path)[1].get(CHECKSUM_KEY, ""),
        **fitted(true, features_of(net, torch.cat(wrong)), others),
    }
    with atomic_path(run.weights / MALFORMED_FILE) as temporary:
        temporary.write_text(json.dumps(about), encoding="utf-8")


@torch.no_grad()
def features_of(net: TinyAnalyzer, rgb: Tensor) -> Tensor:
    """Features [N, K] of images as bytes [N, 3, 128, 128] around the landmarks found in them."""
    found = []
    for part in rgb.split(_BATCH):
        features = net.trunk(part.float() / 255)
        found.append(patch_features(features, net.points(features)))
    return torch.cat(found)


def fitted(true: Tensor, wrong: Tensor, others: Tensor) -> dict[str, Any]:
    """Bias and coefficients of the criterion, for a JSON file.

    Args:
        true, wrong: Features [N, K] of well-formed and of malformed faces.
        others: Features of other well-formed faces; :data:`MALFORMED` of them lie above 0.
    """
    mean, deviation = true.mean(0), true.std(0) + 1e-4
    features = (torch.cat([true, wrong]) - mean) / deviation
    label = torch.cat([torch.zeros(len(true)), torch.ones(len(wrong))])
    weight = torch.zeros(true.shape[1], requires_grad=True)
    bias = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(features @ weight + bias, label)
        loss = loss + _DECAY * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    coefficients = [float(f"{x:.4g}") for x in (weight.detach() / deviation).tolist()]
    limit = (others @ torch.tensor(coefficients)).quantile(1 - MALFORMED)
    return {"bias": round(-float(limit), 4), "coefficients": coefficients}

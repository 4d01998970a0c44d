"""Metrics of expressions, and of other people's identities that leak into an image."""

from __future__ import annotations

import torch
from torch import Tensor

from .metrics import Report

VISIBLE = 0.7
"""A blendshape counts as visible where images that show it are read with this correlation."""
_STILL = 1e-6
_ONE_SIDED = 1.645


def correlations(read: Tensor, target: Tensor) -> Tensor:
    """Over N cases, of each blendshape [51]: readings [N, 51] with targets [N, 51].

    NaN for a blendshape that is the same in all cases; 0 where only its reading is.
    """
    a, b = (x.double() - x.double().mean(0) for x in (read, target))
    spread = a.square().sum(0).sqrt() * b.square().sum(0).sqrt()
    found = (a * b).sum(0) / spread.clamp(min=1e-12)
    found = torch.where(a.abs().amax(0) > _STILL, found, 0.0)
    return torch.where(b.abs().amax(0) > _STILL, found, torch.nan)


def visible_blendshapes(read: Tensor, target: Tensor) -> Tensor:
    """Which blendshapes [51] are read well from images that show the targets."""
    return correlations(read, target) >= VISIBLE


def expression_metrics(read: Tensor, target: Tensor, visible: Tensor) -> Report:
    """How well the readings of images [N, 51] match their targets [N, 51].

    Returns:
        correlation: Mean over the visible blendshapes of the correlation over the cases.
        correlation_all: The same over all that differ between the cases.
        error: Mean absolute error of the visible ones.
    """
    each = correlations(read, target)
    return {
        "correlation": float(each[visible].nanmean()),
        "correlation_all": float(each.nanmean()),
        "error": float((read - target)[:, visible].abs().double().mean()),
    }


def leak_metrics(
    shown: Tensor, true: Tensor, gallery: Tensor, owners: Tensor, hosts: Tensor
) -> Report:
    """How much images resemble those who should not be in them.

    Two strangers resemble each other more or less by nature. What leaks is what an image has more
    of it than the true render of the same person, in which nothing can.

    Args:
        shown: Identities of N images [N, D], unit norm; image i shows person i % P of round
            i // P.
        true: The same of the true renders.
        gallery: Identities of the references [R, P, D].
        owners, hosts: [N], whose expression it is, and who was in the scene.

    Returns:
        expression_owner, scene: Mean similarity to them.
        expression_owner_ceiling, scene_ceiling: Of the true renders.
        expression_owner_chance, scene_chance: Up to here (95 %) images in which nothing leaks
            come by chance: the true renders' mean, and 1.645 standard errors of the difference.
        stranger: To those who have nothing to do with the image.
    """
    people = gallery.shape[1]
    number = torch.arange(len(shown))
    similar, natural = (
        torch.einsum("nd,npd->np", identities, gallery[number // people]).double()
        for identities in (shown, true)
    )
    report = {}
    strange = torch.ones_like(similar, dtype=torch.bool)
    strange[number, number % people] = False
    for name, party in (("expression_owner", owners), ("scene", hosts)):
        strange[number, party] = False
        here, there = similar[number, party], natural[number, party]
        error = float((here - there).std()) / len(shown) ** 0.5
        report[name] = float(here.mean())
        report[f"{name}_ceiling"] = float(there.mean())
        report[f"{name}_chance"] = float(there.mean()) + _ONE_SIDED * error
    return report | {"stranger": float(similar[strange].mean())}

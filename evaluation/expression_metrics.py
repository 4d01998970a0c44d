"""Metrics of expressions, and of identity leaks into an image."""

from __future__ import annotations

import torch
from torch import Tensor

from .metrics import Report

VISIBLE = 0.7
"""A blendshape counts as visible if readings of images that show it correlate this well."""
_STILL = 1e-6
_ONE_SIDED = 1.645


def correlations(read: Tensor, target: Tensor) -> Tensor:
    """Correlation over N cases of each blendshape [51]: readings [N, 51] and targets [N, 51].

    NaN for a blendshape whose target is constant; 0 where only its reading is.
    """
    a, b = (x.double() - x.double().mean(0) for x in (read, target))
    norms = a.square().sum(0).sqrt() * b.square().sum(0).sqrt()
    found = (a * b).sum(0) / norms.clamp(min=1e-12)
    found = torch.where(a.abs().amax(0) > _STILL, found, 0.0)
    return torch.where(b.abs().amax(0) > _STILL, found, torch.nan)


def visible_blendshapes(read: Tensor, target: Tensor) -> Tensor:
    """Which blendshapes [51] are visible in images that show the targets."""
    return correlations(read, target) >= VISIBLE


def expression_metrics(read: Tensor, target: Tensor, visible: Tensor) -> Report:
    """How well the readings from images [N, 51] match their targets [N, 51].

    Returns:
        correlation: Correlation over the cases, averaged over the visible blendshapes.
        correlation_all: The same over all that vary.
        error: Mean absolute error over the visible ones.
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
    """How much images resemble people who should not be in them.

    Any two people are somewhat alike, so a leak is a similarity above that of the true render of
    the same person, into which nothing can leak.

    Args:
        shown: Identities of N images [N, D], unit norm; image i shows person i % P of round
            i // P.
        true: Those of the true renders.
        gallery: Identities of the references [R, P, D].
        owners, hosts: [N], the people who provided the expression and the scene.

    Returns:
        expression_owner, scene: Mean similarity to them.
        expression_owner_ceiling, scene_ceiling: Of the true renders.
        expression_owner_chance, scene_chance: Without a leak, values up to this occur by chance
            (95 %): the true renders' mean plus 1.645 standard errors of the difference.
        stranger: Mean similarity to everyone else.
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

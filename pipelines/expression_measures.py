"""What is measured on expressions, and on who else can be seen in a face."""

from __future__ import annotations

import torch
from torch import Tensor

from .measures import Report

VISIBLE = 0.7
"""A blendshape counts as visible where pictures that show it are read with this correlation."""
_STILL = 1e-6
_ONE_SIDED = 1.645


def correlations(read: Tensor, wanted: Tensor) -> Tensor:
    """Over N cases, of each blendshape [51]: readings [N, 51] with wanted values [N, 51].

    NaN for a blendshape that is the same in all cases; 0 where only its reading is.
    """
    a, b = (x.double() - x.double().mean(0) for x in (read, wanted))
    spread = a.square().sum(0).sqrt() * b.square().sum(0).sqrt()
    found = (a * b).sum(0) / spread.clamp(min=1e-12)
    found = torch.where(a.abs().amax(0) > _STILL, found, 0.0)
    return torch.where(b.abs().amax(0) > _STILL, found, torch.nan)


def visible_blendshapes(read: Tensor, wanted: Tensor) -> Tensor:
    """Which blendshapes [51] are read well from pictures that show what is wanted."""
    return correlations(read, wanted) >= VISIBLE


def expression_measures(read: Tensor, wanted: Tensor, visible: Tensor) -> Report:
    """How well wanted values [N, 51] are read from pictures [N, 51].

    Returns:
        correlation: Mean over the visible blendshapes of the correlation over the cases.
        correlation_all: The same over all that differ between the cases.
        error: Mean absolute error of the visible ones.
    """
    each = correlations(read, wanted)
    return {
        "correlation": float(each[visible].nanmean()),
        "correlation_all": float(each.nanmean()),
        "error": float((read - wanted)[:, visible].abs().double().mean()),
    }


def leak_measures(shown: Tensor, crowd: Tensor, owners: Tensor, hosts: Tensor) -> Report:
    """How much pictures resemble those who should not be in them.

    Args:
        shown: Identities of the pictures [N, D], unit norm; picture i shows person i % P of round
            i // P.
        crowd: Identities of the references [R, P, D].
        owners, hosts: [N], whose expression it is, and who was in the scene.

    Returns:
        expression_owner, scene: Mean similarity to them.
        stranger: To those who have nothing to do with the picture.
        chance: Up to here (95 %) a mean over N pictures comes if each is compared with one stranger
            only, as it is with the owner and with the host.
    """
    people = crowd.shape[1]
    number = torch.arange(len(shown))
    similar = torch.einsum("nd,npd->np", shown, crowd[number // people]).double()
    strange = torch.ones_like(similar, dtype=torch.bool)
    for party in (number % people, owners, hosts):
        strange[number, party] = False
    strangers = similar[strange]
    return {
        "expression_owner": float(similar[number, owners].mean()),
        "scene": float(similar[number, hosts].mean()),
        "stranger": float(strangers.mean()),
        "chance": float(strangers.mean() + _ONE_SIDED * strangers.std() / len(shown) ** 0.5),
    }

"""Midpoint estimate of the clean image: what a face loss can look at while training.

The one-step estimate ``x0 = x - sigma * eps`` is the mean of all images that fit, blurred at high
noise and outside of what a face recogniser knows. A few deterministic steps down the noise (DDIM)
end at a sharp one. DiffSwap takes two, over half the time step; DiffSFSR "improves" this by a
formula that is not public. **The default here, nodes even in log sigma, is this pack's own
reading** (``docs/sfsr.md``).

Everything is in terms of ``x = x0 + sigma * noise`` and a denoiser ``D(x, sigma) -> x0``;
:func:`denoiser` makes one of a network that predicts noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError

GEOMETRIC, HALF_T, SIGMA_HALF = "geometric", "half_t", "sigma_half"
RULES = (GEOMETRIC, HALF_T, SIGMA_HALF)
"""On which scale nodes are evenly spaced: the logarithm of sigma, the time step, or sigma."""
MOST_NODES = 4

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(x [B, ...], sigma [B]) -> x0 [B, ...]."""


@dataclass(frozen=True, eq=False)
class NoiseLevels:
    """Between time steps and noise: sigmas [T] of t = 0..T-1, ascending; in between log-linear."""

    sigmas: Tensor

    def __post_init__(self) -> None:
        """Check that the levels rise."""
        if self.sigmas.ndim != 1 or not bool((self.sigmas.diff() > 0).all() & (self.sigmas[0] > 0)):
            raise InputError(
                "noise levels have to be positive and to rise",
                fix="Give sigma of every time step, from the first to the last",
            )

    @classmethod
    def from_alphas(cls, alphas: Tensor) -> NoiseLevels:
        """Of a diffusion's cumulated alphas [T]: sigma = sqrt((1 - alpha) / alpha)."""
        alphas = alphas.double()
        return cls(((1 - alphas) / alphas).sqrt())

    @property
    def lowest(self) -> Tensor:
        """Sigma of t = 0."""
        return self.sigmas[0]

    def sigma_of(self, t: Tensor) -> Tensor:
        """Noise at time steps, whole or not, within 0..T-1."""
        logs = self.sigmas.log().to(t)
        t = t.clamp(0, len(logs) - 1)
        low = t.floor().long()
        high = t.ceil().long()
        return torch.lerp(logs[low], logs[high], t - low).exp()

    def t_of(self, sigma: Tensor) -> Tensor:
        """Time steps of noise, between whole ones too; beyond the ends the first or the last."""
        logs = self.sigmas.log().to(sigma)
        wanted = sigma.log()
        high = torch.searchsorted(logs, wanted.contiguous()).clamp(1, len(logs) - 1)
        low = high - 1
        share = (wanted - logs[low]) / (logs[high] - logs[low])
        return (low + share).clamp(0, len(logs) - 1)


def between(
    start: Tensor, end: Tensor, share: float, rule: str, levels: NoiseLevels | None
) -> Tensor:
    """The noise level at a share 0..1 of the way from ``start`` to ``end``, on the rule's scale.

    Raises:
        InputError: The rule is unknown, or ``half_t`` is asked for without noise levels.
    """
    if rule == GEOMETRIC:
        return start.log().lerp(end.log(), share).exp()
    if rule == SIGMA_HALF:
        return start.lerp(end, share)
    if rule == HALF_T and levels is not None:
        node = levels.sigma_of(levels.t_of(start).lerp(levels.t_of(end), share))
        # Beyond the model's own levels there is no time; the node stays on its way all the same.
        return torch.minimum(torch.maximum(node, end), start)
    if rule == HALF_T:
        raise InputError(
            "the rule half_t needs a model with time steps",
            fix="Use geometric or sigma_half",
        )
    raise InputError(f"the node rule {rule!r} is unknown", fix=f"Use one of {', '.join(RULES)}")


def midpoint_estimate(
    denoise: Denoiser,
    x: Tensor,
    sigma: Tensor,
    levels: NoiseLevels,
    *,
    nodes: int = 2,
    rule: str = GEOMETRIC,
    blend: float = 0.0,
    last_only: bool = True,
) -> Tensor:
    """Estimate x0 [B, ...] by ``nodes`` evaluations of the denoiser.

    The noise is taken away in deterministic steps, x_{k+1} = D + (s_{k+1} / s_k) (x_k - D) with
    D = D(x_k, s_k), and the last D is the answer. The nodes s_k lie at shares k / nodes of the way
    from ``sigma`` to the lowest level (``geometric``) or to zero (the others). Never a Runge-Kutta
    step to sigma = 0: it diverges.

    Args:
        x: [B, ...] = x0 + sigma * noise.
        sigma: [B], above the lowest level; items at it or below get the one-step estimate.
        nodes: 1 (the one-step estimate) to 4.
        rule: One of :data:`RULES`.
        blend: 0..1, share of the one-step estimate in the answer; costs no evaluation.
        last_only: Gradients flow through the last evaluation only; the memory of one evaluation.

    Raises:
        InputError: A choice is unknown or out of range.
    """
    if not 1 <= nodes <= MOST_NODES:
        raise InputError(f"{nodes} nodes", fix=f"Give 1 to {MOST_NODES}")
    if not 0 <= blend <= 1:
        raise InputError(f"the blend is {blend:g}", fix="Give a number from 0 to 1")
    places = estimate_nodes(sigma, levels, nodes, rule)
    found: list[Tensor] = []
    for k, here in enumerate(places):
        last = k == len(places) - 1
        # A blended one-step estimate is part of the answer and keeps its gradient.
        flows = last or not last_only or (k == 0 and blend > 0)
        with torch.set_grad_enabled(flows and torch.is_grad_enabled()):
            found.append(denoise(x, here))
        if not last:
            kept = found[-1].detach() if last_only else found[-1]
            ratio = (places[k + 1] / here).to(x).reshape(-1, *[1] * (x.ndim - 1))
            x = kept + ratio * (x - kept)
    return torch.lerp(found[-1], found[0], blend) if blend else found[-1]


def estimate_nodes(sigma: Tensor, levels: NoiseLevels, nodes: int, rule: str) -> list[Tensor]:
    """The noise levels [B] at which :func:`midpoint_estimate` asks, the first being ``sigma``."""
    lowest = levels.lowest.to(sigma)
    end = lowest.expand_as(sigma) if rule == GEOMETRIC else torch.zeros_like(sigma)
    places = [sigma]
    for k in range(1, nodes):
        place = between(sigma, end, k / nodes, rule, levels)
        places.append(torch.minimum(place.clamp(min=lowest), sigma))
    return places


def denoiser(eps: Callable[[Tensor, Tensor], Tensor], levels: NoiseLevels) -> Denoiser:
    """``D`` of a network ``eps(z_t, t)`` with z_t = sqrt(alpha) x0 + sqrt(1 - alpha) noise.

    t goes to it as a fraction where a node lies between two time steps.
    """

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        wide = sigma.to(x).reshape(-1, *[1] * (x.ndim - 1))
        return x - wide * eps(x / (1 + wide**2).sqrt(), levels.t_of(sigma).to(x))

    return denoise

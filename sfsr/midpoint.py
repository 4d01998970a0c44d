"""Midpoint estimate of the clean image, as input of face losses in training.

The one-step estimate ``x0 = x - sigma * eps`` is the posterior mean: at high noise it is blurred,
and face recognisers were not trained on blurred faces. A few deterministic DDIM steps give a sharp
image. DiffSwap takes two, at t and t / 2; DiffSFSR "improves" this by a formula that is not public.
**The default here, nodes evenly spaced in log sigma, is this pack's own** (``docs/sfsr.md``).

Everything is in terms of ``x = x0 + sigma * noise`` and a denoiser ``D(x, sigma) -> x0``;
:func:`denoiser` makes one from a network that predicts noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError

GEOMETRIC, HALF_T, SIGMA_HALF = "geometric", "half_t", "sigma_half"
RULES = (GEOMETRIC, HALF_T, SIGMA_HALF)
"""The nodes are evenly spaced in log sigma, in the timestep, or in sigma."""
MAX_NODES = 4

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(x [B, ...], sigma [B]) -> x0 [B, ...]."""


@dataclass(frozen=True, eq=False)
class NoiseLevels:
    """Sigmas [T] of the timesteps 0..T-1, ascending; interpolated linearly in log sigma."""

    sigmas: Tensor

    def __post_init__(self) -> None:
        """Check that the levels are ascending."""
        if self.sigmas.ndim != 1 or not bool((self.sigmas.diff() > 0).all() & (self.sigmas[0] > 0)):
            raise InputError(
                "noise levels must be positive and ascending",
                fix="Give the sigma of every timestep, from the first to the last",
            )

    @classmethod
    def from_alphas(cls, alphas: Tensor) -> NoiseLevels:
        """From cumulative alphas [T]: sigma = sqrt((1 - alpha) / alpha)."""
        alphas = alphas.double()
        return cls(((1 - alphas) / alphas).sqrt())

    @property
    def lowest(self) -> Tensor:
        """Sigma of t = 0."""
        return self.sigmas[0]

    def sigma_of(self, t: Tensor) -> Tensor:
        """Sigmas of timesteps, which may be fractional, clamped to 0..T-1."""
        logs = self.sigmas.log().to(t)
        t = t.clamp(0, len(logs) - 1)
        low = t.floor().long()
        high = t.ceil().long()
        return torch.lerp(logs[low], logs[high], t - low).exp()

    def t_of(self, sigma: Tensor) -> Tensor:
        """Timesteps of sigmas, possibly fractional, clamped to 0..T-1."""
        logs = self.sigmas.log().to(sigma)
        log_sigma = sigma.log()
        high = torch.searchsorted(logs, log_sigma.contiguous()).clamp(1, len(logs) - 1)
        low = high - 1
        fraction = (log_sigma - logs[low]) / (logs[high] - logs[low])
        return (low + fraction).clamp(0, len(logs) - 1)


def interpolate_sigma(
    start: Tensor, end: Tensor, fraction: float, rule: str, levels: NoiseLevels | None
) -> Tensor:
    """The sigma at a fraction 0..1 of the way from ``start`` to ``end``, on the rule's scale.

    Raises:
        InputError: The rule is unknown, or ``half_t`` has no noise levels.
    """
    if rule == GEOMETRIC:
        return start.log().lerp(end.log(), fraction).exp()
    if rule == SIGMA_HALF:
        return start.lerp(end, fraction)
    if rule == HALF_T and levels is not None:
        node = levels.sigma_of(levels.t_of(start).lerp(levels.t_of(end), fraction))
        # Beyond the model's noise levels timesteps are clamped; keep the node in its interval.
        return torch.minimum(torch.maximum(node, end), start)
    if rule == HALF_T:
        raise InputError(
            "the rule half_t needs a model with timesteps",
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
    """Estimate x0 [B, ...] with ``nodes`` evaluations of the denoiser.

    The steps are deterministic, x_{k+1} = D + (s_{k+1} / s_k) (x_k - D) with D = D(x_k, s_k), and
    the last D is the estimate. The nodes s_k lie at fractions k / nodes of the way from ``sigma``
    to the lowest level (``geometric``) or to zero (the others). There is no Runge-Kutta step to
    sigma = 0, which diverges.

    Args:
        denoise: The denoiser.
        x: [B, ...] = x0 + sigma * noise.
        sigma: [B]; items at or below the lowest level get the one-step estimate.
        levels: The model's noise levels.
        nodes: 1 (the one-step estimate) to 4.
        rule: One of :data:`RULES`.
        blend: 0..1, weight of the one-step estimate in the result; costs no evaluation.
        last_only: Gradients flow through the last evaluation only, with the memory of one.

    Raises:
        InputError: A value is unknown or out of range.
    """
    if not 1 <= nodes <= MAX_NODES:
        raise InputError(f"the number of nodes is {nodes}", fix=f"Give 1 to {MAX_NODES}")
    if not 0 <= blend <= 1:
        raise InputError(f"the blend is {blend:g}", fix="Give a number from 0 to 1")
    sigmas = node_sigmas(sigma, levels, nodes, rule)
    estimates: list[Tensor] = []
    for k, here in enumerate(sigmas):
        last = k == len(sigmas) - 1
        # A blended one-step estimate is part of the result and keeps its gradient.
        flows = last or not last_only or (k == 0 and blend > 0)
        with torch.set_grad_enabled(flows and torch.is_grad_enabled()):
            estimates.append(denoise(x, here))
        if not last:
            kept = estimates[-1].detach() if last_only else estimates[-1]
            ratio = (sigmas[k + 1] / here).to(x).reshape(-1, *[1] * (x.ndim - 1))
            x = kept + ratio * (x - kept)
    return torch.lerp(estimates[-1], estimates[0], blend) if blend else estimates[-1]


def node_sigmas(sigma: Tensor, levels: NoiseLevels, nodes: int, rule: str) -> list[Tensor]:
    """Sigmas [B] of the evaluations of :func:`midpoint_estimate`, ``sigma`` first."""
    lowest = levels.lowest.to(sigma)
    end = lowest.expand_as(sigma) if rule == GEOMETRIC else torch.zeros_like(sigma)
    sigmas = [sigma]
    for k in range(1, nodes):
        node = interpolate_sigma(sigma, end, k / nodes, rule, levels)
        sigmas.append(torch.minimum(node.clamp(min=lowest), sigma))
    return sigmas


def denoiser(eps: Callable[[Tensor, Tensor], Tensor], levels: NoiseLevels) -> Denoiser:
    """The denoiser of a network ``eps(z_t, t)`` with z_t = sqrt(alpha) x0 + sqrt(1 - alpha) noise.

    t is fractional where a node lies between two timesteps.
    """

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        scale = sigma.to(x).reshape(-1, *[1] * (x.ndim - 1))
        return x - scale * eps(x / (1 + scale**2).sqrt(), levels.t_of(sigma).to(x))

    return denoise

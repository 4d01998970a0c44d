"""A midpoint-method sampler in k-diffusion's calling convention.

Each step evaluates the model at its start and at a node in between, and takes the whole step with
the second result. With the node at the middle in log sigma and an Euler step to zero this is
DPM-Solver-2, identical to ComfyUI's ``dpm_2``. It is this pack's interpretation of DiffSFSR's
"improved midpoint sampling" (``docs/sfsr.md``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from .midpoint import GEOMETRIC, MAX_NODES, NoiseLevels, interpolate_sigma

Progress = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class MidpointSettings:
    """Settings of the midpoint sampler.

    rule: Position of the node in a step, one of ``midpoint.RULES``.
    switch: 0..1, the fraction of steps, from the first, that are Euler steps with one evaluation.
    finish_nodes: Evaluations of a last step to sigma 0: 1 is an Euler step, 2 to 4 a
        ``midpoint_estimate`` with nodes evenly spaced in log sigma.

    Raises:
        InputError: A number is out of range (the rule is checked where it is used).
    """

    rule: str = GEOMETRIC
    switch: float = 0.0
    finish_nodes: int = 1

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 <= self.switch <= 1:
            raise InputError(f"the switch is {self.switch:g}", fix="Give a fraction from 0 to 1")
        if not 1 <= self.finish_nodes <= MAX_NODES:
            raise InputError(
                f"the number of finish nodes is {self.finish_nodes}", fix=f"Give 1 to {MAX_NODES}"
            )


def evaluations(
    sigmas: Tensor, settings: MidpointSettings, levels: NoiseLevels | None = None
) -> int:
    """Number of model evaluations of :func:`sample_midpoint`.

    Args:
        sigmas: [S + 1], descending.
        settings: The settings.
        levels: As in :func:`sample_midpoint`; a finish from the lowest level has only one node.
    """
    steps = len(sigmas) - 1
    return sum(
        len(_finish_nodes(sigmas[i], settings, levels))
        if float(sigmas[i + 1]) == 0
        else 1 + _with_midpoint(i, steps, settings)
        for i in range(steps)
    )


@torch.no_grad()
def sample_midpoint(
    model: Callable[..., Tensor],
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Progress | None = None,
    disable: bool | None = None,
    *,
    settings: MidpointSettings | None = None,
    levels: NoiseLevels | None = None,
) -> Tensor:
    """Sample x [B, ...] from ``sigmas[0]`` down to ``sigmas[-1]``.

    Args:
        model: ``(x, sigma [B], **extra_args) -> x0``, including masks and guidance.
        x: [B, ...], noise of level ``sigmas[0]`` on the initial latent.
        sigmas: [S + 1], descending; a final 0 gives a clean result.
        extra_args: Keyword arguments for the model.
        callback: Called in every step with ``x, i, sigma, sigma_hat, denoised``; an exception ends
            the run.
        disable: Part of the convention, unused: nothing is printed.
        settings: The settings.
        levels: The model's noise levels, for ``half_t`` and the end of a finish with several nodes;
            without them a finish ends at a tenth of its start.

    Raises:
        InputError: The rule is unknown, or ``half_t`` without levels.
    """
    settings = settings or MidpointSettings()
    extra = extra_args or {}
    batch = x.new_ones([x.shape[0]])
    steps = len(sigmas) - 1
    for i in range(steps):
        here, there = sigmas[i], sigmas[i + 1]
        clean = model(x, here * batch, **extra)
        # The order of operations matters: results must equal dpm_2 exactly.
        slope = _slope(x, clean, here)
        if callback is not None:
            callback({"x": x, "i": i, "sigma": here, "sigma_hat": here, "denoised": clean})
        if there == 0:
            for node in _finish_nodes(here, settings, levels)[1:]:
                x = x + slope * (node - here)
                here = node
                slope = _slope(x, model(x, here * batch, **extra), here)
            x = x + slope * (there - here)
        elif _with_midpoint(i, steps, settings):
            node = interpolate_sigma(here, there, 0.5, settings.rule, levels)
            halfway = x + slope * (node - here)
            clean = model(halfway, node * batch, **extra)
            x = x + _slope(halfway, clean, node) * (there - here)
        else:
            x = x + slope * (there - here)
    return x


def _slope(x: Tensor, clean: Tensor, sigma: Tensor) -> Tensor:
    return (x - clean) / sigma.reshape([1] * x.ndim)


def _with_midpoint(i: int, steps: int, settings: MidpointSettings) -> bool:
    return i >= round(settings.switch * steps)


def _finish_nodes(
    sigma: Tensor, settings: MidpointSettings, levels: NoiseLevels | None
) -> list[Tensor]:
    """Descending sigmas of the last step; only its own close to the lowest level."""
    end = sigma / 10 if levels is None else levels.lowest.to(sigma)
    # Less than a tenth above the lowest level the nodes would nearly coincide.
    if settings.finish_nodes == 1 or sigma < 1.1 * end:
        return [sigma]
    count = settings.finish_nodes
    return [
        sigma,
        *(interpolate_sigma(sigma, end, k / count, GEOMETRIC, None) for k in range(1, count)),
    ]

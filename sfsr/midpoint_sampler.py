"""Sampling with a midpoint in every step, in k-diffusion's calling convention.

A step asks the model twice: once where it stands, once in between, and goes the whole way with the
second answer (midpoint method). With the node even in log sigma and an Euler step to zero this is
DPM-Solver-2, the host's ``dpm_2``, bit for bit. That DiffSFSR's "improved midpoint sampling" is
something like it is this pack's own reading (``docs/sfsr.md``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from .midpoint import GEOMETRIC, MOST_NODES, NoiseLevels, between

Progress = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class MidpointChoice:
    """How to sample.

    rule: Where the node of a step lies, one of ``midpoint.RULES``.
    switch: 0..1; this share of the steps, the first ones, are Euler steps, of one evaluation.
    finish_nodes: Evaluations of the last step when it goes to sigma 0: 1 is an Euler step, 2 to 4 a
        ``midpoint_estimate`` with nodes even in log sigma.

    Raises:
        InputError: A number is out of range (the rule is checked where it is used).
    """

    rule: str = GEOMETRIC
    switch: float = 0.0
    finish_nodes: int = 1

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not 0 <= self.switch <= 1:
            raise InputError(f"the switch is at {self.switch:g}", fix="Give a share from 0 to 1")
        if not 1 <= self.finish_nodes <= MOST_NODES:
            raise InputError(f"{self.finish_nodes} nodes", fix=f"Give 1 to {MOST_NODES}")


def evaluations(sigmas: Tensor, choice: MidpointChoice, levels: NoiseLevels | None = None) -> int:
    """How often :func:`sample_midpoint` asks the model, exactly.

    Args:
        sigmas: [S + 1], descending.
        levels: The same as there; a finish from the lowest level needs no further nodes.
    """
    steps = len(sigmas) - 1
    return sum(
        len(_finish_nodes(sigmas[i], choice, levels))
        if float(sigmas[i + 1]) == 0
        else 1 + _with_midpoint(i, steps, choice)
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
    choice: MidpointChoice | None = None,
    levels: NoiseLevels | None = None,
) -> Tensor:
    """Sample x [B, ...] from ``sigmas[0]`` down to ``sigmas[-1]``.

    Args:
        model: ``(x, sigma [B], **extra_args) -> x0``. Masks and guidance are its affair.
        sigmas: [S + 1], descending; a last 0 ends without noise.
        extra_args: For the model.
        callback: Told of every step before it is gone: ``x, i, sigma, sigma_hat, denoised``; what
            it raises ends the run.
        disable: Part of the convention; nothing is printed here.
        choice: How to sample.
        levels: The model's, for ``half_t``, and the end of a finish with nodes; without them a
            finish ends at a tenth of its start.

    Raises:
        InputError: The rule is unknown, or ``half_t`` without levels.
    """
    choice = choice or MidpointChoice()
    extra = extra_args or {}
    batch = x.new_ones([x.shape[0]])
    steps = len(sigmas) - 1
    for i in range(steps):
        here, there = sigmas[i], sigmas[i + 1]
        clean = model(x, here * batch, **extra)
        # In this order and these groups: the results are dpm_2's to the last bit.
        slope = _slope(x, clean, here)
        if callback is not None:
            callback({"x": x, "i": i, "sigma": here, "sigma_hat": here, "denoised": clean})
        if there == 0:
            for node in _finish_nodes(here, choice, levels)[1:]:
                x = x + slope * (node - here)
                here = node
                slope = _slope(x, model(x, here * batch, **extra), here)
            x = x + slope * (there - here)
        elif _with_midpoint(i, steps, choice):
            node = between(here, there, 0.5, choice.rule, levels)
            halfway = x + slope * (node - here)
            clean = model(halfway, node * batch, **extra)
            x = x + _slope(halfway, clean, node) * (there - here)
        else:
            x = x + slope * (there - here)
    return x


def _slope(x: Tensor, clean: Tensor, sigma: Tensor) -> Tensor:
    return (x - clean) / sigma.reshape([1] * x.ndim)


def _with_midpoint(i: int, steps: int, choice: MidpointChoice) -> bool:
    return i >= round(choice.switch * steps)


def _finish_nodes(
    sigma: Tensor, choice: MidpointChoice, levels: NoiseLevels | None
) -> list[Tensor]:
    """Noise levels of the last step, falling; its own alone when there is no room below it."""
    end = sigma / 10 if levels is None else levels.lowest.to(sigma)
    # Less than a tenth above the lowest level, nodes would all ask the same.
    if choice.finish_nodes == 1 or sigma < 1.1 * end:
        return [sigma]
    count = choice.finish_nodes
    return [sigma, *(between(sigma, end, k / count, GEOMETRIC, None) for k in range(1, count))]

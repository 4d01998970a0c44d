"""Latent-space blending as a SAMPLER of the host.

The host's own noise mask does the same with one noise for all steps (``SetLatentNoiseMask`` and
any sampler). This sampler follows the release: DDIM with fresh background noise in every step,
computed by ``dense_face.blending``. The mask is the latent's noise mask.

The host samples y = x / sqrt(alpha) at sigma = sqrt((1 - alpha) / alpha); the blending works on x.
Host objects used: ``samplers.KSAMPLER`` and the attributes of its inpaint model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import comfy.model_sampling
import comfy.samplers
import torch
from torch import Tensor

from ....dense_face.blending import Draw, Step, blended_ddim, gaussian
from ....dense_face.schedule import DDIMSchedule, schedule_of
from ....errors import IncompatibleError

_REDRAWN_ABOVE = 0.25
"""A cell of a hard mask is redrawn above this value; the release keeps it from 0.75 on."""


@dataclass(frozen=True)
class Blending:
    """Choices of the blended sampler; the defaults are the pack's, ``released()`` the release's.

    eta: Fraction of fresh noise in each DDIM step.
    fresh_noise: New background noise in each step, instead of one for all.
    start_from_base: Start from the noised base instead of from noise alone.
    clean_end: End without noise and put the clean base back once more.
    hard_mask: Redraw each cell of the latent either wholly or not at all, instead of mixing.
    """

    eta: float = 1.0
    fresh_noise: bool = True
    start_from_base: bool = True
    clean_end: bool = True
    hard_mask: bool = False


def blended_sampler(blending: Blending) -> Any:
    """A SAMPLER for the core custom-sampling nodes."""
    return comfy.samplers.KSAMPLER(sample_blended, {"blending": blending})


@torch.no_grad()
def sample_blended(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callable[[dict[str, Any]], None] | None = None,
    disable: bool | None = None,
    *,
    blending: Blending,
    draw: Draw | None = None,
) -> Tensor:
    """k-diffusion's sampler signature around ``blended_ddim``.

    Args:
        model: The host's inpaint model (``KSamplerX0Inpaint``): (y, sigma) -> clean latent.
        x: Start [B, 4, h, w] as the host noised it.
        sigmas: [S + 1], descending.
        draw: Source of noise after the host's own; from the seed if left out.
    """
    if len(sigmas) < 2:
        return x
    whole = float(sigmas[-1]) == 0
    extra = {**(extra_args or {}), "denoise_mask": None}
    mask = (extra_args or {}).get("denoise_mask")
    base = model.latent_image
    end = torch.ones(1) if whole and blending.clean_end else _alpha(_last(model, sigmas))
    schedule = _schedule(model, sigmas, end, blending.eta)
    shape = tuple(x.shape)
    noises = _noises(model.noise, draw or _seeded(shape, extra.get("seed"), x))
    final = blended_ddim(
        _eps(model, sigmas, extra),
        base,
        None if mask is None else _one_channel(mask, blending.hard_mask),
        schedule,
        lambda: next(noises),
        start=None if blending.start_from_base else x * _alpha(sigmas[:1]).sqrt().to(x),
        fixed_noise=not blending.fresh_noise,
        final_blend=whole and blending.clean_end,
        callback=None if callback is None else _reported(callback, sigmas),
    )
    # A sampling that stops early returns its noisy latent in the host's scale.
    return final if whole else final / end.sqrt().to(final)


def _alpha(sigma: Tensor) -> Tensor:
    return 1 / (1 + sigma.double().cpu() ** 2)


def _last(model: Any, sigmas: Tensor) -> Tensor:
    """Noise level after the last step: the release ends at t = 0, not at zero noise."""
    if sigmas[-1] > 0:
        return sigmas[-1:]
    return model.inner_model.inner_model.model_sampling.sigmas[:1]


def _schedule(model: Any, sigmas: Tensor, end: Tensor, eta: float) -> DDIMSchedule:
    sampling = model.inner_model.inner_model.model_sampling
    if isinstance(sampling, comfy.model_sampling.CONST):
        raise IncompatibleError(
            "the model is a flow model, which DDIM cannot sample",
            where="Blended DDIM Sampler",
            fix="Use a Stable Diffusion 1.x model, or another sampler with Set Latent Noise Mask",
        )
    levels = sigmas[:-1].flip(0)
    timesteps = sampling.timestep(levels)
    return schedule_of(timesteps.long().cpu(), _alpha(levels), end, eta)


def _eps(model: Any, sigmas: Tensor, extra: dict[str, Any]) -> Callable[[Tensor, Tensor], Tensor]:
    """The host's model as (x, t) -> predicted noise; the levels follow the order of the steps."""
    levels = iter(sigmas[:-1])

    def eps(x: Tensor, _timestep: Tensor) -> Tensor:
        sigma = next(levels)
        y = x * (1 + sigma**2).sqrt()
        clean = model(y, sigma * y.new_ones(y.shape[0]), **extra)
        return (y - clean) / sigma

    return eps


def _one_channel(mask: Tensor, hard: bool) -> Tensor:
    """The host's noise mask [B, C, h, w] as [B, 1, h, w]."""
    mask = mask[:, :1]
    return (mask > _REDRAWN_ABOVE).to(mask) if hard else mask


def _seeded(shape: tuple[int, ...], seed: int | None, like: Tensor) -> Draw:
    # On the CPU, so that a seed gives one image on every device; not the host's own seed, whose
    # first draw is the start.
    source = gaussian(shape, torch.Generator().manual_seed(((seed or 0) + 1) % 2**64))
    return lambda: source().to(like)


def _noises(first: Tensor, draw: Draw) -> Iterator[Tensor]:
    yield first
    while True:
        yield draw()


def _reported(callback: Callable[[dict[str, Any]], None], sigmas: Tensor) -> Callable[[Step], None]:
    """The host's callback for progress, preview and interruption."""

    def report(step: Step) -> None:
        sigma = sigmas[step.index]
        x = step.x
        callback({"i": step.index, "x": x, "denoised": step.x0, "sigma": sigma, "sigma_hat": sigma})

    return report

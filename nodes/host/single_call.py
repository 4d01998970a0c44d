"""One call of a MODEL through the host's own sampling, for what its layers read on the way.

Host objects used: ``CFGGuider``, ``KSAMPLER``.
"""

from __future__ import annotations

from typing import Any

import comfy.model_management as mm
import comfy.samplers
import torch
from torch import Tensor


def positive_guider(model: Any, positive: Any) -> Any:
    """A GUIDER of the prompt's half alone."""
    guider = comfy.samplers.CFGGuider(model)
    guider.inner_set_conds({"positive": positive})
    guider.set_cfg(1.0)
    return guider


def call_once(guider: Any, noise: Tensor, latent: Tensor, sigmas: Tensor, seed: int = 0) -> Tensor:
    """Run a guider's MODEL once on a noisy latent, with all that a sampling prepares.

    Args:
        noise: [B, 4, h, w], unit variance.
        latent: [B, 4, h, w] of the VAE, not scaled.
        sigmas: The noise level, then 0.
    """
    sampler = comfy.samplers.KSAMPLER(_predict_once)
    return guider.sample(noise, latent, sampler, sigmas, disable_pbar=True, seed=seed)


@torch.no_grad()
def _predict_once(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Any = None,
    disable: bool | None = None,
) -> Tensor:
    """A sampler without steps: it runs the model once on the noisy latent."""
    mm.throw_exception_if_processing_interrupted()
    model(x, sigmas[:1].expand(x.shape[0]), **(extra_args or {}))
    return x

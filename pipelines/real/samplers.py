"""Samplers of diffusers by the names that ComfyUI and most interfaces use."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...dense_face.blending import Model
from ...errors import InputError

SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp_2m_karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
}
_OFFSET = {"ddim": 1, "euler": 1, "euler_ancestral": 1}
MOST_STEPS = 1000


def scheduler_of(name: str, steps: int) -> Any:
    """A scheduler of diffusers for Stable Diffusion 1.5 or SDXL, ready for so many steps.

    Raises:
        InputError: An unknown name, or steps out of 1..1000.
    """
    import diffusers

    if name not in SAMPLERS:
        raise InputError(f"the sampler {name!r} is unknown", fix=f"Use {', '.join(SAMPLERS)}")
    if not 1 <= steps <= MOST_STEPS:
        raise InputError(f"{steps} steps", fix=f"Choose 1 to {MOST_STEPS}")
    kind, options = SAMPLERS[name]
    if name in _OFFSET:
        options = {**options, "steps_offset": _OFFSET[name]}
    scheduler = getattr(diffusers, kind)(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, **options
    )
    scheduler.set_timesteps(steps)
    return scheduler


@torch.no_grad()
def run_sampler(
    model: Model,
    scheduler: Any,
    noise: Tensor,
    seed: int,
    scene: Tensor | None = None,
    mask: Tensor | None = None,
    on_step: Callable[[], object] = lambda: None,
) -> Tensor:
    """Clean latents [B, 4, h, w].

    Args:
        model: Predicted noise, guidance included.
        scheduler: Of :func:`scheduler_of`.
        noise: [B, 4, h, w], unit variance.
        seed: Of the fresh noise of ancestral and SDE samplers.
        scene: Clean latents that are kept where ``mask`` is 0; None redraws everything.
        mask: [B or 1, 1, h, w] in 0..1, 1 = redraw.
        on_step: Called after each step.
    """
    more: dict[str, Any] = {}
    if "generator" in inspect.signature(scheduler.step).parameters:
        more["generator"] = torch.Generator().manual_seed(seed)
    x = noise * scheduler.init_noise_sigma
    times = scheduler.timesteps
    for i, t in enumerate(times):
        predicted = model(scheduler.scale_model_input(x, t), t)
        x = scheduler.step(predicted, t, x, **more).prev_sample
        if scene is not None and mask is not None:
            kept = scene
            if i + 1 < len(times):
                kept = scheduler.add_noise(scene, noise, times[i + 1 : i + 2])
            x = mask * x + (1 - mask) * kept
        on_step()
    return x

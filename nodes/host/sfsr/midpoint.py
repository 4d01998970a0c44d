"""The midpoint sampler as a SAMPLER of the host.

Host objects used: ``samplers.KSAMPLER``, and ``sigmas`` of a model's ``model_sampling``.
"""

from __future__ import annotations

from typing import Any

import comfy.samplers
from torch import Tensor

from ....sfsr.midpoint import HALF_T, NoiseLevels
from ....sfsr.midpoint_sampler import MidpointSettings, Progress, evaluations, sample_midpoint


def midpoint_sampler(settings: MidpointSettings) -> Any:
    """A SAMPLER for the core custom-sampling nodes; masks, guidance, previews are the host's."""
    return comfy.samplers.KSAMPLER(_sample, {"settings": settings})


def count_evaluations(sigmas: Tensor, settings: MidpointSettings, model: Any) -> int:
    """Number of model evaluations; 0 if a MODEL is needed to count them and there is none."""
    if model is None and settings.finish_nodes > 1:
        return 0
    sampling = None if model is None else model.get_model_object("model_sampling")
    return evaluations(sigmas, settings, _levels(sampling, settings))


def _sample(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Progress | None = None,
    disable: bool | None = None,
    *,
    settings: MidpointSettings,
) -> Tensor:
    levels = _levels(model.inner_model.inner_model.model_sampling, settings)
    return sample_midpoint(
        model, x, sigmas, extra_args, callback, disable, settings=settings, levels=levels
    )


def _levels(sampling: Any, settings: MidpointSettings) -> NoiseLevels | None:
    """The model's noise levels where the settings need them: not every model has a rising list."""
    if settings.rule != HALF_T and settings.finish_nodes == 1:
        return None
    sigmas = getattr(sampling, "sigmas", None)
    return None if sigmas is None else NoiseLevels(sigmas)

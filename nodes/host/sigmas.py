"""Noise levels at which something acts."""

from __future__ import annotations

from typing import Any


def sigma_range(model: Any, start: float, end: float) -> tuple[float, float]:
    """Highest and lowest sigma of a part of the denoising of a MODEL.

    An empty part gives a highest sigma below the lowest.

    Args:
        start, end: Fractions of the denoising, 0 = pure noise and 1 = finished. The range is open
            at these two: from infinity, and down to 0.
    """
    if start >= end:
        return -1.0, 0.0
    sampling = model.get_model_object("model_sampling")
    high = float("inf") if start <= 0 else float(sampling.percent_to_sigma(start))
    low = 0.0 if end >= 1 else float(sampling.percent_to_sigma(end))
    return high, low

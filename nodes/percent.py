"""The input that says from or until when something acts."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io


def percent(name: str, default: float, does: str) -> Any:
    """FLOAT 0..1, a share of the denoising.

    does: What happens after it ("the face sets in").
    """
    return io.Float.Input(
        name,
        default=default,
        min=0.0,
        max=1.0,
        step=0.001,
        tooltip=f"Share of the denoising after which {does}.",
    )

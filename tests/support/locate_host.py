"""Where this repository, its test data and a ComfyUI checkout are."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARITY = ROOT / "tests" / "data" / "parity"
"""The fixture of the release's own numbers."""


class HostPathError(ValueError):
    """COMFYUI_PATH is set and no ComfyUI is there."""


def find_host() -> Path | None:
    """The checkout at ``COMFYUI_PATH``, else at ``~/ComfyUI``, else None.

    Raises:
        HostPathError: COMFYUI_PATH points to a place without a ComfyUI. A wrong path is never
            taken for "no host": the host tests would be skipped in silence.
    """
    named = os.environ.get("COMFYUI_PATH")
    if named:
        checkout = Path(named).expanduser()
        if not (checkout / "main.py").is_file():
            raise HostPathError(
                f"COMFYUI_PATH points to no ComfyUI ({checkout} has no main.py). "
                "Point it to a ComfyUI checkout or unset it."
            )
        return checkout.resolve()
    checkout = Path.home() / "ComfyUI"
    return checkout.resolve() if (checkout / "main.py").is_file() else None

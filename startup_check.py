"""Whether ComfyUI can load this copy of the pack: its version, and no other copy before it.

When a host loads a pack, its modules are there already: all but its version is only looked up.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import IncompatibleError

FLOOR = (0, 15, 0)
"""``requires-comfyui`` in pyproject.toml."""
ENTRY_POINTS = (0, 3, 48)
"""First ComfyUI that calls ``comfy_entrypoint`` (docs/reference/comfyui.md)."""
_NODE = "DenseFace_LoadTinyWorld"
"""One of our nodes, by which another copy is known."""


def startup_error(own: Path) -> IncompatibleError | None:
    """Why ComfyUI cannot load the copy in the folder ``own``; None if it can, or is not there."""
    mappings = getattr(sys.modules.get("nodes"), "NODE_CLASS_MAPPINGS", None)
    if mappings is None:
        return None
    version = host_version()
    if version < FLOOR:
        return IncompatibleError(
            f"Dense-Face needs ComfyUI {_text(FLOOR)} or newer, "
            f"this is {_text(version) if version else 'an older one'}",
            where=str(own),
            fix="Update ComfyUI",
        )
    other = _loaded_copy(mappings)
    if other is None or other == own:
        return None
    return IncompatibleError(
        f"Dense-Face is installed twice: {other} is in use and {own} is not loaded",
        fix="Remove one of the two folders and restart ComfyUI",
    )


def host_version() -> tuple[int, ...]:
    """ComfyUI's version; empty before 0.3.11, which has none."""
    try:
        from comfyui_version import __version__
    except ImportError:
        return ()
    return tuple(map(int, re.findall(r"\d+", __version__)[:3]))


def _loaded_copy(mappings: Mapping[str, Any]) -> Path | None:
    """Folder of the copy whose nodes ComfyUI has."""
    module: str = getattr(mappings.get(_NODE), "__module__", "")
    file = getattr(sys.modules.get(module.partition(".")[0]), "__file__", None)
    return Path(file).parent if file else None


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))

"""Dense-Face and DiffSFSR for ComfyUI: new images of the same person from one portrait.

ComfyUI loads this folder as a custom node pack; ``pip install -e .`` installs the same code as
``comfyui_dense_face``. Nothing heavy is imported here, to keep ComfyUI's start fast.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfy_api.latest import ComfyExtension

# onnxruntime (it comes with insightface) reports usage unless this is set before its first import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> ComfyExtension:
    """Entry point of ComfyUI; the nodes are imported here so that scripts need no ComfyUI."""
    from .nodes import FacePack

    return FacePack()

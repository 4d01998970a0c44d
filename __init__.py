"""Dense-Face and DiffSFSR for ComfyUI: new images of the same person from one portrait.

ComfyUI loads this folder as a custom node pack; ``pip install -e .`` installs the same code as
``comfyui_dense_face``. Nothing heavy is imported here, to keep ComfyUI's start fast.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from .startup_check import ENTRY_POINTS, host_version, startup_error

if TYPE_CHECKING:
    from comfy_api.latest import ComfyExtension

# onnxruntime (it comes with insightface) reports usage unless this is set before its first import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"

_ERROR = startup_error(Path(__file__).parent)
if _ERROR and host_version() < ENTRY_POINTS:
    logging.getLogger(__name__).error(_ERROR)  # nothing below is called

WEB_DIRECTORY = None if _ERROR else "./web"


async def comfy_entrypoint() -> ComfyExtension:
    """Entry point of ComfyUI; the nodes are imported here so that scripts need no ComfyUI.

    Raises:
        IncompatibleError: ComfyUI is too old, or has loaded another copy; it logs the message.
    """
    if _ERROR:
        raise _ERROR
    from .nodes import FacePack

    return FacePack()

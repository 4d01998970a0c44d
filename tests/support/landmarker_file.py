"""Where MediaPipe's landmarker file is, for tests on photographs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from locate_host import find_host

NAME = "face_landmarker_v2_with_blendshapes.task"


def landmarker_file() -> Path:
    """The file at DENSEFACE_TASK_FILE, else in the host's models/dense_face; skips without it."""
    pytest.importorskip("cv2")
    if named := os.environ.get("DENSEFACE_TASK_FILE"):
        return Path(named)  # a wrong path must fail and not skip
    host = find_host()
    path = None if host is None else host / "models" / "dense_face" / NAME
    if path is None or not path.is_file():
        pytest.skip(f"no {NAME} at DENSEFACE_TASK_FILE or in ComfyUI's models/dense_face")
    return path

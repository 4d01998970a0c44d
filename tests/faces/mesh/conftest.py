"""The landmark file's canonical face."""

from __future__ import annotations

import pytest
from comfyui_dense_face.faces.mediapipe.task_file import read_geometry
from comfyui_dense_face.faces.mesh.rig import FaceRig, face_rig
from landmarker_file import landmarker_file


@pytest.fixture(scope="session")
def rig() -> FaceRig:
    return face_rig(read_geometry(landmarker_file()))

"""Time of drawing a face mesh by numbers."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ..commands.faces import TASK_FILE_VARIABLE
from ..faces.face import HeadPose
from ..faces.mediapipe.task_file import read_geometry
from ..faces.mesh.hint import draw_meshes
from ..faces.mesh.make import make_face
from ..faces.mesh.rig import face_rig
from .result import Result, seconds

_RUNS, _DRAWINGS = 9, 20
_SIZE, _BOX = (512, 512), (128.0, 128.0, 384.0, 384.0)


def face_mesh() -> Iterator[Result]:
    """One face at 512 px with pose and expression; skipped without the landmarker file."""
    path = os.environ.get(TASK_FILE_VARIABLE)
    if not path:
        print(f"face mesh skipped: {TASK_FILE_VARIABLE} names no file")
        return

    def drawings() -> None:
        for number in range(_DRAWINGS):
            rig = face_rig(read_geometry(path))
            values = {"jawOpen": number / _DRAWINGS, "mouthSmileLeft": 0.5}
            made = make_face(rig, HeadPose(2.0 * number, 10.0, 5.0), _SIZE, _BOX, values=values)
            draw_meshes([made.face.landmarks], _SIZE)

    times = [1000 * each / _DRAWINGS for each in seconds(drawings, runs=_RUNS)]
    yield Result.of("face mesh: one drawing at 512 px", times, "ms", 10)

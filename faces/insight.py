"""InsightFace (version 2 or newer) as an analyzer of faces: detection, five points, identity, pose.

It is imported only when it is used, always from a folder that was checked first: asked for a pack
by name it would download one. Code MIT; **all model packs of InsightFace are for non-commercial
research only**.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import FacePackError, InputError, ModelFileError
from .face import Face, HeadPose
from .identity import Identity

_PLACE = (
    "Give the folder that holds the pack's .onnx files, a detector among them "
    "(usually models/insightface/models/<pack>)"
)
#: Only what is used here is loaded.
_TASKS = ["detection", "recognition", "landmark_3d_68"]
_MULTIPLE = 32


def pack_folder(folder: str | Path) -> Path:
    """The folder that really holds the ``.onnx`` files: itself, or the only one nested in it.

    Raises:
        ModelFileError: It is missing, no folder, or holds none.
    """
    path = Path(folder)
    if not path.is_dir():
        kind = "is a file" if path.exists() else "is missing"
        raise ModelFileError(f"the InsightFace folder {kind}", where=str(path), fix=_PLACE)
    if any(path.glob("*.onnx")):
        return path
    nested = sorted({file.parent for file in path.glob("*/*.onnx")})
    if len(nested) == 1:  # the zip of antelopev2 unpacks so
        return nested[0]
    trouble = "several folders with .onnx files" if nested else "no .onnx files"
    raise ModelFileError(f"the InsightFace folder holds {trouble}", where=str(path), fix=_PLACE)


class InsightFaces:
    """A pack of InsightFace models.

    Args:
        folder: Of the ``.onnx`` files; a nested one is found.
        detection_size: Side of the square that the detector looks at, a multiple of 32.
        threshold: Lowest score of a detection.
        providers: Of onnxruntime; the CPU suffices.

    Raises:
        ModelFileError: The folder is missing or empty, a file is damaged, there is no detector.
        FacePackError: insightface is not installed.
    """

    name = "insightface"

    def __init__(
        self,
        folder: str | Path,
        detection_size: int = 640,
        threshold: float = 0.5,
        providers: tuple[str, ...] = ("CPUExecutionProvider",),
    ) -> None:
        if detection_size < _MULTIPLE or detection_size % _MULTIPLE:
            raise InputError(
                f"a detection size of {detection_size}", fix="Use a multiple of 32, such as 640"
            )
        path = pack_folder(folder)
        app = _application()
        try:
            self._app: Any = app.FaceAnalysis(
                name=str(path.resolve()), allowed_modules=_TASKS, providers=list(providers)
            )
        except AssertionError as error:
            raise ModelFileError(
                "the InsightFace folder holds no face detector", where=str(path), fix=_PLACE
            ) from error
        except Exception as error:  # onnxruntime raises classes of its own, without a common one
            raise ModelFileError(
                f"the InsightFace models cannot be loaded: {error}",
                where=str(path),
                fix="Unpack the pack again",
            ) from error
        self._app.prepare(ctx_id=-1, det_thresh=threshold, det_size=(detection_size,) * 2)
        self.encoder = f"insightface/{path.name}"
        """Name of the recogniser, as identities bear it."""

    def find(self, picture: Tensor) -> list[Face]:
        """All faces in a picture [3, H, W] in 0..1, highest score first."""
        height, width = picture.shape[-2:]
        pixels = (picture.detach().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        bgr = np.ascontiguousarray(pixels[:, :, ::-1])
        found = [self._face(one, (width, height)) for one in self._app.get(bgr)]
        return sorted((face for face in found if face), key=lambda face: -face.score)

    def _face(self, one: Any, picture_size: tuple[int, int]) -> Face | None:
        left, top, right, bottom = (float(v) for v in one.bbox)
        if not (left < right and top < bottom):
            return None
        dense, features, pose = (one.get(key) for key in ("landmark_3d_68", "embedding", "pose"))
        # InsightFace puts the middle of the first pixel at 0, we at one half.
        five = None if one.kps is None else torch.from_numpy(np.asarray(one.kps)).float() + 0.5
        if dense is None and five is None:
            landmarks, scheme = torch.zeros(0, 2), "none"
        elif dense is None and five is not None:
            landmarks, scheme = five, "five"
        else:
            landmarks, scheme = torch.from_numpy(np.asarray(dense)).float(), "ibug"
            landmarks[:, :2] += 0.5
        usable = features is not None and float(np.linalg.norm(features)) > 0
        return Face(
            picture_size=picture_size,
            box=(left, top, right, bottom),
            score=min(1.0, float(one.det_score)),
            landmarks=landmarks,
            scheme=scheme,
            source=self.name,
            five=five,
            pose=None if pose is None else pose_from_insightface(np.asarray(pose)),
            identity=Identity.from_features(torch.from_numpy(features), self.encoder)
            if usable
            else None,
        )


def pose_from_insightface(angles: Any) -> HeadPose:
    """InsightFace's (pitch, yaw, roll) in degrees as a measured pose.

    It fits a mean shape with y down and z towards the viewer, the pack's own axes, and reads the
    rotation as Rz(z) · Ry(y) · Rx(x), calling x pitch, y yaw and z roll.
    """
    pitch, minus_yaw, roll = (float(v) for v in angles)
    return HeadPose(-minus_yaw, pitch, roll)


def _application() -> ModuleType:
    # Set again, because the pack can be used without its root being imported first by a host.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        return importlib.import_module("insightface.app")
    except ImportError as error:
        raise FacePackError(
            f"insightface cannot be imported ({error})",
            fix="Install it with pip install 'insightface>=2.0', or use another analyzer",
        ) from error

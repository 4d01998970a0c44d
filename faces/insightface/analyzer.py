"""InsightFace (version 2 or newer) as an analyzer of faces: detection, five points, identity, pose.

It is imported on first use and always given a folder that was checked before: given the name of a
pack, it would download it. Code MIT; **all model packs of InsightFace are for non-commercial
research only**.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from ...errors import InputError, ModelFileError
from ..face import Face
from .model_pack import (
    PACK_FIX,
    PROVIDERS,
    damaged_pack,
    encoder_of_app,
    import_insightface,
    pack_folder,
    require_detector,
    require_recogniser,
)
from .record import faces_from_insightface

#: The models that are used here; others are not loaded.
_TASKS = ["detection", "recognition", "landmark_3d_68"]
_MULTIPLE = 32


class InsightFaceAnalyzer:
    """A pack of InsightFace models.

    Args:
        folder: Folder of the ``.onnx`` files, or one with a single such folder in it.
        detection_size: Side of the detector's input in pixels, a multiple of 32.
        threshold: Lowest score of a detection.

    Raises:
        ModelFileError: The folder is missing or empty, a file is damaged, there is no detector, or
            another network in the place of detector or recogniser.
        FacePackError: insightface is not installed.
    """

    name = "insightface"

    def __init__(
        self,
        folder: str | Path,
        detection_size: int = 640,
        threshold: float = 0.5,
    ) -> None:
        if detection_size < _MULTIPLE or detection_size % _MULTIPLE:
            raise InputError(
                f"a detection size of {detection_size}", fix="Use a multiple of 32, such as 640"
            )
        path = pack_folder(folder)
        app = import_insightface("insightface.app")
        try:
            self._app: Any = app.FaceAnalysis(
                name=str(path.resolve()), allowed_modules=_TASKS, providers=PROVIDERS
            )
        except AssertionError as error:
            raise ModelFileError(
                "the InsightFace folder holds no face detector", where=str(path), fix=PACK_FIX
            ) from error
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise damaged_pack(path, error) from error
        require_detector(self._app.models["detection"])
        if (recogniser := self._app.models.get("recognition")) is not None:
            require_recogniser(recogniser)
        self._app.prepare(ctx_id=-1, det_thresh=threshold, det_size=(detection_size,) * 2)
        self.encoder = encoder_of_app(self._app)
        """Name of the recogniser by its file, stored in identities; empty if the pack has none."""

    def find(self, image: Tensor) -> list[Face]:
        """All faces in an image [3, H, W] in 0..1, highest score first."""
        return faces_from_insightface(self._app.get, image, self.encoder, self.name)

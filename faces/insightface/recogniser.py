"""InsightFace's recogniser alone, from its pack or one file, for faces of any analyzer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import ModelFileError
from ..crops.alignment import align_face
from ..encoders.names import encoder_of_file
from ..face import Face
from ..identity import Identity
from .model_pack import (
    PACK_FIX,
    PROVIDERS,
    damaged_pack,
    import_insightface,
    onnx_files,
    require_recogniser,
)
from .record import bgr_array


class InsightFaceRecogniser:
    """A recogniser of InsightFace's form, for faces of any analyzer.

    Its identities are those of :class:`InsightFaceAnalyzer` for the same folder and points.

    Args:
        path: One ``.onnx`` file; or a folder of such files, or one with a single such folder in
            it. No detector is needed.

    Raises:
        ModelFileError: It is missing or empty, a file is damaged, there is no recogniser, or
            another network in its place.
        FacePackError: insightface is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        files = onnx_files(path)
        zoo = import_insightface("insightface.model_zoo")
        self._net: Any = None
        for file in files:
            try:
                net = zoo.get_model(str(file.resolve()), providers=PROVIDERS)
            except Exception as error:  # onnxruntime's own classes
                raise damaged_pack(path, error) from error
            if getattr(net, "taskname", None) == "recognition":
                self._net = net
                break
        if self._net is None:
            raise ModelFileError(
                f"the {'file' if path.is_file() else 'InsightFace folder'} holds no recogniser",
                where=str(path),
                fix=PACK_FIX,
            )
        require_recogniser(self._net)
        self.encoder = encoder_of_file(self._net.model_file)
        """Name of the recogniser by its file, stored in its identities."""

    def identify(self, image: Tensor, face: Face) -> Identity:
        """See ``faces.analyzers.Recogniser``."""
        face.require_size(image.shape[-1], image.shape[-2])
        cut = align_face(image.float(), face.require_five())
        features = self._net.get_feat(bgr_array(cut))
        return Identity.from_features(torch.from_numpy(features), self.encoder)

"""InsightFace loaded by another node pack, as an analyzer."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...errors import FacePackError, InputError
from ..face import Face
from .model_pack import UNKNOWN, encoder_of_app
from .record import faces_from_insightface


class ForeignInsightFace:
    """InsightFace loaded by another node pack (FACEANALYSIS and INSIGHTFACE sockets).

    Only its ``get`` is called; loading and settings are left to the other pack.

    Raises:
        InputError: The value has no ``get``.
    """

    name = "insightface of another pack"

    def __init__(self, model: Any) -> None:
        if not callable(getattr(model, "get", None)) or isinstance(model, dict):
            raise InputError(
                f"a value of the type {type(model).__name__} finds no faces",
                fix="Connect the InsightFace or FaceAnalysis loader of another pack",
            )
        self._model = model
        self.encoder = encoder_of_app(model) or UNKNOWN
        """Name of the recogniser by the file that it was loaded from, stored in its identities."""

    def find(self, image: Tensor) -> list[Face]:
        """All faces in an image [3, H, W] in 0..1, highest score first.

        Raises:
            FacePackError: The other pack's model fails.
        """
        try:
            return faces_from_insightface(self._model.get, image, self.encoder, self.name)
        except FacePackError:
            raise
        except Exception as error:  # foreign code may raise anything
            raise FacePackError(
                f"the face model of another pack fails: {type(error).__name__} {error}".strip(),
                fix="Use Load Face Analyzer instead, or look at the node that loads that model",
            ) from error

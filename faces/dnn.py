"""OpenCV (4.x and 5.x), imported on first use and only here, and TFLite networks run by it."""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FacePackError, ModelFileError
from ..storage import writing

Array = NDArray[np.float32]


def opencv(feature: str = "readNetFromTFLite") -> ModuleType:
    """The module ``cv2``.

    Args:
        feature: A function or class of ``cv2`` or ``cv2.dnn`` that is needed.

    Raises:
        FacePackError: It is not installed, or without this feature.
    """
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError as error:
        raise FacePackError(
            f"OpenCV cannot be imported ({error})",
            fix="Install it with pip install -r requirements.txt (insightface brings it)",
        ) from error
    if not (hasattr(cv2, feature) or hasattr(cv2.dnn, feature)):
        raise FacePackError(
            f"OpenCV {cv2.__version__} has no {feature}", fix="Install OpenCV 4.8 or newer"
        )
    return cv2


class Network:
    """One network with named outputs, read from the bytes of a TFLite file.

    Args:
        model: Content of the file.
        outputs: Names of the outputs, in the order of the results.
        where: What errors name as the place.

    Raises:
        ModelFileError: OpenCV cannot read it.
        InputError: OpenCV 5 reads it from a file, and none can be written.
    """

    def __init__(self, model: bytes, outputs: tuple[str, ...], where: str) -> None:
        self._cv2 = opencv()
        self.outputs, self.where = outputs, where
        try:
            self._net = self._read(model)
        except self._cv2.error as error:
            raise ModelFileError(
                "OpenCV cannot read the network", where=where, fix="Download the file again"
            ) from error

    def _read(self, model: bytes) -> Any:
        classic = getattr(self._cv2.dnn, "ENGINE_CLASSIC", None)
        if classic is None:  # OpenCV 4
            return self._cv2.dnn.readNetFromTFLite(np.frombuffer(model, np.uint8))
        # OpenCV 5's new engine returns one output only. The classic one can be chosen for files;
        # for a buffer the choice is ignored (as of 5.0.0).
        here = Path("the temporary folder, TMPDIR")
        with writing(here), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.tflite"
            path.write_bytes(model)
            return self._cv2.dnn.readNetFromTFLite(str(path), classic)

    def __call__(self, x: Array) -> list[Array]:
        """Run on one input (images: [1, 3, H, W]) and return the outputs, each flattened to [n].

        Raises:
            ModelFileError: The network does not take this input or lacks an output.
        """
        try:
            self._net.setInput(x)
            return [np.asarray(y).ravel() for y in self._net.forward(list(self.outputs))]
        except self._cv2.error as error:
            raise ModelFileError(
                "the network cannot be run by OpenCV: it is not the one expected",
                where=self.where,
                fix="Use face_landmarker_v2_with_blendshapes.task",
            ) from error

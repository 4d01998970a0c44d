"""MediaPipe's face landmarker without MediaPipe: its three networks run by OpenCV.

Detector, mesh of 478 points, 52 blendshapes, and head pose from the canonical face. All come from
the user's ``face_landmarker*.task``; nothing is downloaded, and there is no telemetry.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import ModelFileError
from ..blendshapes import ARKIT_NAMES
from ..dnn import Network
from ..face import Face
from ..head_pose import flip_axes, zyx_from_matrix
from ..pixels import to_array
from . import blazeface, mesh_crop
from .face_search import search
from .mesh_crop import Region, region_of_detection, region_of_mesh
from .mesh_mirror import mirror_order, mirrored_mesh, symmetric_mean
from .mesh_pose import mesh_rotation
from .task_file import BLENDSHAPES, DETECTOR, MESH, read_task_file

Array = NDArray[np.float32]
Image = NDArray[np.uint8]

#: Outputs of the blendshape network: a neutral value, then the ARKit names.
BLENDSHAPE_NAMES = ("_neutral", *ARKIT_NAMES)
#: Landmarks that the blendshape network takes (MediaPipe's face_blendshapes_graph.cc).
BLENDSHAPE_LANDMARKS = (
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65,
    66, 67, 70, 78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136,
    144, 145, 146, 148, 149, 150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172,
    173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263, 267, 269, 270, 276, 282, 283,
    284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321, 323, 324,
    332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385,
    386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472,
    473, 474, 475, 476, 477,
)  # fmt: skip
_SHARPEST_LOGIT = 50.0
_DOUBTFUL = 0.1
"""Lowest score of a detection that is looked at again where the image's border cuts it."""


class Landmarker:
    """The landmarker as an analyzer of photographs (``faces.analyzers``).

    Args:
        threshold: Lowest score of a detection, and lowest face presence of the mesh network.
        steady: Run the mesh a second time around the first result, run everything on the mirrored
            image too, and average. The result is then symmetric under mirroring and stable under
            shifts of a few pixels; it takes about four times as long.

    Raises:
        ModelFileError: The file is missing, damaged or of another kind.
        FacePackError: OpenCV is not installed.
    """

    name = "landmarker"

    def __init__(self, path: str | Path, threshold: float = 0.5, *, steady: bool = False) -> None:
        self.threshold, self.steady = threshold, steady
        task = read_task_file(path)
        self.geometry = task.geometry

        def network(model: bytes, part: str, *outputs: str) -> Network:
            return Network(model, outputs, f"{part} in {path}")

        self._detector = network(task.detector, DETECTOR, "regressors", "classificators")
        self._mesh = network(task.mesh, MESH, "Identity", "Identity_1")
        self._blendshapes = network(task.blendshapes, BLENDSHAPES, "StatefulPartitionedCall:0")
        self._where = str(path)
        self._anchors = blazeface.anchors()
        self._mirror = mirror_order(task.geometry)
        if len(self._mirror) != 478:
            raise ModelFileError(
                "the landmarker's geometry has another number of points than 468",
                where=self._where,
                fix="Use face_landmarker_v2_with_blendshapes.task",
            )

    def find(self, image: Tensor) -> list[Face]:
        """All faces in an image [3, H, W] in 0..1, highest score first."""
        pixels = to_array(image)
        found = [self._face(pixels, row) for row in search(self.detect, pixels, self.detect_once)]
        return [face for face in found if face is not None]

    def detect(self, pixels: Image) -> tuple[Array, Array]:
        """Detect in RGB [H, W, 3]: [N, 17] score, box, six points (``blazeface``).

        The second array has those with scores below the threshold.
        """
        square, box = blazeface.letterbox(pixels)
        candidates = self._candidates(square)
        if self.steady:
            other = blazeface.mirrored(self._candidates(square[:, ::-1]))
            candidates = np.concatenate([candidates, other])
        sure = candidates[:, 0] >= self.threshold
        found, doubtful = (
            box.to_image(blazeface.weighted_nms(rows))
            for rows in (candidates[sure], candidates[~sure])
        )
        return found, doubtful

    def detect_once(self, pixels: Image) -> Array:
        """As :meth:`detect`, without the doubtful ones and never in the mirrored image."""
        square, box = blazeface.letterbox(pixels)
        candidates = self._candidates(square)
        sure = candidates[:, 0] >= self.threshold
        return box.to_image(blazeface.weighted_nms(candidates[sure]))

    def landmarks(self, pixels: Image, region: Region) -> tuple[Array, float]:
        """Mesh [478, 3] in pixels of the image, and face presence in 0..1."""
        crop = region.crop(pixels)
        points, presence = self._detect(crop)
        if self.steady:
            other, other_presence = self._detect(crop[:, ::-1])
            other = mirrored_mesh(other, self._mirror, mesh_crop.SIZE)
            points = np.divide(points + other, 2, dtype=np.float32)
            presence = (presence + other_presence) / 2
        return region.to_image(points), presence

    def expression(self, landmarks: Array) -> dict[str, float]:
        """52 blendshapes by name from the mesh [478, 3], whose scale and position do not matter."""
        values = self._expression(landmarks)
        if not self.steady:
            return values
        return symmetric_mean(values, self._expression(mirrored_mesh(landmarks, self._mirror, 0)))

    def _face(self, pixels: Image, row: Array) -> Face | None:
        """Mesh, blendshapes and pose of one detection; None if its presence is too low."""
        region = region_of_detection(row)
        if not region.side >= 1:
            return None
        landmarks, presence = self.landmarks(pixels, region)
        if presence >= self.threshold and self.steady:
            landmarks, presence = self.landmarks(pixels, region_of_mesh(landmarks))
        if presence < self.threshold:
            return None
        height, width = pixels.shape[:2]
        points = torch.from_numpy(landmarks)
        rotation = mesh_rotation(points, (width, height), self.geometry)
        left, top, right, bottom = (float(v) for v in row[1:5])
        return Face(
            image_size=(width, height),
            box=(left, top, right, bottom),
            score=min(1.0, float(row[0])),
            landmarks=points,
            scheme="mesh",
            source=self.name,
            blendshapes=self.expression(landmarks),
            pose=zyx_from_matrix(flip_axes(rotation)),
        )

    def _candidates(self, square: Image) -> Array:
        blob = np.ascontiguousarray(square.transpose(2, 0, 1)[None], dtype=np.float32)
        regressors, logits = self._detector(blob / 127.5 - 1)
        self._check(len(logits) == len(self._anchors))
        regressors = regressors.reshape(len(logits), -1)
        lowest = min(self.threshold, _DOUBTFUL)
        return blazeface.decode(regressors, logits, self._anchors, lowest)

    def _detect(self, crop: Image) -> tuple[Array, float]:
        blob = np.ascontiguousarray(crop.transpose(2, 0, 1)[None], dtype=np.float32)
        points, logit = self._mesh(np.divide(blob, 255, dtype=np.float32))
        self._check(points.size == 3 * len(self._mirror))
        presence = 1 / (1 + np.exp(-np.clip(logit[0], -_SHARPEST_LOGIT, _SHARPEST_LOGIT)))
        return points.reshape(-1, 3), float(presence)

    def _expression(self, landmarks: Array) -> dict[str, float]:
        blob = np.ascontiguousarray(landmarks[list(BLENDSHAPE_LANDMARKS), :2])[None]
        (values,) = self._blendshapes(blob)
        self._check(len(values) == len(BLENDSHAPE_NAMES))
        return {name: float(v) for name, v in zip(BLENDSHAPE_NAMES, values, strict=True)}

    def _check(self, fits: bool) -> None:
        if not fits:
            raise ModelFileError(
                "a network in the landmarker file returns another shape than expected",
                where=self._where,
                fix="Use face_landmarker_v2_with_blendshapes.task",
            )

"""The face of each image that a node works on: a connected one, or one it detects itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io
from torch import Tensor

from ...errors import InputError
from ..inputs import between

if TYPE_CHECKING:
    from ...faces.detection import Detection
    from ...faces.face import Face
    from ..sockets import FoundFaces, LoadedAnalyzer

ORDER = "largest first"
"""How a node that detects faces itself numbers them: the portrait comes before passers-by."""


def index_input() -> Any:
    """INT, the number of a face in its image; optional."""
    return io.Int.Input(
        "face_index",
        **between(0, 255, default=0),
        optional=True,
        tooltip="Number of the face in its image, from 0. Connected faces keep their order; "
        "otherwise the largest face is 0.",
    )


def detections_of(
    analyzer: LoadedAnalyzer, image: Tensor, index: int, where: str, faces: FoundFaces | None = None
) -> list[Detection]:
    """The face with this number in each image of an IMAGE [B, H, W, C].

    Args:
        faces: Faces of these images; detected with ``analyzer`` if left out.

    Raises:
        InputError: The batch is empty, or the faces belong to another batch. What is wrong with a
            single image is reported in its detection.
    """
    from ...faces.detection import FaceSelection, detect_faces
    from ..host.execution import steps

    if image.numel() == 0:
        raise InputError("the image is empty", where=where, fix="Connect an image")
    images = image.movedim(-1, 1)
    if faces is None:
        return detect_faces(analyzer, images, FaceSelection(ORDER, index), steps(len(images)))
    return [_given(found, index) for found in faces.for_batch(len(images), where)]


def chosen(detection: Detection) -> Face:
    """The selected face of a detection without trouble."""
    return detection.faces[detection.chosen[0]]


def _given(found: tuple[Face, ...], index: int) -> Detection:
    from ...faces.detection import Detection
    from ...faces.face import pick

    if not found:
        return Detection((), (), "no face was found")
    try:
        pick(list(found), index)
    except InputError as error:
        return Detection(found, (), error.what)
    return Detection(found, (index,))

"""Which face of each image a node works on: of connected faces, or found by the node itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ...errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from ...faces.detection import Detection
    from ...faces.face import Face
    from ..sockets import FoundFaces, LoadedAnalyzer

ORDER = "largest first"
"""In which a node that looks for faces itself counts them: the portrait before passers-by."""


def index_input() -> Any:
    """The optional input that chooses a face."""
    return io.Int.Input(
        "face_index",
        default=0,
        min=0,
        max=255,
        optional=True,
        tooltip="Which face of an image, counted from 0: by size, the largest is 0; with "
        "connected faces in their order.",
    )


def detections_of(
    analyzer: LoadedAnalyzer, image: Tensor, index: int, where: str, faces: FoundFaces | None = None
) -> list[Detection]:
    """What each image of an IMAGE shows of the face with this number.

    Raises:
        InputError: The batch is empty, or the faces are those of another batch. Troubles of single
            images are told in their results.
    """
    from ...faces.detection import FaceSelection, detect_faces
    from ..host.progress import steps

    if image.numel() == 0:
        raise InputError("the image is empty", where=where, fix="Connect an image")
    images = image.movedim(-1, 1)
    if faces is None:
        return detect_faces(analyzer, images, FaceSelection(ORDER, index), steps(len(images)))
    return [_given(found, index) for found in faces.for_batch(len(images), where)]


def chosen(detection: Detection) -> Face:
    """The face of a look without trouble."""
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

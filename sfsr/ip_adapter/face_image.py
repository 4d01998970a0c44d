"""The face's image as FaceID-Plus and Plus v2 read it through CLIP vision.

Source: docs/reference/published_weights.md C2.
"""

from __future__ import annotations

from torch import Tensor

from ...faces.crops.alignment import align_face
from ...faces.face import Face

FACE_SIZE = 224
"""Side of the aligned face in pixels."""


def face_image(image: Tensor, face: Face) -> Tensor:
    """The aligned face [3, 224, 224] of an image [3, H, W] in 0..1.

    Raises:
        InputError: The face has no five points, or was found in an image of another size.
    """
    face.require_size(image.shape[-1], image.shape[-2])
    return align_face(image.float(), face.require_five(), FACE_SIZE)

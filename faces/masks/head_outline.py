"""The outline of a whole head in a photograph, estimated from the landmarks of its face.

Landmarks end at the hairline or, with 68 points, at the brows. The rest of the head is an ellipsoid
of average proportions with room for the hair: about 15 cm wide with 3 cm of hair on each side,
23 cm high with 3 cm of hair on top, 20 cm deep with 2 cm of hair at the back. It is placed by the
oriented square around the face (``faces.crops.crop``), whose half side is about 13 cm. Yaw moves
the face away from the middle of the head, so the ellipsoid is shifted the other way. Pitch is
ignored: analyzers differ by up to 15 degrees in what they call level. Hair that falls below the
chin is not covered.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..crops.batch import place_for_face
from ..face import Face
from .landmark_regions import FACE, outline
from .polygon import convex_hull

#: In half sides of the oriented square, from its middle; y points down.
_CENTRE_Y = -0.15
_HALF_WIDTH, _HALF_HEIGHT, _HALF_DEPTH = 0.85, 1.02, 0.92
#: From the plane of eyes and mouth back to the middle of the head.
_BEHIND_FACE = 0.65

_CORNERS = 64
_SQUARE = 16


def head_outline(face: Face) -> Tensor:
    """The outline [N, 2], in pixels of the image, of the head with ears and hair.

    Contains the outline of the face. Faces without a head pose are assumed frontal;
    with only a box also upright.

    Raises:
        InputError: The face's points all coincide.
    """
    yaw = 0.0 if face.pose is None else math.radians(face.pose.yaw)
    centre = torch.tensor([_BEHIND_FACE * math.sin(yaw), _CENTRE_Y])
    # Half the width of an ellipsoid's outline, between its front and its side.
    width = math.hypot(_HALF_WIDTH * math.cos(yaw), _HALF_DEPTH * math.sin(yaw))
    half = torch.tensor([width, _HALF_HEIGHT])
    angles = torch.arange(_CORNERS) * (2 * math.pi / _CORNERS)
    ellipse = centre + half * torch.stack([angles.cos(), angles.sin()], 1)
    place = place_for_face(face, _SQUARE)
    in_image = place.to_image((ellipse + 1) * (_SQUARE / 2)).float()
    return convex_hull(torch.cat([in_image, outline(face, FACE)]))

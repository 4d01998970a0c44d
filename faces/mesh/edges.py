"""What is drawn of the face mesh: lines between landmarks, pupils and their colours.

Colours and order: docs/reference/published_weights.md D3. Sides are the person's.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Feature:
    """Lines of one colour.

    colour: RGB, 0..255.
    paths: Numbers of landmarks; a line between each and the next.
    """

    colour: Colour
    paths: tuple[tuple[int, ...], ...]

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """The two ends of each line."""
        return tuple(edge for path in self.paths for edge in itertools.pairwise(path))


OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152,
    148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109, 10,
)  # fmt: skip
#: From the outer corner to the inner one.
RIGHT_UPPER_LID = (33, 246, 161, 160, 159, 158, 157, 173, 133)
RIGHT_LOWER_LID = (33, 7, 163, 144, 145, 153, 154, 155, 133)
LEFT_UPPER_LID = (263, 466, 388, 387, 386, 385, 384, 398, 362)
LEFT_LOWER_LID = (263, 249, 390, 373, 374, 380, 381, 382, 362)
#: From the outer end to the inner one.
RIGHT_BROW = ((70, 63, 105, 66, 107), (46, 53, 52, 65, 55))
LEFT_BROW = ((300, 293, 334, 296, 336), (276, 283, 282, 295, 285))
#: From the corner at the person's right to that at the left.
UPPER_LIP_OUTSIDE = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
UPPER_LIP_INSIDE = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_LIP_INSIDE = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
LOWER_LIP_OUTSIDE = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)

FEATURES = (
    Feature((10, 200, 10), (OVAL,)),
    Feature((10, 200, 180), (LEFT_UPPER_LID, LEFT_LOWER_LID)),
    Feature((10, 220, 180), LEFT_BROW),
    Feature((180, 200, 10), (RIGHT_UPPER_LID, RIGHT_LOWER_LID)),
    Feature((180, 220, 10), RIGHT_BROW),
    Feature(
        (10, 180, 10),
        (UPPER_LIP_OUTSIDE, UPPER_LIP_INSIDE, LOWER_LIP_INSIDE, LOWER_LIP_OUTSIDE),
    ),
)
"""In the order in which they are drawn."""

RIGHT_PUPIL, LEFT_PUPIL = 468, 473
PUPILS: dict[int, Colour] = {RIGHT_PUPIL: (250, 200, 10), LEFT_PUPIL: (10, 200, 250)}

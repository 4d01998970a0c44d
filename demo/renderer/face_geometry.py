"""Positions of the features of one face, from identity and expression.

Coordinates are those of the face's chart: x to the image's right, y down, eyes near y = -0.05,
chin near y = 1, half width about 0.8. The same curves shape and paint the surface and give the
landmarks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...faces.blendshapes import ARKIT_NAMES
from ..people import IDENTITY_NAMES


def smoothstep(low: float, high: float, value: Tensor) -> Tensor:
    """0 below ``low``, 1 above ``high``, a cubic between; falling if low > high."""
    t = ((value - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def bump(x: Tensor, y: Tensor, cx: float, cy: float, wx: float, wy: float) -> Tensor:
    """A 2D Gaussian of height 1 around (cx, cy), with widths wx and wy."""
    return torch.exp(-(((x - cx) / wx) ** 2) - ((y - cy) / wy) ** 2)


@dataclass(frozen=True)
class FaceGeometry:
    """Identity (by IDENTITY_NAMES) and blendshapes (by ARKIT_NAMES) of one head, and its curves."""

    identity: dict[str, float]
    blendshapes: dict[str, float]

    def pair(self, name: str, side: float) -> float:
        """A blendshape of one side: -1 is the person's right (left in the image), +1 the left."""
        return self.blendshapes[name + ("Left" if side > 0 else "Right")]

    # -- eyes -------------------------------------------------------------------------------
    eye_y = -0.05

    @property
    def eye_x(self) -> float:
        return 0.330 + 0.055 * self.identity["eye_spacing"]

    @property
    def eye_half(self) -> float:
        return 0.200 + 0.040 * self.identity["eye_size"]

    def lids(self, side: float) -> tuple[float, float]:
        """Heights of the upper lid above and of the lower lid below the eye's axis."""
        size = self.identity["eye_size"]
        blink, squint = self.pair("eyeBlink", side), self.pair("eyeSquint", side)
        squeeze = self.pair("cheekSquint", side)
        down, up = self.pair("eyeLookDown", side), self.pair("eyeLookUp", side)
        lower = (0.090 + 0.020 * size) * max(0.2, 1 - 0.5 * squint - 0.35 * squeeze)
        upper = (0.138 + 0.036 * size) * (
            1 + 0.42 * self.pair("eyeWide", side) - 0.36 * squint - 0.28 * down + 0.1 * up
        )
        return upper * (1 - blink) - 0.8 * lower * blink, lower

    def gaze(self, side: float) -> tuple[float, float]:
        """The iris's shift from the eye's centre, in the chart."""
        outwards = self.pair("eyeLookOut", side) - self.pair("eyeLookIn", side)
        down = self.pair("eyeLookDown", side) - self.pair("eyeLookUp", side)
        return side * outwards * self.eye_half * 0.45, down * 0.06 - 0.012

    def eye_frame(self, x: Tensor, y: Tensor, side: float) -> tuple[Tensor, Tensor]:
        """Chart -> (q, h): q -1 inner .. 1 outer corner, h height below the tilted eye axis."""
        outward = (x - side * self.eye_x) * side
        return outward / self.eye_half, y - self.eye_y + 0.24 * self.identity["eye_tilt"] * outward

    # -- brows ------------------------------------------------------------------------------
    def brow(self, q: Tensor, side: float) -> tuple[Tensor, Tensor, Tensor]:
        """x, y and half thickness along the brow, q 0 inner .. 1 outer end."""
        angle = self.identity["brow_angle"]
        down, outer = self.pair("browDown", side), self.pair("browOuterUp", side)
        inner = 0.11 * down - 0.15 * self.blendshapes["browInnerUp"] + 0.055 * angle
        end = 0.05 * down - 0.15 * outer - 0.065 * angle
        inner_x = self.eye_x - self.eye_half * 0.98 - 0.03 * down
        x = side * (inner_x + q * self.eye_half * 2.15)
        top = self.eye_y - 0.315 - 0.02 * self.identity["eye_size"]
        y = top - 0.20 * q * (1 - q) + inner * (1 - q) + end * q
        thick = (0.042 + 0.024 * self.identity["brow_thickness"]) * (1 - 0.72 * q**3)
        return x, y, thick

    def brow_coordinate(self, x: Tensor, side: float) -> Tensor:
        down = self.pair("browDown", side)
        inner_x = self.eye_x - self.eye_half * 0.98 - 0.03 * down
        return (x * side - inner_x) / (self.eye_half * 2.15)

    # -- nose -------------------------------------------------------------------------------
    @property
    def nose_y(self) -> float:
        return 0.375 + 0.085 * self.identity["nose_length"]

    @property
    def nose_half(self) -> float:
        return 0.150 + 0.058 * self.identity["nose_width"]

    # -- mouth ------------------------------------------------------------------------------
    @property
    def jaw_drop(self) -> float:
        return 0.24 * self.blendshapes["jawOpen"] + 0.02 * self.blendshapes["mouthFunnel"]

    @property
    def jaw_shift(self) -> float:
        return 0.13 * (self.blendshapes["jawLeft"] - self.blendshapes["jawRight"])

    @property
    def mouth_x(self) -> float:
        sideways = self.blendshapes["mouthLeft"] - self.blendshapes["mouthRight"]
        return 0.13 * sideways + 0.6 * self.jaw_shift

    @property
    def mouth_y(self) -> float:
        shrug = (
            0.055 * self.blendshapes["mouthShrugLower"]
            + 0.035 * self.blendshapes["mouthShrugUpper"]
        )
        return 0.635 + 0.03 * self.identity["nose_length"] - shrug

    def mouth_corner(self, side: float) -> tuple[float, float]:
        """Half width on one side and how far its corner hangs below the middle."""
        m = self.blendshapes
        smile, frown = self.pair("mouthSmile", side), self.pair("mouthFrown", side)
        stretch, dimple = self.pair("mouthStretch", side), self.pair("mouthDimple", side)
        factor = (
            1 + 0.26 * smile + 0.26 * stretch + 0.14 * dimple - 0.48 * m["mouthPucker"]
            - 0.36 * m["mouthFunnel"] - 0.14 * m["jawOpen"] - 0.05 * frown
        )  # fmt: skip
        half = (0.265 + 0.06 * self.identity["mouth_width"]) * max(factor, 0.32)
        hang = -0.025 - 0.15 * smile + 0.14 * frown + 0.05 * stretch - 0.05 * dimple
        return half, hang + 0.5 * self.jaw_drop

    def mouth_curves(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """At chart x: s (-1 .. 1 across the mouth) and y of the outer upper, inner upper,
        inner lower and outer lower edges of the lips."""
        m, full = self.blendshapes, self.identity["lip_fullness"]
        right, right_hang = self.mouth_corner(-1.0)
        left, left_hang = self.mouth_corner(1.0)
        offset = x - self.mouth_x
        s = torch.where(offset > 0, offset / left, offset / right)
        weight = torch.sigmoid(6 * s)

        def sides(name: str) -> Tensor:
            return m[name + "Right"] + (m[name + "Left"] - m[name + "Right"]) * weight

        hang = right_hang + (left_hang - right_hang) * weight
        dome = (1 - s * s).clamp(min=0)
        arch = dome.sqrt()
        press = 0.45 * sides("mouthPress")
        smile = sides("mouthSmile")
        base = self.mouth_y + hang * s.abs().clamp(max=1.3) ** 1.7 + 0.045 * smile * dome
        opening = self.jaw_drop * (1 - m["mouthClose"])
        upper_gap = 0.075 * sides("mouthUpperUp") + 0.045 * m["mouthFunnel"] + 0.03 * m["jawOpen"]
        lower_gap = opening * 1.12 + 0.085 * sides("mouthLowerDown") + 0.05 * m["mouthFunnel"]
        lower_gap = lower_gap + 0.045 * smile
        closed = self.jaw_drop * m["mouthClose"] * 0.5
        seal = 1 - 0.85 * m["mouthClose"]
        inner_up = base + closed * dome - upper_gap * seal * arch
        inner_low = base + closed * dome + lower_gap * seal * arch
        plump = 1 + 0.4 * m["mouthPucker"] + 0.35 * m["mouthFunnel"]
        upper = (0.066 + 0.034 * full) * plump * (1 - 0.78 * m["mouthRollUpper"] - press)
        lower = (0.082 + 0.040 * full) * plump * (1 - 0.78 * m["mouthRollLower"] - press)
        lower = lower * (1 + 0.4 * m["mouthShrugLower"])
        bow = 1 - 0.30 * torch.exp(-((s / 0.16) ** 2)) + 0.15 * m["mouthShrugUpper"]
        return s, inner_up - upper * arch * bow, inner_up, inner_low, inner_low + lower * arch


def face_geometry(identity: Tensor, expression: Tensor) -> FaceGeometry:
    """Build the geometry of one head from its vectors [P] and [51]."""
    return FaceGeometry(
        dict(zip(IDENTITY_NAMES, identity.tolist(), strict=True)),
        dict(zip(ARKIT_NAMES, expression.tolist(), strict=True)),
    )


def landmark_chart(face: FaceGeometry) -> Tensor:
    """The 51 inner landmarks (iBUG 18-68) in the chart, [51, 2]."""
    points: list[Tensor] = []
    for side, order in ((-1.0, (1.0, 0.75, 0.5, 0.25, 0.0)), (1.0, (0.0, 0.25, 0.5, 0.75, 1.0))):
        x, y, _ = face.brow(torch.tensor(order), side)
        points.append(torch.stack([x, y], -1))
    nose_y, half = face.nose_y, face.nose_half
    sneer = {s: 0.05 * face.pair("noseSneer", s) for s in (-1.0, 1.0)}
    bridge = [(0.0, face.eye_y + (nose_y - 0.05 - face.eye_y) * k / 3) for k in range(4)]
    base = [
        (-half * 0.85, nose_y + 0.02 - sneer[-1.0]), (-half * 0.42, nose_y + 0.045),
        (0.0, nose_y + 0.06), (half * 0.42, nose_y + 0.045),
        (half * 0.85, nose_y + 0.02 - sneer[1.0]),
    ]  # fmt: skip
    points.append(torch.tensor(bridge + base))
    third = 1 / 3
    for side, spots in (
        (-1.0, ((1, 0), (third, 1), (-third, 1), (-1, 0), (-third, -1), (third, -1))),
        (1.0, ((-1, 0), (-third, 1), (third, 1), (1, 0), (third, -1), (-third, -1))),
    ):
        upper, lower = face.lids(side)
        for q, above in spots:
            outward = q * face.eye_half
            height = {1: -upper, -1: lower, 0: 0.0}[above] * math.sqrt(1 - q * q)
            y = face.eye_y - 0.24 * face.identity["eye_tilt"] * outward + height
            points.append(torch.tensor([[side * (face.eye_x + outward), y]]))
    right, left = face.mouth_corner(-1.0)[0], face.mouth_corner(1.0)[0]
    outer_s = torch.tensor([-1, -0.66, -0.33, 0, 0.33, 0.66, 1, 0.66, 0.33, 0, -0.33, -0.66])
    inner_s = torch.tensor([-0.86, -0.4, 0, 0.4, 0.86, 0.4, 0, -0.4])
    s = torch.cat([outer_s, inner_s])
    x = face.mouth_x + torch.where(s > 0, s * left, s * right)
    _, top, inner_up, inner_low, bottom = face.mouth_curves(x)
    y = torch.cat([top[:7], bottom[7:12], inner_up[12:17], inner_low[17:]])
    points.append(torch.stack([x, y], -1))
    return torch.cat(points)

"""The surface of the head, a lathe with facial relief, and the mesh type.

Head space: x image right, y down, z towards the viewer (the nose), the head's half height about
1. Cross sections of the skull are ellipses whose half axes depend on the height, features are
added along z, so the height z(x, y) of the front is known in closed form; landmarks use it too.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..people import CLASSES
from .face_geometry import FaceGeometry, bump, smoothstep

ROWS, COLUMNS = 92, 112
SKIN, EAR, NECK, SHIRT, HAIR, BEARD, FRAME, LENS, JEWEL = range(9)
TOP, CHIN = -1.12, 1.0


@dataclass(frozen=True)
class Mesh:
    """A mesh: points [V, 3], chart coordinates [V, 3] for shading, triangles [F, 3], surface id."""

    points: Tensor
    chart: Tensor
    faces: Tensor
    surface: int
    two_sided: bool = False


@functools.cache
def grid_faces(rows: int, columns: int, wrap: bool) -> Tensor:
    """Triangles [F, 3] of a vertex grid; ``wrap`` joins the last column to the first."""
    r = torch.arange(rows - 1)[:, None]
    c = torch.arange(columns if wrap else columns - 1)[None]
    n = (c + 1) % columns
    a, b = r * columns + c, r * columns + n
    d, e = (r + 1) * columns + c, (r + 1) * columns + n
    return torch.cat(
        [torch.stack([a, b, d], -1).reshape(-1, 3), torch.stack([b, e, d], -1).reshape(-1, 3)]
    )


@functools.cache
def head_grid() -> tuple[Tensor, Tensor]:
    """Chart heights [R] and longitudes [C] (0 = nose), denser in front and in the face."""
    t = torch.linspace(0, 1, ROWS)
    angle = math.pi * (t + 0.035 * torch.sin(2 * math.pi * t))
    y = (TOP + CHIN) / 2 - (CHIN - TOP) / 2 * torch.cos(angle)
    u = torch.linspace(-1, 1, COLUMNS + 1)[:-1]
    return y, math.pi * (0.62 * u + 0.38 * u**3)


def word(face: FaceGeometry, name: str) -> str:
    """The class word of an identity parameter."""
    return CLASSES[name][0][int(face.identity[name])]


def profile(face: FaceGeometry, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Half width, front depth, back depth and centre of the skull at chart heights y."""
    identity = face.identity
    middle, half = (TOP + CHIN) / 2, (CHIN - TOP) / 2
    inside = (1 - ((y - middle) / half) ** 2).clamp(min=0)
    below = smoothstep(0.0, 0.95, y)
    close = inside ** (0.44 - below * (0.05 + 0.10 * identity["jaw_width"]))
    width = 0.84 - below * (0.10 - 0.15 * identity["jaw_width"])
    width = width + 0.06 * identity["cheeks"] * torch.exp(-(((y - 0.30) / 0.22) ** 2))
    width = width + 0.035 * identity["forehead"] * torch.exp(-(((y + 0.6) / 0.35) ** 2))
    width = width * (1 + 0.16 * identity["face_width"])
    front = inside**0.42 * (0.84 - 0.14 * below)
    back = inside**0.5 * (1.0 - 0.45 * smoothstep(0.0, 0.8, y))
    centre = (0.37 + 0.09 * identity["chin_size"]) * smoothstep(0.25, 1.0, y)
    return width * close, front, back, centre


def jaw_lowering(face: FaceGeometry, y: Tensor) -> Tensor:
    """Downward shift of chart heights by the jaw."""
    return face.jaw_drop * smoothstep(face.mouth_y - 0.05, 0.92, y) + 0.07 * face.identity[
        "chin_size"
    ] * smoothstep(0.62, 1.0, y)


def without_lowering(face: FaceGeometry, y: Tensor) -> Tensor:
    """The height before the jaw moved: the inverse of y + jaw_lowering(y)."""
    rest = y
    for _ in range(5):
        rest = y - jaw_lowering(face, rest)
    return rest


def relief(face: FaceGeometry, x: Tensor, y: Tensor) -> Tensor:
    """Features along z at chart points of the front (after the jaw moved)."""
    identity, m = face.identity, face.blendshapes
    eye_x, eye_y, nose_y, half = face.eye_x, face.eye_y, face.nose_y, face.nose_half
    z = torch.zeros_like(x)
    for side in (-1.0, 1.0):
        z -= 0.085 * bump(x, y, side * (eye_x - 0.03), eye_y - 0.03, 0.24, 0.17)
        z += 0.085 * bump(x, y, side * eye_x, eye_y, face.eye_half * 0.85, 0.13)
        brow = 0.045 * face.pair("browDown", side)
        z += (0.05 + brow) * bump(x, y, side * eye_x * 0.85, eye_y - 0.27, 0.24, 0.09)
        lift = 0.5 * face.pair("cheekSquint", side) + 0.4 * face.pair("mouthSmile", side)
        cheek = 0.035 + 0.04 * identity["cheeks"] + 0.08 * lift
        z += cheek * bump(x, y, side * 0.42, 0.27 - 0.05 * lift, 0.17, 0.15)
        z += 0.14 * m["cheekPuff"] * bump(x, y, side * 0.44, 0.58, 0.2, 0.2)
        sneer = face.pair("noseSneer", side)
        wing = bump(x, y, side * half * 0.72, nose_y - 0.015 - 0.05 * sneer, half * 0.5, 0.085)
        z += (0.085 + 0.05 * identity["nose_width"] + 0.03 * sneer) * wing
    length = 0.185 + 0.07 * identity["nose_length"]
    along = ((y - (eye_y - 0.08)) / (nose_y - eye_y + 0.08)).clamp(0, 1)
    ridge = torch.exp(-((x / (0.07 + 0.50 * half * along)) ** 2))
    z += length * ridge * (0.30 + 0.70 * along**1.3) * smoothstep(nose_y + 0.11, nose_y - 0.05, y) \
        * smoothstep(eye_y - 0.25, eye_y + 0.05, y)  # fmt: skip
    z += 0.10 * bump(x, y, 0.0, nose_y - 0.03, half * 0.85, 0.11)
    s, top, inner_up, inner_low, bottom = face.mouth_curves(x)
    across = (1 - s * s).clamp(min=0).sqrt()
    pout = 1 + 1.4 * m["mouthPucker"] + 0.9 * m["mouthFunnel"]
    z += 0.05 * bump(x, y, face.mouth_x, face.mouth_y, 0.34, 0.2) * pout
    up, low = (top + inner_up) / 2, (bottom + inner_low) / 2
    z += 0.055 * pout * across * torch.exp(-(((y - up) / 0.06) ** 2))
    z += 0.06 * pout * across * torch.exp(-(((y - low) / 0.07) ** 2))
    z += (0.06 + 0.05 * identity["chin_size"]) * bump(
        x, y, face.jaw_shift, 0.9 + face.jaw_drop, 0.2, 0.12
    )
    return z


def lathe(face: FaceGeometry, y: Tensor, phi: Tensor, grow: float = 0.0) -> Tensor:
    """The featureless skull at heights y and longitudes phi, [...,3]; jaw not moved."""
    width, front, back, centre = profile(face, y)
    depth = torch.where(phi.abs() < math.pi / 2, front, back)
    x, z = (width + grow) * torch.sin(phi), centre + (depth + grow) * torch.cos(phi)
    return torch.stack([x, y.expand_as(x), z], -1)


def place(
    face: FaceGeometry, y_rest: Tensor, x: Tensor, z: Tensor, phi: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Move the jaw and add the relief: points [..., 3] and chart coordinates [..., 3]."""
    y = y_rest + jaw_lowering(face, y_rest)
    front = smoothstep(1.75, 1.1, phi.abs()) if phi is not None else torch.ones_like(x)
    jaw = smoothstep(face.mouth_y - 0.3, 0.95, y_rest) * front
    moved = x + face.jaw_shift * jaw
    z = z + relief(face, moved, y) * front + 0.12 * face.blendshapes["jawForward"] * jaw
    longitude = phi if phi is not None else torch.zeros_like(x)
    points = torch.stack([moved, y * (1 + 0.11 * face.identity["face_length"]), z], -1)
    return points, torch.stack([moved, y, longitude], -1)


def front_point(face: FaceGeometry, chart: Tensor) -> Tensor:
    """Surface points [N,3] of the front at chart positions [N,2]."""
    x, y = chart.unbind(-1)
    rest = without_lowering(face, y)
    jaw = smoothstep(face.mouth_y - 0.3, 0.95, rest)
    at_rest = x - face.jaw_shift * jaw
    width, front, _, centre = profile(face, rest)
    # A wide open mouth reaches the tip of the chin, where the skull has no width.
    cosine = (1 - (at_rest / width.clamp(min=1e-3)) ** 2).clamp(min=0.01).sqrt()
    return place(face, rest, at_rest, centre + front * cosine, None)[0]


def contour_points(face: FaceGeometry) -> Tensor:
    """The 17 landmarks of the jaw line, [17,3], from the image's left to its right."""
    k = torch.linspace(-1, 1, 17)
    y = -0.02 + 0.985 * (1 - k.abs() ** 1.7) ** 0.85
    phi = 1.35 * k.sign() * k.abs() ** 0.35
    base = lathe(face, y, phi)
    return place(face, y, base[..., 0], base[..., 2], phi)[0]


def head_mesh(face: FaceGeometry) -> Mesh:
    """The skin of head and face."""
    y, phi = head_grid()
    base = lathe(face, y[:, None], phi[None])
    long = phi[None].expand(ROWS, COLUMNS)
    points, chart = place(face, base[..., 1], base[..., 0], base[..., 2], long)
    return Mesh(points.reshape(-1, 3), chart.reshape(-1, 3), grid_faces(ROWS, COLUMNS, True), SKIN)

"""Painting the skin: blush, freckles, folds, stubble, and the features on it."""

from __future__ import annotations

import torch
from torch import Tensor

from ...faces.parts import PART_INDEX
from .brushes import SOFT, hair_colour, line, mix, rgb
from .face_geometry import FaceGeometry, bump, smoothstep
from .head_surface import word
from .paint_features import paint_brow, paint_eye, paint_mouth
from .palette import skin_colour


def paint_skin(face: FaceGeometry, chart: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Colour [N,3], gloss [N] and part label [N] of skin samples with chart [N,3]."""
    x, y, phi = chart.unbind(1)
    identity = face.identity
    base = skin_colour(identity["skin"], identity["skin_tone"])
    colour = base.expand(len(x), 3).clone()
    gloss = torch.full_like(x, 0.16)
    drop = face.jaw_drop
    inside = (phi.abs() < 1.32) & (y > -0.72)
    label = inside.to(torch.uint8) * PART_INDEX["skin"]
    front = (phi.abs() < 1.5).nonzero()[:, 0]
    x, y = x[front], y[front]
    blush = base * rgb(255, 150, 136)
    c = colour[front]
    amount = 0.62 + 0.15 * identity["cheeks"]
    for side in (-1.0, 1.0):
        c = mix(c, amount * bump(x, y, side * 0.44, 0.30, 0.20, 0.16), blush)
    c = mix(c, 0.40 * bump(x, y, 0.0, face.nose_y - 0.02, face.nose_half, 0.10), blush)
    dark = _creases(face, x, y)[:, None]
    c = c * (1 - dark * rgb(205, 255, 255))
    if identity["freckles"] > 0.1:
        where = smoothstep(0.25, 0.55, bump(x.abs(), y, 0.27, 0.24, 0.32, 0.19))
        amount = (0.35 + 0.6 * identity["freckles"]) * where * _speckles(x, y, 0.082)
        c = mix(c, amount, base * rgb(150, 95, 70))
    if word(face, "facial_hair") == "stubble":
        zone = smoothstep(0.40, 0.60, y - 0.12 * bump(x, y, 0.0, 0.55, 0.2, 0.3))
        zone = zone * smoothstep(face.nose_y + 0.04, face.nose_y + 0.10, y)
        grain = 0.75 + 0.25 * torch.sin(95 * x + 3 * torch.sin(40 * y)) * torch.sin(90 * y)
        c = mix(c, 0.55 * zone * grain, hair_colour(face) * 0.7 + 0.04)
    part = label[front]
    nose = _inside_nose(face, x, y)
    part[nose & (part > 0)] = PART_INDEX["nose"]
    for side in (-1.0, 1.0):
        paint_brow(face, side, x, y, c, part)
        paint_eye(face, side, x, y, c, part, gloss, front)
        nostril = bump(x, y, side * face.nose_half * 0.42, face.nose_y + 0.045, 0.040, 0.024)
        c = mix(c, 0.75 * smoothstep(0.25, 0.7, nostril), base * 0.32)
    paint_mouth(face, x, y, c, part, gloss, front, drop)
    colour[front] = c
    label[front] = part
    return colour, gloss, label


def _inside_nose(face: FaceGeometry, x: Tensor, y: Tensor) -> Tensor:
    along = ((y - face.eye_y) / (face.nose_y - face.eye_y)).clamp(0, 1)
    return (
        (x.abs() < 0.055 + (face.nose_half - 0.055) * along**2)
        & (y > face.eye_y) & (y < face.nose_y + 0.065)
    )  # fmt: skip


def _speckles(x: Tensor, y: Tensor, cell: float) -> Tensor:
    """Scattered dots, at most one per cell of the chart: 1 inside a dot, 0 outside."""
    u, v = x / cell, y / cell
    i, j = u.floor(), v.floor()
    hashed = torch.sin(i * 12.9898 + j * 78.233) * 437.585
    across = 0.16 + 0.68 * torch.frac(hashed).abs()
    down = 0.16 + 0.68 * torch.frac(hashed * 7.13).abs()
    size = 0.17 + 0.10 * torch.frac(hashed * 3.7).abs()
    distance = ((u - i - across) ** 2 + (v - j - down) ** 2).sqrt()
    there = torch.frac(hashed * 1.9).abs() > 0.3
    return ((size - distance) * cell / (2 * SOFT) + 0.5).clamp(0, 1) * there


def _creases(face: FaceGeometry, x: Tensor, y: Tensor) -> Tensor:
    """Darkness of folds: age, sneer, frown, raised brows, smile."""
    m, age = face.blendshapes, max(face.identity["wrinkles"], 0.0)
    dark = torch.zeros_like(x)
    raised = 0.25 * m["browInnerUp"] + 0.3 * age
    if raised > 0.02:
        waves = torch.cos((y + 0.58 + 0.06 * torch.cos(2.5 * x)) * 2 * torch.pi / 0.11)
        dark += raised * 0.75 * smoothstep(0.55, 1.0, waves) * bump(x, y, 0, -0.55, 0.36, 0.12)
    down = (m["browDownLeft"] + m["browDownRight"]) / 2
    dark += (0.45 * down + 0.2 * age) * line(x.abs() - 0.06, 0.02) * bump(x, y, 0, -0.28, 0.2, 0.10)
    for side in (-1.0, 1.0):
        smile, sneer = face.pair("mouthSmile", side), face.pair("noseSneer", side)
        strength = 0.04 + 0.30 * smile + 0.25 * sneer + 0.34 * age
        t = ((y - face.nose_y + 0.03) / 0.30).clamp(-0.3, 1.3)
        path = side * (face.nose_half + 0.03 + (0.17 + 0.06 * smile) * t)
        window = smoothstep(-0.1, 0.15, t) * smoothstep(1.15, 0.7, t)
        dark += strength * 0.8 * line(x - path, 0.026) * window
        if age > 0.02:
            qx, h = face.eye_frame(x, y, side)
            rays = smoothstep(0.5, 1.0, torch.cos(torch.atan2(h, qx - 0.7) * 14))
            dark += 0.42 * age * rays * bump(qx, h, 1.35, 0.0, 0.26, 0.15)
            fold = line(h - 0.16 - 0.03 * (1 - qx * qx), 0.016)
            dark += 0.42 * age * fold * smoothstep(1.1, 0.6, qx.abs())
        if sneer > 0.05:
            rays = smoothstep(0.2, 1.0, torch.cos((y - 0.3 * x.abs()) * 2 * torch.pi / 0.075))
            dark += 0.4 * sneer * rays * bump(x, y, side * 0.08, 0.10, 0.06, 0.10)
        lift = face.pair("cheekSquint", side)
        if lift > 0.05:
            qx, h = face.eye_frame(x, y, side)
            fold = line(h - 0.13 - 0.02 * (1 - qx * qx), 0.02)
            dark += 0.30 * lift * fold * smoothstep(1.2, 0.7, qx.abs())
        dimple = face.pair("mouthDimple", side)
        if dimple > 0.05:
            half, hang = face.mouth_corner(side)
            across = face.mouth_x + side * (half + 0.06)
            dark += 0.5 * dimple * bump(x, y, across, face.mouth_y + hang, 0.03, 0.05)
    dark += 0.22 * m["mouthShrugLower"] * bump(x, y, 0, 0.88, 0.14, 0.03)
    # The groove from nose to lip.
    dark += 0.12 * bump(x, y, 0, face.nose_y + 0.12, 0.03, 0.07)
    return dark.clamp(0, 0.7)

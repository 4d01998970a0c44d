"""Painting brows, eyes and mouth, for each sample of the face."""

from __future__ import annotations

import torch
from torch import Tensor

from ...faces.parts import PART_INDEX
from .brushes import brow_colour, edge, line, mix, rgb
from .face_geometry import FaceGeometry, smoothstep
from .palette import COLOURS, skin_colour


def paint_brow(
    face: FaceGeometry, side: float, x: Tensor, y: Tensor, c: Tensor, part: Tensor
) -> None:
    near = ((x * side > -0.02) & (y < 0.1) & (y > -0.75)).nonzero()[:, 0]
    xs, ys = x[near], y[near]
    q = face.brow_coordinate(xs, side)
    _, centre, thick = face.brow(q.clamp(0, 1), side)
    distance = thick - (ys - centre).abs()
    distance = torch.minimum(distance, torch.minimum(q + 0.02, 1.02 - q) * face.eye_half * 2)
    hairs = 0.88 + 0.12 * torch.sin(70 * xs + 60 * (ys - centre))
    c[near] = mix(c[near], edge(distance) * hairs, brow_colour(face))
    name = "brow_left" if side > 0 else "brow_right"
    part[near[(distance > 0) & (part[near] > 0)]] = PART_INDEX[name]


def paint_eye(face: FaceGeometry, side: float, x: Tensor, y: Tensor, c: Tensor, part: Tensor,
               gloss: Tensor, front: Tensor) -> None:  # fmt: skip
    near = ((x * side > 0.0) & (x * side < 0.75) & (y > -0.42) & (y < 0.28)).nonzero()[:, 0]
    xs, ys = x[near], y[near]
    q, h = face.eye_frame(xs, ys, side)
    arch = (1 - q * q).clamp(min=0).sqrt()
    upper, lower = face.lids(side)
    above, below = h + upper * arch, lower * arch - h
    inside = torch.minimum(above, below)
    inside = torch.where(q.abs() < 1, inside, -torch.ones_like(q))
    colour = c[near]
    # Lid: slightly darker fold above the eye.
    full = 0.138 + 0.036 * face.identity["eye_size"]
    fuse = h + (max(upper, full * 0.75) + 0.052) * arch
    colour = colour * (1 - 0.42 * line(fuse, 0.017) * smoothstep(1.02, 0.7, q.abs()))[:, None]
    bag = smoothstep(0.12, 0.0, -below)
    shade = 1 - 0.16 * bag * (below < 0) * smoothstep(1.1, 0.6, q.abs())
    colour = colour * shade[:, None]
    gx, gy = face.gaze(side)
    dx, dy = xs - side * face.eye_x - gx, ys - face.eye_y - gy
    radius = 0.118 + 0.016 * face.identity["eye_size"]
    across = dx * (1 + 0.16 * face.identity["face_width"])
    down = dy * (1 + 0.11 * face.identity["face_length"])
    r = (across**2 + down**2).sqrt()
    iris = COLOURS["eye_color"][int(face.identity["eye_color"])]
    shade = 0.88 + 0.12 * smoothstep(0.0, 0.10, above)
    white = rgb(250, 249, 246).expand(len(q), 3) * shade[:, None]
    eye = mix(white, edge(radius - r), iris * 0.42)
    spokes = 1 + 0.12 * torch.cos(torch.atan2(dy, dx) * 11)
    light = 0.85 + 0.55 * (dy / radius).clamp(-0.6, 1)
    eye = mix(eye, edge(radius * 0.86 - r), iris * light[:, None] * spokes[:, None])
    eye = mix(eye, edge(radius * 0.46 - r), rgb(14, 12, 16))
    eye = eye * (0.80 + 0.20 * smoothstep(0.0, 0.06, above))[:, None]
    shine = ((dx + 0.038) ** 2 + (dy + 0.042) ** 2).sqrt()
    eye = mix(eye, edge(0.026 - shine), rgb(255, 255, 255))
    colour = mix(colour, edge(inside), eye.clamp(0, 1))
    lash = line(above - 0.004, 0.024) * (q.abs() < 1.06) * (below > -0.03)
    colour = mix(colour, 0.95 * lash.clamp(0, 1), rgb(26, 16, 16))
    colour = mix(colour, 0.40 * line(below, 0.012) * (q.abs() < 1.0), rgb(90, 44, 40))
    c[near] = colour
    seen = near[(inside > 0) & (part[near] > 0)]
    part[seen] = PART_INDEX["eye_left" if side > 0 else "eye_right"]
    gloss[front[seen]] = 0.5


def paint_mouth(face: FaceGeometry, x: Tensor, y: Tensor, c: Tensor, part: Tensor, gloss: Tensor,
                 front: Tensor, drop: float) -> None:  # fmt: skip
    near = ((x.abs() < 0.7) & (y > face.nose_y + 0.03) & (y < 1.15 + drop)).nonzero()[:, 0]
    xs, ys = x[near], y[near]
    s, top, inner_up, inner_low, bottom = face.mouth_curves(xs)
    within = s.abs() < 1
    no = torch.full_like(xs, -1.0)
    upper = torch.where(within, torch.minimum(ys - top, inner_up - ys), no)
    lower = torch.where(within, torch.minimum(ys - inner_low, bottom - ys), no)
    opening = torch.where(within, torch.minimum(ys - inner_up, inner_low - ys), no)
    whole = torch.where(within, torch.minimum(ys - top, bottom - ys), no)
    kind = int(face.identity["lip_color"])
    skin = skin_colour(face.identity["skin"], face.identity["skin_tone"])
    lips = COLOURS["lip_color"][kind] if kind else skin * rgb(236, 150, 146) * 0.95
    colour = c[near]
    # Shadow below the lower lip and the lip's outline.
    shadow = 0.28 * line(ys - bottom - 0.035, 0.03) * smoothstep(1.0, 0.5, s.abs())
    colour = colour * (1 - shadow)[:, None]
    light = 0.86 + 0.30 * smoothstep(0.0, 0.05, lower)
    light = torch.where(upper > lower, torch.full_like(light, 0.84), light)
    colour = mix(colour, edge(whole), (lips * light[:, None]).clamp(0, 1))
    dark = rgb(72, 14, 20)
    depth = inner_low - inner_up
    mouth = dark.expand(len(xs), 3)
    height = (ys - inner_low - 0.01) / (0.02 + 0.5 * depth.clamp(min=0.02))
    tongue = ((xs - face.mouth_x) / 0.17) ** 2 + height**2
    mouth = mix(mouth, smoothstep(1.15, 0.85, tongue), rgb(214, 92, 96))
    gap = face.jaw_drop * (1 - face.blendshapes["mouthClose"])
    teeth = torch.minimum(ys - inner_up, inner_up + 0.085 - ys)
    notch = 1 - 0.10 * line(torch.remainder(xs + 0.5, 0.062) - 0.031, 0.006)
    mouth = mix(mouth, edge(teeth + 0.01), rgb(248, 245, 236) * notch[:, None])
    low_teeth = ys - (inner_low - 0.045)
    lowered = face.pair("mouthLowerDown", 1.0) + face.pair("mouthLowerDown", -1.0)
    if gap < 0.12 or lowered > 0.5:
        mouth = mix(mouth, edge(low_teeth) * (depth > 0.10), rgb(236, 230, 218))
    mouth = mouth * (0.66 + 0.34 * smoothstep(1.0, 0.72, s.abs()))[:, None]
    colour = mix(colour, edge(opening), mouth)
    seam = (inner_up + inner_low) / 2
    closed = smoothstep(0.05, 0.0, depth) * (s.abs() < 1.04)
    colour = mix(colour, 0.85 * closed * line(ys - seam, 0.014), lips * 0.34)
    press = face.blendshapes["mouthPressLeft"] + face.blendshapes["mouthPressRight"]
    corners = smoothstep(1.25, 0.95, s.abs())
    amount = 0.3 * press * line(ys - seam, 0.05) * corners * (s.abs() > 0.85)
    colour = mix(colour, amount, skin * 0.5)
    c[near] = colour
    ok = part[near] > 0
    for name, distance in (("upper_lip", upper), ("lower_lip", lower), ("mouth_interior", opening)):
        part[near[(distance > 0) & ok]] = PART_INDEX[name]
    gloss[front[near[(whole > 0) & (opening < 0)]]] = 0.45

"""Hair and beards as meshes.

They are shells over the skin whose thickness is negative where nothing grows, so that the depth
test cuts a clean hairline.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .accessories import ball
from .face_geometry import FaceGeometry, smoothstep
from .head_surface import BEARD, COLUMNS, HAIR, ROWS, Mesh, grid_faces, head_grid, profile, word

CURTAIN_ROW = -0.12


def hairline(phi: Tensor, forehead: float, front: float = -0.60) -> Tensor:
    """Chart height where hair ends, by longitude: forehead, temple, sideburn, nape."""
    a = phi.abs()
    line = front - 0.07 * forehead + 0.16 * smoothstep(0.45, 1.0, a)
    line = line + (0.34 - (front + 0.6)) * smoothstep(1.0, 1.32, a)
    return line + 0.42 * smoothstep(1.62, 2.1, a)


def hair_growth(face: FaceGeometry, style: str, points: Tensor, y: Tensor, phi: Tensor) -> Tensor:
    """Thickness of the hair shell [R,C]; negative where no hair grows."""
    forehead = face.identity["forehead"]
    line = hairline(phi, forehead)
    thick, slope = 0.13, 1.1
    if style == "buzzed":
        thick, slope = 0.022, 0.6
    elif style == "short":
        # A side parting: the fringe sweeps up towards one side.
        line = line + 0.10 * torch.sin(2.2 * phi + 0.6) * smoothstep(1.0, 0.5, phi.abs())
        wave = 0.11 * smoothstep(-0.45, -0.85, y) * (1.2 + points[..., 0])
        return thicken(line - y, slope, thick) + wave * (line - y).clamp(0, 0.3) / 0.3
    elif style in ("fringe", "bob"):
        line = hairline(phi, 0.0, -0.42)
        thick = 0.15
    elif style == "long":
        line = hairline(phi, forehead, -0.66) - 0.12 * torch.exp(-((phi / 0.22) ** 2))
        thick = 0.12
    elif style == "afro":
        lumps = torch.sin(9 * phi) * torch.sin(13 * y) + torch.sin(16 * phi + 3 * y) * 0.5
        line = line + 0.05 * lumps
        side = smoothstep(0.25, -0.5, y)
        return thicken(line - y, 2.2, 0.14 + 0.30 * side) + 0.035 * lumps * side * (line > y)
    elif style == "mohawk":
        crest = torch.exp(-((points[..., 0] / 0.20) ** 4))
        spikes = 0.06 * torch.sin(14 * torch.atan2(points[..., 2], -points[..., 1]))
        return (0.35 + spikes) * crest * ((line - y) * 3).clamp(-0.1, 1) - 0.05
    elif style in ("bun", "pigtails"):
        thick = 0.075
        if style == "pigtails":
            line = line + 0.10 * phi.abs().clamp(max=0.5) - 0.06
    return thicken(line - y, slope, thick)


def thicken(inside: Tensor, slope: float, thick: float | Tensor) -> Tensor:
    """Thickness that rises from the hairline to ``thick``; below the skin outside of it."""
    up = thick * (1 - torch.exp(-inside.clamp(min=0) * slope / thick * 1.6))
    return up + (inside.clamp(max=0) * 0.5).clamp(min=-0.06) - 0.004


def hair_meshes(face: FaceGeometry, head: Mesh) -> list[Mesh]:
    """The hair shell with its extras (curtain, bun, pigtails); none for a bald head."""
    style = word(face, "hair_style")
    if style == "bald":
        return []
    y, phi = head_grid()
    skin = head.points.view(ROWS, COLUMNS, 3)
    yy, pp = y[:, None].expand(ROWS, COLUMNS), phi[None].expand(ROWS, COLUMNS)
    out = skin - torch.tensor([0.0, -0.1, -0.08])
    out = out / out.norm(dim=-1, keepdim=True)
    thickness = hair_growth(face, style, skin, yy, pp)
    points = skin + out * thickness[..., None]
    chart = torch.stack([skin[..., 0], yy, pp], -1)
    faces = grid_faces(ROWS, COLUMNS, True)
    meshes = []
    if style in ("long", "bob"):
        above = y < CURTAIN_ROW
        last = int(above.sum())
        kept = (faces // COLUMNS).amax(-1) <= last - 1
        meshes.append(curtain(face, style, points[last - 1], phi))
        faces = faces[kept]
    meshes.append(Mesh(points.reshape(-1, 3), chart.reshape(-1, 3), faces, HAIR))
    if style == "bun":
        meshes.append(ball((0.0, -1.30 * (1 + 0.11 * face.identity["face_length"]), -0.25),
                           (0.36, 0.30, 0.36), HAIR))  # fmt: skip
    if style == "pigtails":
        width = float(profile(face, torch.tensor(0.0))[0])
        for side in (-1.0, 1.0):
            meshes.append(ball((side * (width + 0.24), 0.36, -0.20), (0.25, 0.60, 0.25), HAIR))
    return meshes


def curtain(face: FaceGeometry, style: str, rim: Tensor, phi: Tensor) -> Mesh:
    """Hair that hangs from the rim [C, 3] of the shell at the sides and the back."""
    keep = phi.abs() > 0.98
    order = torch.argsort(torch.where(phi < 0, phi + 2 * math.pi, phi)[keep])
    rim, phi = rim[keep][order], phi[keep][order]
    length = 1.05 if style == "bob" else 2.1
    down = torch.linspace(0, 1, 14)[:, None]
    edge = smoothstep(0.95, 1.45, phi.abs())[None]
    flare = 1 + (0.20 if style == "bob" else 0.26) * torch.sin(down * math.pi * 0.55)
    if style == "bob":
        flare = flare - 0.22 * smoothstep(0.65, 1.0, down)
    radius = flare * (0.86 + 0.14 * edge) + 0.02 * torch.sin(17 * phi)[None] * down
    x = rim[None, :, 0] * radius
    z = (rim[None, :, 2] + 0.05) * radius - 0.05 - 0.25 * down * edge * (rim[None, :, 2] > 0)
    y = rim[None, :, 1] + length * down + 0.0 * x
    rows, columns = y.shape
    chart = torch.stack([x, CURTAIN_ROW + length * down + 0.0 * x, phi[None].expand_as(x)], -1)
    points = torch.stack([x, y, z], -1).reshape(-1, 3)
    return Mesh(points, chart.reshape(-1, 3), grid_faces(rows, columns, False), HAIR, True)


def beard_mesh(face: FaceGeometry, head: Mesh) -> list[Mesh]:
    """Moustache, goatee or full beard as a shell over the lower face."""
    kind = word(face, "facial_hair")
    if kind in ("none", "stubble"):
        return []
    y_rest, _ = head_grid()
    first = int((y_rest < 0.0).sum()) - 1
    skin = head.points.view(ROWS, COLUMNS, 3)[first:]
    x, y, phi = head.chart.view(ROWS, COLUMNS, 3)[first:].unbind(-1)
    s, top, _, _, bottom = face.mouth_curves(x)
    beyond = (s.abs() - 1.0).clamp(min=0) * 0.25
    off_lips = torch.maximum(torch.maximum(top - y, y - bottom), beyond) - 0.012
    centre = x - face.mouth_x
    half = (face.mouth_corner(-1.0)[0] + face.mouth_corner(1.0)[0]) / 2
    under_nose = y - (face.nose_y + 0.075 + 0.5 * centre.abs() ** 2)
    thick = 0.10
    if kind == "moustache":
        droop = 0.10 * smoothstep(half * 0.7, half * 1.3, centre.abs())
        d = torch.minimum(
            under_nose, torch.minimum(top + 0.03 + droop - y, half + 0.10 - centre.abs())
        )
        d, thick = torch.minimum(d, torch.where(s.abs() < 0.9, top + 0.02 - y, d)), 0.075
    elif kind == "goatee":
        d = torch.minimum(
            half + 0.05 - centre.abs() - 0.4 * (y - 0.8 - face.jaw_drop).clamp(min=0), off_lips
        )
        d = torch.minimum(d, under_nose)
    else:
        cheek = face.nose_y + 0.09 + 0.16 * smoothstep(0.2, 0.5, centre.abs())
        cheek = cheek - 0.66 * smoothstep(0.62, 1.15, phi.abs())
        d = torch.minimum(torch.minimum(y - cheek, off_lips), (1.62 - phi.abs()) * 0.6)
        thick = 0.15
    out = skin - torch.tensor([0.0, 0.25, -0.25])
    out = out / out.norm(dim=-1, keepdim=True)
    size = thicken(d, 1.3, thick) * smoothstep(1.75, 1.4, phi.abs()).clamp(min=0.01)
    points = (skin + out * size[..., None]).reshape(-1, 3)
    faces = grid_faces(points.shape[0] // COLUMNS, COLUMNS, True)
    # The rest of the shell lies under the skin.
    covered = (d.reshape(-1) > -0.1)[faces].any(-1)
    chart = torch.stack([x, y, phi], -1).reshape(-1, 3)
    return [Mesh(points, chart, faces[covered], BEARD)]

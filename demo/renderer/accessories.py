"""Ears, earrings, neck, shirt and glasses as meshes."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from .face_geometry import FaceGeometry, smoothstep
from .head_surface import (  # fmt: skip
    EAR,
    FRAME,
    JEWEL,
    LENS,
    NECK,
    SHIRT,
    Mesh,
    front_point,
    grid_faces,
    profile,
    word,
)


@functools.cache
def unit_sphere(rows: int = 10, columns: int = 14) -> tuple[Tensor, Tensor]:
    """Points [rows * columns, 3] and triangles [F, 3] of a unit sphere."""
    t = torch.linspace(0, math.pi, rows)[:, None]
    p = torch.arange(columns)[None] * (2 * math.pi / columns)
    points = [torch.sin(t) * torch.sin(p), -torch.cos(t).expand(-1, columns)]
    points.append(torch.sin(t) * torch.cos(p))
    return torch.stack(points, -1).reshape(-1, 3), grid_faces(rows, columns, True)


def ball(
    centre: tuple[float, float, float], size: tuple[float, float, float], surface: int
) -> Mesh:
    """An ellipsoid with half axes ``size``."""
    points, faces = unit_sphere()
    return Mesh(points * torch.tensor(size) + torch.tensor(centre), points, faces, surface)


def ear_meshes(face: FaceGeometry) -> list[Mesh]:
    """Both ears, with earrings if worn; none under long hair."""
    if word(face, "hair_style") in ("long", "bob"):
        return []
    width = float(profile(face, torch.tensor(0.05))[0])
    size = 1 + 0.38 * face.identity["ear_size"]
    points, faces = unit_sphere(14, 16)
    meshes = []
    for side in (-1.0, 1.0):
        turn = 0.45 * side
        local = points * torch.tensor([0.065, 0.215 * size, 0.15 * size])
        x = local[:, 0] * math.cos(turn) - local[:, 2] * math.sin(turn)
        z = local[:, 0] * math.sin(turn) + local[:, 2] * math.cos(turn)
        centre = torch.tensor([side * (width + 0.045 * size), 0.07, -0.10])
        moved = torch.stack([x, local[:, 1], z], -1) + centre
        chart = points * torch.tensor([side, 1.0, 1.0])
        meshes.append(Mesh(moved, chart, faces, EAR))
        if word(face, "earrings") != "none":
            low = 0.07 + 0.215 * size + 0.07
            meshes.append(
                ball((side * (width + 0.07 * size), low, -0.06), (0.075, 0.075, 0.075), JEWEL)
            )
    return meshes


@functools.cache
def torso_grid() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Points of neck and shirt and their triangles, in the space of the upright body."""
    phi = torch.arange(32)[None] * (2 * math.pi / 32)
    y = torch.linspace(0.45, 1.75, 7)[:, None]
    radius = 0.40 + 0.12 * smoothstep(1.2, 1.75, y)
    neck = torch.stack(
        [radius * torch.sin(phi), y.expand(-1, 32), radius * torch.cos(phi) - 0.12], -1
    )
    t = torch.linspace(0, 1, 12)[:, None]
    wide, deep = 0.44 + 1.15 * t**0.55, 0.46 + 0.42 * t**0.6
    y = 1.20 + 1.2 * t**1.35 + 0.0 * phi
    y = y + 0.10 * torch.cos(phi) * (1 - t)
    shirt = torch.stack([wide * torch.sin(phi), y, deep * torch.cos(phi) - 0.12], -1)
    return neck, shirt, grid_faces(7, 32, True), grid_faces(12, 32, True)


def neck_and_shirt(rotation: Tensor) -> list[Mesh]:
    """Neck and shirt in head space; the top of the neck follows the head, the shoulders do not."""
    neck, shirt, neck_faces, shirt_faces = torso_grid()
    follow = smoothstep(1.5, 0.6, neck[..., 1:2])
    fixed = neck @ rotation
    bent = (neck * follow + fixed * (1 - follow)).reshape(-1, 3)
    body = (shirt @ rotation).reshape(-1, 3)
    return [
        Mesh(bent, neck.reshape(-1, 3), neck_faces, NECK, True),
        Mesh(body, shirt.reshape(-1, 3), shirt_faces, SHIRT, True),
    ]


def tube(path: Tensor, thick: float, closed: bool, surface: int) -> Mesh:
    """A square tube along points [N, 3] that lie roughly in the image plane."""
    ahead = path.roll(-1, 0) - path.roll(1, 0)
    if not closed:
        ahead[0], ahead[-1] = path[1] - path[0], path[-1] - path[-2]
    ahead = ahead / ahead.norm(dim=-1, keepdim=True)
    up = torch.tensor([0.0, 0.0, 1.0]).expand_as(path)
    up = torch.where(ahead[:, 2:].abs() > 0.8, torch.tensor([0.0, 1.0, 0.0]).expand_as(path), up)
    side = torch.linalg.cross(ahead, up)
    side = side / side.norm(dim=-1, keepdim=True)
    up = torch.linalg.cross(side, ahead)
    corners = [side + up, side - up, -side - up, -side + up]
    points = torch.stack([path + thick * c for c in corners], 1)
    if closed:
        points = torch.cat([points, points[:1]])
    rows = points.shape[0]
    flat = points.reshape(-1, 3)
    return Mesh(flat, flat, grid_faces(rows, 4, True), surface, True)


def glasses_meshes(face: FaceGeometry) -> list[Mesh]:
    """Frames, bridge and temples; dark lenses for sunglasses."""
    kind = word(face, "glasses")
    if kind == "none":
        return []
    turn = torch.arange(28) * (2 * math.pi / 28)
    power = {"round": 1.0, "square": 0.42, "sunglasses": 0.7}[kind]
    rx = face.eye_x - 0.055
    ry = {"round": rx, "square": 0.235, "sunglasses": 0.25}[kind]
    thick = {"round": 0.022, "square": 0.032, "sunglasses": 0.028}[kind]
    stretch = 1 + 0.11 * face.identity["face_length"]
    y0 = (face.eye_y + 0.015) * stretch
    cos, sin = torch.cos(turn), torch.sin(turn)
    dx, dy = rx * cos.sign() * cos.abs() ** power, ry * sin.sign() * sin.abs() ** power
    probe = torch.tensor([[0.0, face.eye_y + 0.03], [face.eye_x, face.eye_y], [0.30, 0.20]])
    depths = front_point(face, probe)[:, 2]
    front = max(float(depths[0]) - 0.01, float(depths[1]) + 0.07, float(depths[2]) + 0.02)
    width = float(profile(face, torch.tensor(0.0))[0])
    meshes = []
    for side in (-1.0, 1.0):
        x = side * (face.eye_x + dx)
        z = front - 0.22 * x.abs() ** 2
        ring = torch.stack([x, y0 + dy, z], -1)
        meshes.append(tube(ring, thick, True, FRAME))
        outer = side * (face.eye_x + rx)
        arm = torch.tensor(
            [[outer, y0 - 0.05, front - 0.22 * outer**2],
             [side * (0.95 * width + 0.01), y0 - 0.05, 0.25],
             [side * (width - 0.005), y0 - 0.02, -0.12]]
        )  # fmt: skip
        meshes.append(tube(arm, thick * 0.9, False, FRAME))
        if kind == "sunglasses":
            centre = torch.tensor([[side * face.eye_x, y0, front - 0.22 * face.eye_x**2 + 0.01]])
            fan = torch.stack([torch.zeros(28, dtype=torch.long), torch.arange(28) + 1,
                               (torch.arange(28) + 1) % 28 + 1], -1)  # fmt: skip
            disc = torch.cat([centre, ring])
            meshes.append(Mesh(disc, disc - centre, fan, LENS, True))
    t = torch.linspace(-1, 1, 5)
    bridge = torch.stack([t * 0.075, y0 - 0.03 - 0.03 * (1 - t**2), torch.full((5,), front)], -1)
    return [*meshes, tube(bridge, thick, False, FRAME)]

"""Rendering heads: images and their ground truth (depth, parts, landmarks, masks)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..people import Heads
from .accessories import ear_meshes, glasses_meshes, neck_and_shirt
from .backgrounds import backdrop
from .face_geometry import FaceGeometry, face_geometry, landmark_chart
from .hair import beard_mesh, hair_meshes
from .head_surface import NECK, SHIRT, Mesh, contour_points, front_point, head_mesh
from .rasterizer import rasterize
from .shading import illuminate, paint

SAMPLES = 2  # samples along each side of a pixel
DISTANCE = 7.0  # of the camera, in head half heights
SCALE = 0.345  # head units to fractions of the image
CENTRE = (0.5, 0.495)
PIVOT = (0.0, 0.05, 0.0)


@dataclass(frozen=True)
class Renders:
    """Images of B heads and their ground truth.

    rgb [B, 3, S, S]: float in 0..1.
    depth [B, S, S]: 1 = background, smaller = nearer, down to -1.
    parts [B, S, S]: uint8, classes of ``faces.parts``.
    landmarks [B, 68, 2]: iBUG order, x, y as fractions of the image, occluded ones included.
    head_mask [B, S, S]: bool, head with hair and ears.
    """

    rgb: Tensor
    depth: Tensor
    parts: Tensor
    landmarks: Tensor
    head_mask: Tensor


def rotation_matrix(angles: Tensor) -> Tensor:
    """Rotations [B, 3, 3] of yaw, pitch, roll [B, 3] in degrees, Euler order xyz.

    Columns are the head's X, Y, Z axes in camera space (x right, y down, z towards the viewer), as
    in Dense-Face's pose images (docs/reference/dense_face.md A6).
    """
    yaw, pitch, roll = (angles.double() * math.pi / 180).unbind(-1)
    yaw = -yaw
    cy, sy, cp, sp = yaw.cos(), yaw.sin(), pitch.cos(), pitch.sin()
    cr, sr = roll.cos(), roll.sin()
    first = torch.stack([cy * cr, -cy * sr, sy], -1)
    second = torch.stack([cp * sr + cr * sp * sy, cp * cr - sp * sy * sr, -cy * sp], -1)
    third = torch.linalg.cross(first, second)
    return torch.stack([first, second, third], -2).float()


def project(points: Tensor, rotation: Tensor, camera: list[float]) -> Tensor:
    """Project head space [N, 3] to x, y as fractions of the image and z away from the viewer."""
    pivot = torch.tensor(PIVOT)
    turned = (points - pivot) @ rotation.T + pivot
    near = DISTANCE / (DISTANCE - turned[:, 2])
    right, down, scale = camera
    x = CENTRE[0] + right + turned[:, 0] * near * SCALE * scale
    y = CENTRE[1] + down + turned[:, 1] * near * SCALE * scale
    return torch.stack([x, y, -turned[:, 2]], -1)


def _normals(points: Tensor, faces: Tensor) -> Tensor:
    """Unit vertex normals [V, 3], outwards for triangles that are clockwise in the image."""
    a, b, c = points[faces].unbind(1)
    flat = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(points)
    for corner in range(3):
        total.index_add_(0, faces[:, corner], flat)
    return functional.normalize(total, dim=-1)


def _meshes(face: FaceGeometry, rotation: Tensor) -> list[Mesh]:
    head = head_mesh(face)
    return [
        head, *hair_meshes(face, head), *beard_mesh(face, head), *ear_meshes(face),
        *glasses_meshes(face), *neck_and_shirt(rotation),
    ]  # fmt: skip


def _render_one(head: Heads, size: int) -> tuple[Tensor, ...]:
    face = face_geometry(head.identity[0], head.expression[0])
    rotation = rotation_matrix(head.angles)[0]
    camera = head.camera[0].tolist()
    meshes = _meshes(face, rotation)
    starts = [0]
    for mesh in meshes:
        starts.append(starts[-1] + len(mesh.points))
    points = torch.cat([mesh.points for mesh in meshes])
    chart = torch.cat([mesh.chart for mesh in meshes])
    faces = torch.cat([m.faces + s for m, s in zip(meshes, starts, strict=False)])
    lengths = torch.tensor([len(mesh.faces) for mesh in meshes])
    surface = torch.tensor([mesh.surface for mesh in meshes]).repeat_interleave(lengths)
    two_sided = torch.tensor([mesh.two_sided for mesh in meshes]).repeat_interleave(lengths)
    placed = project(points, rotation, camera)
    fine = size * SAMPLES
    raster = placed * torch.tensor([fine, fine, 1.0])
    index, triangle, weight = rasterize(raster, faces, two_sided, fine)

    normals = _normals(points, faces) @ rotation.T
    attributes = torch.cat([chart, normals, placed[:, 2:]], 1)
    corners = faces[triangle]
    values = attributes[corners[:, 0]] * weight[:, :1]
    values += attributes[corners[:, 1]] * weight[:, 1:2]
    values += attributes[corners[:, 2]] * weight[:, 2:]
    kind = surface[triangle]
    normal = functional.normalize(values[:, 3:6], dim=-1)
    # The back of two-sided meshes is lit like the front, but darker.
    behind = two_sided[triangle] & (normal[:, 2] < 0)
    normal = torch.where(behind[:, None], -normal, normal)
    colour, gloss, label = paint(face, int(head.shirt[0]), kind, values[:, :3])
    colour = torch.where(behind[:, None], colour * 0.6, colour)
    lit = illuminate(colour, gloss, normal, head.light[0].tolist())

    image = backdrop(head.background[0], fine).reshape(-1, 3).clone()
    image[index] = lit
    rgb = functional.avg_pool2d(image.view(fine, fine, 3).permute(2, 0, 1)[None], SAMPLES)[0]
    depth = torch.full((fine * fine,), 1.0)
    depth[index] = (0.45 * values[:, 6]).clamp(-1, 0.95)
    parts = torch.zeros(fine * fine, dtype=torch.uint8)
    parts[index] = label
    mask = torch.zeros(fine * fine)
    mask[index[(kind != NECK) & (kind != SHIRT)]] = 1.0
    covered = functional.avg_pool2d(mask.view(1, 1, fine, fine), SAMPLES)[0, 0] >= 0.5

    spots = torch.cat([contour_points(face), front_point(face, landmark_chart(face))])
    landmarks = project(spots, rotation, camera)[:, :2]
    step = slice(SAMPLES // 2, None, SAMPLES)
    return (
        rgb, depth.view(fine, fine)[step, step], parts.view(fine, fine)[step, step], landmarks,
        covered,
    )  # fmt: skip


@torch.no_grad()
def render(heads: Heads, size: int = 128) -> Renders:
    """Render B heads deterministically, with 2 x 2 samples per pixel.

    Raises:
        ValueError: The size in pixels is not 16 to 1024.
    """
    if not 16 <= size <= 1024:
        raise ValueError(f"size must be 16..1024, not {size}.")
    columns = zip(*(_render_one(heads[i], size) for i in range(len(heads))), strict=True)
    return Renders(*(torch.stack(column) for column in columns))

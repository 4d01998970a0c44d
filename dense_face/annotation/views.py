"""Annotations as images, as the host's landmark value, and as files."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...faces.parts import PART_COLOURS
from ...storage import atomic_path
from .annotations import Annotations, resized

if TYPE_CHECKING:
    from PIL import Image

Size = tuple[int, int]
"""Width and height of an image."""
_DOT = torch.tensor([1.0, 0.9, 0.1])
_GREY = 0.5
_IBUG_CHAINS: dict[str, tuple[tuple[int, ...], ...]] = {
    "face_oval": (tuple(range(17)),),
    "right_eyebrow": (tuple(range(17, 22)),),
    "left_eyebrow": (tuple(range(22, 27)),),
    "nose": (tuple(range(27, 36)),),
    "right_eye": ((*range(36, 42), 36),),
    "left_eye": ((*range(42, 48), 42),),
    "lips": ((*range(48, 60), 48), (*range(60, 68), 60)),
    "irises": (),
}
_CONTOURS = ("face_oval", "left_eye", "right_eye", "left_eyebrow", "right_eyebrow", "lips")


def depth_view(seen: Annotations, size: Size) -> Tensor:
    """[B, 3, H, W] in 0..1: near is white; normalised to the depth of each face."""
    found = []
    for depth, face in zip(seen.depth, seen.face, strict=True):
        values = depth[face > 0.5]
        values = depth.flatten() if values.numel() == 0 else values
        low, high = float(values.min()), float(values.max())
        # Ears, hair and neck lie behind the face: half the range more shows them too.
        far = high + 0.5 * (high - low)
        found.append(((far - depth) / max(far - low, 1e-6)).clamp(0, 1))
    grey = resized(torch.stack(found), size[1], size[0])
    return grey[:, None].expand(-1, 3, -1, -1)


def parts_view(seen: Annotations, size: Size) -> Tensor:
    """[B, 3, H, W] in 0..1: the data set's colour of the most likely part, with hard edges."""
    palette = torch.tensor(PART_COLOURS, dtype=torch.float32) / 255
    logits = F.interpolate(seen.part_logits, (size[1], size[0]), mode="bilinear")
    return palette[logits.argmax(1)].permute(0, 3, 1, 2)


def landmarks_view(seen: Annotations, images: Tensor | None, size: Size) -> Tensor:
    """[B, 3, H, W] in 0..1: landmarks as dots, brighter with confidence, on images or grey."""
    width, height = size
    if images is None:
        ground = torch.full((len(seen), 3, height, width), _GREY)
    else:
        ground = F.interpolate(images, (height, width), mode="bilinear", antialias=True)
        ground = ground[:1].expand(len(seen), -1, -1, -1) if len(ground) == 1 else ground
    radius = max(1.0, width / 128)
    x = (torch.arange(width) + 0.5)[None, None] - seen.landmarks[..., :1] * width
    y = (torch.arange(height) + 0.5)[None, None] - seen.landmarks[..., 1:] * height
    near = (x.abs() < radius).float() * seen.confidence[..., None].clamp(0.3, 1)
    # Where dots overlap the brightest wins; a loop over points keeps memory constant.
    dots = torch.zeros(len(seen), height, width)
    for point in range(seen.landmarks.shape[1]):
        column = (y[:, point].abs() < radius).float()
        dots = torch.maximum(dots, column[:, :, None] * near[:, point][:, None])
    return torch.lerp(ground, _DOT[None, :, None, None].expand_as(ground), dots[:, None])


def preview(seen: Annotations, images: Tensor | None, size: Size) -> Tensor:
    """[B, 3, H, 3W] in 0..1: landmarks, depth and parts side by side."""
    views = (landmarks_view(seen, images, size), depth_view(seen, size), parts_view(seen, size))
    return torch.cat(views, -1)


def landmarks_value(seen: Annotations, size: Size) -> dict[str, Any]:
    """The host's FACE_LANDMARKS: one face per image, positions in pixels.

    z is the depth at the point times the image's width. There are no blendshapes and no
    transformation matrix: the head predicts neither.
    """
    width, height = size
    grid = (seen.landmarks * 2 - 1)[:, :, None]
    depth = F.grid_sample(seen.depth[:, None], grid, align_corners=False, padding_mode="border")
    frames = []
    for points, z, sure in zip(seen.landmarks, depth[:, 0, :, 0], seen.confidence, strict=True):
        xy = (points * torch.tensor([width, height])).numpy().astype(np.float32)
        face = {
            "bbox_xyxy": np.concatenate([xy.min(0), xy.max(0)]),
            "blendshapes": {},
            "landmarks_xy": xy,
            "landmarks_3d": np.concatenate([xy, z[:, None].numpy() * width], 1),
            "presence": float(sure.mean()),
            "score": float(sure.mean()),
            "transformation_matrix": None,
        }
        frames.append([face])
    return {
        "frames": frames,
        "image_size": (height, width),
        "connection_sets": _connections(seen.scheme),
    }


def write_annotations(seen: Annotations, number: int, stem: Path) -> list[Path]:
    """Write depth (16 bit, 0 nearest), parts and landmarks of one image, and return the paths.

    Raises:
        InputError: A file cannot be written.
    """
    images = (depth_file(seen.depth[number]), parts_file(seen.parts[number]))
    paths = [stem.with_name(f"{stem.name}_{kind}") for kind in ("depth.png", "parts.png")]
    for path, image in zip(paths, images, strict=True):
        with atomic_path(path) as temporary:
            image.save(temporary)
    table = stem.with_name(f"{stem.name}_landmarks.csv")
    rows = torch.cat([seen.landmarks[number], seen.confidence[number][:, None]], 1).tolist()
    with atomic_path(table) as temporary:
        temporary.write_text("".join(f"{x:.6f},{y:.6f},{c:.4f}\n" for x, y, c in rows))
    return [*paths, table]


def depth_file(depth: Tensor) -> Image.Image:
    """Depth [H, W] as a 16-bit image, 0 nearest."""
    from PIL import Image

    values = ((depth.clamp(-1, 1) + 1) / 2 * 65535).round().numpy()
    return Image.fromarray(values.astype(np.uint16))


def parts_file(parts: Tensor) -> Image.Image:
    """Part classes [H, W], uint8, as an image with the palette of ``faces.parts``."""
    from PIL import Image

    image = Image.fromarray(parts.numpy(), mode="P")
    image.putpalette([value for colour in PART_COLOURS for value in colour])
    return image


def _connections(scheme: str) -> dict[str, frozenset[tuple[int, int]]]:
    """Pairs of connected landmarks under the host's names; empty for the mesh."""
    chains = _IBUG_CHAINS if scheme == "ibug" else dict.fromkeys(_IBUG_CHAINS, ())
    sets = {
        name: frozenset(pair for chain in some for pair in pairwise(chain))
        for name, some in chains.items()
    }
    sets["contours"] = frozenset().union(*(sets[name] for name in _CONTOURS))
    sets["all"] = sets["contours"] | sets["irises"] | sets["nose"]
    return sets

"""Labels for the annotation head, from the renderer, at the resolution of the head's maps.

The image shards hold parts and landmarks but no depth. Depth is rendered once, from the head
parameters in the shards, into files of its own; for other images it is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from ...demo.people import Heads
from ...dense_face.annotation.loss import AnnotationLabels, small_parts
from ...faces.mirror import mirrored_landmarks, mirrored_parts
from ...storage import read_weights, write_weights
from .data import PER_SHARD, Images, in_processes

MAP_SIZE = 64
"""Cells along a side (docs/reference/dense_face.md B1)."""
ANNOTATED = 6000
"""Training images with depth."""


@dataclass(frozen=True)
class AnnotationTruth:
    """Labels of N images; their mirror images are numbered N to 2N - 1.

    parts [N, 64, 64] uint8; landmarks [N, 68, 2]; depth [M, 64, 64] of the first M images.
    """

    parts: Tensor
    landmarks: Tensor
    depth: Tensor

    def labels(self, pick: Tensor) -> AnnotationLabels:
        """The labels of images ``pick`` [B]; mirror images are allowed."""
        count = len(self.parts)
        mirrored, number = pick >= count, pick % count
        parts, landmarks = self.parts[number], self.landmarks[number]
        depth = torch.full((len(pick), *self.parts.shape[1:]), float("nan"))
        known = number < len(self.depth)
        depth[known] = self.depth[number[known]].float()
        flip = mirrored[:, None, None]
        return AnnotationLabels(
            depth=torch.where(flip, depth.flip(-1), depth),
            parts=torch.where(flip, mirrored_parts(parts), parts).long(),
            landmarks=torch.where(flip, mirrored_landmarks(landmarks, "ibug"), landmarks),
        )


def annotation_truth(images: Images, depth: Tensor) -> AnnotationTruth:
    """Labels of rendered images; ``depth`` [M, 64, 64] is that of the first M."""
    parts = torch.cat([small_parts(part, MAP_SIZE) for part in images.parts.split(PER_SHARD)])
    return AnnotationTruth(parts, images.landmarks, depth)


def render_depth(images: Path, folder: Path, count: int, workers: int) -> None:
    """Render the depth of the first ``count`` images of a folder; existing files are kept."""
    shards = range(-(-count // PER_SHARD))
    missing = [(images, folder, i) for i in shards if not _depth_file(folder, i).is_file()]
    in_processes(_render_shard, missing, workers, f"depth of {PER_SHARD} images")


def load_depth(folder: Path, count: int) -> Tensor:
    """[count, 64, 64] fp16, made by :func:`render_depth`."""
    shards = range(-(-count // PER_SHARD))
    return torch.cat([read_weights(_depth_file(folder, i))[0]["depth"] for i in shards])[:count]


def _depth_file(folder: Path, index: int) -> Path:
    return folder / f"depth-{index:04d}.safetensors"


def _render_shard(job: tuple[Path, Path, int]) -> None:
    from ...demo.renderer.renderer import render

    images, folder, index = job
    shard, _ = read_weights(images / f"shard-{index:04d}.safetensors")
    heads = Heads(**{f.name: shard[f"heads.{f.name}"] for f in fields(Heads)})
    depth = torch.cat([render(heads[i], MAP_SIZE).depth for i in range(len(heads))])
    write_weights(_depth_file(folder, index), {"depth": depth.half()}, {})

"""Training images of the tiny world: rendered once into files, then held in memory as bytes.

Images 2i and 2i + 1 show the same person with different head pose, expression, light and scene.
Training people have the seeds of ``demo.seeds.training_seed``, which evaluation never uses.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from ...demo.people import Heads, concatenate, sample_heads
from ...demo.seeds import training_seed
from ...dense_face.pose_image import pose_images
from ...faces.mirror import MIRROR_SHAPES, mirrored_angles
from ...faces.pixels import to_uint8
from ...storage import make_folder, read_weights, write_weights

T = TypeVar("T")
PER_SHARD = 250
PER_PERSON = 2


@dataclass(frozen=True)
class Images:
    """N rendered heads with their labels.

    rgb [N, 3, 128, 128], parts [N, 128, 128] and head [N, 128, 128] (1 on the head with hair and
    ears) as bytes, landmarks [N, 68, 2] in 0..1, heads.
    """

    rgb: Tensor
    parts: Tensor
    head: Tensor
    landmarks: Tensor
    heads: Heads

    def __len__(self) -> int:
        return self.rgb.shape[0]


class Latents:
    """Scaled latents [2N, 4, 16, 16] and heads of N images followed by their mirror images."""

    def __init__(self, images: Images, latents: Tensor) -> None:
        self.latents = latents
        self.heads: Heads = concatenate([images.heads, mirrored_heads(images.heads)])

    def __len__(self) -> int:
        return self.latents.shape[0]


def render_shards(folder: Path, count: int, workers: int) -> None:
    """Render ``count`` images into files of 250; existing files are kept.

    Raises:
        InputError: The folder cannot be written to.
    """
    make_folder(folder)
    missing = [
        (folder, i) for i in range(-(-count // PER_SHARD)) if not _shard(folder, i).is_file()
    ]
    in_processes(_render_shard, missing, workers, f"render {PER_SHARD} images")


def in_processes(work: Callable[[T], None], jobs: Sequence[T], workers: int, label: str) -> None:
    """Do the jobs in processes of one thread each, with a bar."""
    if not jobs:
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for _ in tqdm(pool.imap_unordered(work, jobs), total=len(jobs), desc=label):
            pass


def load_images(folder: Path, count: int) -> Images:
    """The first ``count`` images of a folder made by :func:`render_shards`."""
    shards = [read_weights(_shard(folder, i))[0] for i in range(-(-count // PER_SHARD))]

    def join(name: str) -> Tensor:
        return torch.cat([shard[name] for shard in shards])[:count]

    heads = concatenate(
        [Heads(**{f.name: shard[f"heads.{f.name}"] for f in fields(Heads)}) for shard in shards]
    )[:count]
    return Images(join("rgb"), join("parts"), join("head"), join("landmarks"), heads)


def training_heads(indices: Sequence[int]) -> Heads:
    """Heads of the training images ``indices``."""
    people = [training_seed(i // PER_PERSON) for i in indices]
    return sample_heads([training_seed(i) for i in indices], identity_seeds=people)


def mirrored_heads(heads: Heads) -> Heads:
    """The parameters of the mirror image: sides exchanged, yaw and roll negated."""
    return heads.replace(
        expression=heads.expression[:, MIRROR_SHAPES], angles=mirrored_angles(heads.angles)
    )


def _shard(folder: Path, index: int) -> Path:
    return folder / f"shard-{index:04d}.safetensors"


def _render_shard(job: tuple[Path, int]) -> None:
    from ...demo.renderer.renderer import render

    folder, index = job
    heads = training_heads(range(index * PER_SHARD, (index + 1) * PER_SHARD))
    rendered = render(heads)
    tensors = {
        "rgb": to_uint8(rendered.rgb),
        "parts": rendered.parts.to(torch.uint8),
        "head": rendered.head_mask.to(torch.uint8),
        "landmarks": rendered.landmarks,
        **{f"heads.{f.name}": getattr(heads, f.name) for f in fields(Heads)},
    }
    write_weights(_shard(folder, index), tensors, {"first": str(index * PER_SHARD)})


def pose_hints(heads: Heads) -> Tensor:
    """Pose images of heads as bytes [N, 3, 128, 128], as the pose branch reads them."""
    angles = [(yaw, pitch, roll) for yaw, pitch, roll in heads.angles.tolist()]
    return pose_images(angles, size=128).contiguous()

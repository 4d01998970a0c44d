"""A cache of the frozen UNet's features of the training images.

A pass of the UNet costs many times a step of the annotation head, and the UNet never changes. So
its decoder features are computed once and kept in files: each entry is an image or its mirror
image, noised to some timestep, with or without a caption.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ...demo.captions import caption
from ...dense_face.annotation.head import TIMESTEPS
from ...dense_face.feature_hooks import capture_features
from ...dense_face.schedule import alphas_cumprod
from ...pipelines.annotation import stage_modules
from ...pipelines.base import Base
from ...pipelines.text import encode_text, token_ids
from ...storage import make_folder, read_weights, write_weights
from .base import DROPPED_GROUP, use_plain_attention
from .data import PER_SHARD, Latents

#: Fraction of entries without a caption: finished images are mostly annotated without one.
EMPTY_CAPTION = 0.5
CACHED_SHARDS = 80
"""Shards of images that are cached, three entries per image: sixty thousand in all."""
_BATCH = 50


@dataclass(frozen=True)
class _Variant:
    """One way to noise the images.

    Args:
        seed: Of timesteps, noise and captions.
        timestep: Maps uniform random numbers [N] to timesteps 0..999.
        empty: Fraction of entries without a caption.
    """

    name: str
    seed: int
    timestep: Callable[[Tensor], Tensor]
    empty: float


_VARIANTS = (
    _Variant("any", 0, lambda u: TIMESTEPS * u.square(), EMPTY_CAPTION),
    # Finished images, in which most can be recognised.
    _Variant("light", 1, lambda u: 100 * u, 1.0),
    # Halfway through sampling, where masks are needed and noise hides most of the image.
    _Variant("half", 500_000, lambda u: 200 + 500 * u, 0.0),
)


@dataclass(frozen=True)
class FeatureCache:
    """N cached entries.

    image: [N], indices into :class:`~.data.Latents`, mirror images included.
    timestep: [N] in 0..999.
    features: [N, C, h, w] bf16 of each decoder level, coarse to fine.
    """

    image: Tensor
    timestep: Tensor
    features: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.image)


def cache_features(
    base: Base, data: Latents, folder: Path, shards: int, stamp: str, per_shard: int = PER_SHARD
) -> None:
    """Compute the features of all images of the first shards, in every variant; one file for each.

    Existing files are kept.

    Args:
        data: Latents of N images and their mirror images.
        stamp: Identifies the base; files made with another base are replaced.

    Raises:
        InputError: The folder cannot be written to.
    """
    make_folder(folder)
    use_plain_attention(base.unet)
    files = tqdm(_files(folder, shards), desc=f"features of {per_shard} images")
    for path, index, variant in files:
        if not (path.is_file() and read_weights(path)[1].get("base") == stamp):
            first = index * per_shard
            images = torch.arange(first, first + per_shard) % (len(data) // 2)
            seed = 2 * index + variant.seed
            write_weights(path, _features(base, data, images, seed, variant), {"base": stamp})


def load_features(folder: Path, shards: int) -> FeatureCache:
    """The files that :func:`cache_features` wrote.

    Raises:
        ModelFileError: A file is missing or damaged.
    """
    files = [read_weights(path)[0] for path, _, _ in _files(folder, shards)]
    stages = sum(name.startswith("stage.") for name in files[0])

    def join(name: str) -> Tensor:
        return torch.cat([tensors[name] for tensors in files])

    features = tuple(join(f"stage.{i}") for i in range(stages))
    return FeatureCache(join("image"), join("timestep"), features)


@torch.no_grad()
def _features(
    base: Base, data: Latents, images: Tensor, seed: int, variant: _Variant
) -> dict[str, Tensor]:
    count = len(images)
    generator = torch.Generator().manual_seed(seed)
    # The second half of the latents are mirror images.
    images = images + len(data) // 2 * torch.randint(2, (count,), generator=generator)
    timestep = variant.timestep(torch.rand(count, generator=generator)).long()
    texts = caption(data.heads[images], generator, DROPPED_GROUP)
    empty = torch.rand(count, generator=generator) < variant.empty
    texts = ["" if drop else text for text, drop in zip(texts, empty, strict=True)]
    latents = data.latents[images]
    noise = torch.randn(latents.shape, generator=generator)
    alpha = alphas_cumprod()[timestep].to(latents)[:, None, None, None]
    noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
    stages: list[list[Tensor]] = [[] for _ in stage_modules(base.unet)]
    for start in range(0, count, _BATCH):
        part = slice(start, start + _BATCH)
        context = encode_text(base.text_encoder, token_ids(texts[part]))
        with capture_features(stage_modules(base.unet)) as features:
            base.unet(noisy[part], timestep[part], context)
        for stage, feature in zip(stages, features, strict=True):
            stage.append(feature.bfloat16())
    tensors = {f"stage.{i}": torch.cat(stage) for i, stage in enumerate(stages)}
    return {"image": images, "timestep": timestep, **tensors}


def _files(folder: Path, shards: int) -> list[tuple[Path, int, _Variant]]:
    """Path, shard number and variant of every file."""
    return [
        (folder / f"{variant.name}-{index:04d}.safetensors", index, variant)
        for index in range(shards)
        for variant in _VARIANTS
    ]

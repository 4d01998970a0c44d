"""The frozen UNet's features of the training images, computed once and kept in files.

A pass of the UNet costs many times a step of the annotation head, and nothing in it learns. So the
head is trained on looks: an image or its mirror image, with noise, at some timestep, with or
without words, and what the decoder's levels then held.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ...demo.captions import caption
from ...dense_face.annotation.head import TIMESTEPS
from ...dense_face.feature_hooks import capture_features
from ...dense_face.schedule import alphas_cumprod
from ...pipelines.annotation import stage_modules
from ...pipelines.base import Base, token_ids
from ...pipelines.text import encode_text
from ...storage import read_weights, write_weights
from .base import DROPPED_GROUP, PlainAttention
from .data import PER_SHARD, Latents

#: Half of the looks of any noise know no words: finished images are mostly looked at without.
EMPTY_CAPTION = 0.5
CACHED_SHARDS = 80
"""So many shards of images are looked at, three times each: sixty thousand looks."""
_AT_ONCE = 50


@dataclass(frozen=True)
class _Kind:
    """One way to look at an image.

    Args:
        name: Of the files. seed: Of timesteps, noise and words.
        timestep: From chances [N] in 0..1 to 0..999.
        empty: Share of the looks without words.
    """

    name: str
    seed: int
    timestep: Callable[[Tensor], Tensor]
    empty: float


_KINDS = (
    _Kind("any", 0, lambda chance: TIMESTEPS * chance.square(), EMPTY_CAPTION),
    # Finished images: where there is most to be seen.
    _Kind("light", 1, lambda chance: 100 * chance, 1.0),
    # Images that are half sampled: where masks are wanted, and noise hides most of what is known.
    _Kind("half", 500_000, lambda chance: 200 + 500 * chance, 0.0),
)


@dataclass(frozen=True)
class FeatureCache:
    """N looks at training images.

    image: [N], numbers in :class:`~.demo_data.Latents`, mirror images included.
    timestep: [N] in 0..999.
    features: [N, C, h, w] bf16 of each stage, coarse to fine.
    """

    image: Tensor
    timestep: Tensor
    features: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.image)


def look(base: Base, data: Latents, folder: Path, shards: int, stamp: str) -> None:
    """Look at all images of the first shards in every way, a file for each; what exists is kept.

    Args:
        base: The frozen base.
        data: Latents of N images and their mirror images.
        folder: To write to.
        shards: Of :data:`~.demo_data.PER_SHARD` images.
        stamp: Names the base; files made with another one are made again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plain: Any = PlainAttention()  # diffusers lists its own classes only
    base.unet.set_attn_processor(plain)
    for path, index, kind in tqdm(_files(folder, shards), desc=f"looks at {PER_SHARD} images"):
        if not (path.is_file() and read_weights(path)[1].get("base") == stamp):
            write_weights(path, _look(base, data, index, kind), {"base": stamp})


def load_features(folder: Path, shards: int) -> FeatureCache:
    """What :func:`look` wrote."""
    found = [read_weights(path)[0] for path, _, _ in _files(folder, shards)]
    stages = sum(name.startswith("stage.") for name in found[0])

    def join(name: str) -> Tensor:
        return torch.cat([tensors[name] for tensors in found])

    features = tuple(join(f"stage.{i}") for i in range(stages))
    return FeatureCache(join("image"), join("timestep"), features)


@torch.no_grad()
def _look(base: Base, data: Latents, index: int, kind: _Kind) -> dict[str, Tensor]:
    count = len(data) // 2
    generator = torch.Generator().manual_seed(2 * index + kind.seed)
    image = (index * PER_SHARD + torch.arange(PER_SHARD)) % count
    image = image + count * torch.randint(2, (PER_SHARD,), generator=generator)
    chance = torch.rand(PER_SHARD, generator=generator)
    timestep = kind.timestep(chance).long()
    texts = caption(data.heads[image], generator, DROPPED_GROUP)
    empty = torch.rand(PER_SHARD, generator=generator) < kind.empty
    texts = ["" if gone else text for text, gone in zip(texts, empty, strict=True)]
    latents = data.latents[image]
    noise = torch.randn(latents.shape, generator=generator)
    alpha = alphas_cumprod()[timestep].to(latents)[:, None, None, None]
    noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
    stages: list[list[Tensor]] = [[] for _ in stage_modules(base.unet)]
    for start in range(0, PER_SHARD, _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        context = encode_text(base.text_encoder, token_ids(texts[some]))
        with capture_features(stage_modules(base.unet)) as features:
            base.unet(noisy[some], timestep[some], context)
        for stage, feature in zip(stages, features, strict=True):
            stage.append(feature.bfloat16())
    tensors = {f"stage.{i}": torch.cat(stage) for i, stage in enumerate(stages)}
    return {"image": image, "timestep": timestep, **tensors}


def _files(folder: Path, shards: int) -> list[tuple[Path, int, _Kind]]:
    """File, number of the shard, how it is looked at."""
    return [
        (folder / f"{kind.name}-{index:04d}.safetensors", index, kind)
        for index in range(shards)
        for kind in _KINDS
    ]

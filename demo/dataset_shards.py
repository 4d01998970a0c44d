"""Data sets of rendered heads as WebDataset shards: tar files that any training code can stream.

A sample is four files of one key::

    000000000042.rgb.png     the image, 8 bit
    000000000042.depth.png   16 bit, 0 nearest .. 65535 background: depth = 2 * value / 65535 - 1
    000000000042.parts.png   class numbers 0..9 with the palette of faces/parts.py
    000000000042.json        seed, person, caption, angles, landmarks, blendshapes, identity

Everything follows from the seeds: the same arguments give the same bytes, on one machine or many.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from ..faces.blendshapes import ARKIT_NAMES
from ..faces.parts import PART_COLOURS
from ..storage import atomic_path
from .captions import caption
from .people import IDENTITY_NAMES, Heads, sample_heads
from .renderer.renderer import Renders, render


@dataclass(frozen=True)
class ShardPlan:
    """``count`` images from ``seed`` on, ``per_person`` of each person, ``per_shard`` a file."""

    folder: Path
    count: int
    seed: int = 0
    per_person: int = 1
    per_shard: int = 1000
    size: int = 128

    def paths(self) -> list[Path]:
        """The shard files, in order."""
        shards = -(-self.count // self.per_shard)
        return [self.folder / f"heads-{self.seed}-{i:06d}.tar" for i in range(shards)]

    def seeds(self, shard: int) -> range:
        """Seeds of the images of one shard."""
        first = shard * self.per_shard
        return range(self.seed + first, self.seed + min(first + self.per_shard, self.count))


def heads_of(seeds: range, first: int, per_person: int) -> Heads:
    """Heads with these seeds; each ``per_person`` images from ``first`` on share a person."""
    people = [first + (seed - first) // per_person for seed in seeds]
    return sample_heads(list(seeds), identity_seeds=people)


def write_shard(plan: ShardPlan, shard: int, progress: Callable[[int], object]) -> Path:
    """Render and write one shard, atomically; a shard that exists is kept.

    Args:
        plan: What to render.
        shard: Number of the shard, from 0.
        progress: Called with the number of images done since its last call.

    Raises:
        InputError: The folder cannot be written.
    """
    path = plan.paths()[shard]
    seeds = plan.seeds(shard)
    if path.is_file():
        progress(len(seeds))
        return path
    with atomic_path(path) as temporary, tarfile.open(temporary, "w") as tar:
        for seed in seeds:
            for name, content in _sample(plan, seed):
                entry = tarfile.TarInfo(name)  # times and owners stay zero: same input, same bytes
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
            progress(1)
    return path


def _sample(plan: ShardPlan, seed: int) -> Iterator[tuple[str, bytes]]:
    head = heads_of(range(seed, seed + 1), plan.seed, plan.per_person)
    drawn = render(head, plan.size)
    key = f"{seed:012d}"
    person = plan.seed + (seed - plan.seed) // plan.per_person
    truth = {"seed": seed, "person": person, "caption": caption(head)[0], **_truth(head, drawn)}
    yield f"{key}.rgb.png", _png(_rgb(drawn.rgb[0]))
    yield f"{key}.depth.png", _png(_depth(drawn.depth[0]))
    yield f"{key}.parts.png", _png(_parts(drawn.parts[0]))
    yield f"{key}.json", json.dumps(truth).encode()


def _truth(head: Heads, drawn: Renders) -> dict[str, Any]:
    """Angles in degrees, landmarks as fractions of the image, blendshapes that are not zero."""
    shapes = zip(ARKIT_NAMES, head.expression[0].tolist(), strict=True)
    identity = zip(IDENTITY_NAMES, head.identity[0].tolist(), strict=True)
    return {
        **dict(zip(("yaw", "pitch", "roll"), _rounded(head.angles[0]), strict=True)),
        "landmarks": [_rounded(point) for point in drawn.landmarks[0]],
        "blendshapes": {name: round(value, 5) for name, value in shapes if value},
        "identity": {name: round(value, 5) for name, value in identity},
    }


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 5) for value in values.tolist()]


def _rgb(image: Tensor) -> Image.Image:
    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0)
    return Image.fromarray(pixels.numpy())


def _depth(depth: Tensor) -> Image.Image:
    values = ((depth.clamp(-1, 1) + 1) / 2 * 65535).round().numpy()
    return Image.fromarray(values.astype(np.uint16))


def _parts(parts: Tensor) -> Image.Image:
    image = Image.fromarray(parts.numpy(), mode="P")
    image.putpalette([value for colour in PART_COLOURS for value in colour])
    return image


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()

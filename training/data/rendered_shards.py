"""Rendered heads of the tiny world as WebDataset shards.

A sample is four files with the same key::

    000000000042.rgb.png     the image, 8 bit
    000000000042.depth.png   16 bit, 0 nearest .. 65535 background: depth = 2 * value / 65535 - 1
    000000000042.parts.png   class numbers 0..9 with the palette of faces/parts.py
    000000000042.json        seed, person, caption, angles, landmarks, blendshapes, identity

Everything follows from the seeds: the same arguments give the same bytes, on one machine or many.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ...demo.captions import caption
from ...demo.people import IDENTITY_NAMES, Heads, sample_people
from ...demo.renderer.renderer import Renders, render
from ...dense_face.annotation.views import depth_file, parts_file
from ...faces.blendshapes import ARKIT_NAMES
from . import codec as codec
from .shards import write_shard


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


def render_shard(plan: ShardPlan, shard: int, progress: Callable[[int], object]) -> Path:
    """Render one shard and write it, whole or not at all; an existing shard is kept.

    Args:
        shard: Number of the shard, from 0.
        progress: Called with the number of images done since its last call.

    Raises:
        InputError: The folder cannot be written to.
    """
    path, seeds = plan.paths()[shard], plan.seeds(shard)
    if path.is_file():
        progress(len(seeds))
        return path

    def samples() -> Iterator[tuple[str, dict[str, bytes]]]:
        for seed in seeds:
            yield f"{seed:012d}", _sample(plan, seed)
            progress(1)

    write_shard(path, samples())
    return path


def _sample(plan: ShardPlan, seed: int) -> dict[str, bytes]:
    head = sample_people(range(seed, seed + 1), plan.seed, plan.per_person)
    rendered = render(head, plan.size)
    person = plan.seed + (seed - plan.seed) // plan.per_person
    labels = {"seed": seed, "person": person, "caption": caption(head)[0]}
    return {
        "rgb.png": codec.png(rendered.rgb[0]),
        "depth.png": codec.encoded(depth_file(rendered.depth[0]), "PNG"),
        "parts.png": codec.encoded(parts_file(rendered.parts[0]), "PNG"),
        "json": json.dumps(labels | _labels(head, rendered)).encode(),
    }


def _labels(head: Heads, rendered: Renders) -> dict[str, Any]:
    """Angles in degrees, landmarks as fractions of the image, blendshapes other than zero."""
    shapes = zip(ARKIT_NAMES, head.expression[0].tolist(), strict=True)
    identity = zip(IDENTITY_NAMES, head.identity[0].tolist(), strict=True)
    return {
        **dict(zip(("yaw", "pitch", "roll"), _rounded(head.angles[0]), strict=True)),
        "landmarks": [_rounded(point) for point in rendered.landmarks[0]],
        "blendshapes": {name: round(value, 5) for name, value in shapes if value},
        "identity": {name: round(value, 5) for name, value in identity},
    }


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 5) for value in values.tolist()]

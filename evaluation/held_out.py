"""Held-out people for evaluation: references, targets, prompts, scenes.

Every image has its own seed (``demo.seeds.held_out_seed``), so every count starts with the same
images. Image i shows person i % 64; its reference shows the same person in another pose,
expression, light and scene.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from tqdm import tqdm

from ..demo.captions import identity_free_caption
from ..demo.people import Heads, sample_heads
from ..demo.renderer.renderer import render
from ..demo.seeds import held_out_seed
from ..errors import InputError
from ..faces.angles import Angles

PEOPLE = 64
"""Number of people in the gallery."""
TARGET_RANGE: Angles = (45.0, 25.0, 20.0)
"""Targets' angles are uniform within these limits."""
MAX_COUNT = 16_384

# First seed for each purpose, within the 2**20 of an evaluation seed.
_PERSON, _REFERENCE, _TARGET, _PROMPT, _SCENE, _ANGLE, _FACE, _PLACE = (i * 2**17 for i in range(8))


@dataclass(frozen=True, eq=False)
class Cases:
    """Cases for face-generation mode: references and targets.

    N cases, R rounds of 64 references; case i is person i % 64 of round i // 64.

    references: Rendered [R * 64, 3, 128, 128].
    targets: Heads of the cases. angles: Their poses. prompts: The scene, without the person.
    seeds: Noise seeds.
    """

    references: Tensor
    targets: Heads
    angles: list[Angles]
    prompts: list[str]
    seeds: list[int]

    def __len__(self) -> int:
        return len(self.seeds)


@dataclass(frozen=True, eq=False)
class Triples:
    """A person, the expression of a second one, the scene of a third; all from one gallery of 64.

    N cases; case i is person i % 64 of round i // 64, as in :class:`Cases`.

    owners, hosts: [N], gallery indices of the people who provide expression and scene.
    exemplars: Heads of the owners with the target expression.
    scenes: Heads of the hosts in the scenes.
    targets: Ground truth: the person with that expression in that scene.
    seeds: Of the noise.
    """

    owners: Tensor
    hosts: Tensor
    exemplars: Heads
    scenes: Heads
    targets: Heads
    seeds: list[int]

    def __len__(self) -> int:
        return len(self.seeds)


def triples(seed: int, count: int) -> Triples:
    """Cases for a person with another's expression in a third one's scene.

    Raises:
        InputError: Seed or count out of range.
    """
    check_count(count)
    number = torch.arange(count)
    turn = number // PEOPLE
    # Different partners in every round; the three are always different people.
    half = PEOPLE // 2
    owners = (number + 1 + turn % (half - 1)) % PEOPLE
    hosts = (number + half + turn % half) % PEOPLE
    exemplars = _heads_of(seed, _FACE, owners)
    scenes = _heads_of(seed, _PLACE, hosts)
    people = _heads_of(seed, _PLACE, number % PEOPLE).identity
    return Triples(
        owners,
        hosts,
        exemplars,
        scenes,
        scenes.replace(identity=people, expression=exemplars.expression),
        _seeds(seed, _PLACE, count),
    )


def check_count(count: int) -> None:
    """Raise InputError unless ``count`` images can be evaluated."""
    if not 1 <= count <= MAX_COUNT:
        raise InputError(f"cannot evaluate {count} images", fix=f"Choose 1 to {MAX_COUNT}")


def face_cases(seed: int, count: int, *, progress: bool = False) -> Cases:
    """Cases for face-generation mode.

    Raises:
        InputError: Seed or count out of range.
    """
    check_count(count)
    chance = torch.Generator().manual_seed(held_out_seed(seed, _ANGLE))
    turned = torch.rand(count, 3, generator=chance) * 2 - 1
    targets = _heads(seed, _TARGET, count).replace(angles=turned * torch.tensor(TARGET_RANGE))
    return Cases(
        gallery_images(seed, count, progress=progress),
        targets,
        angles_of(targets),
        identity_free_caption(targets),
        _seeds(seed, _TARGET, count),
    )


def reference_heads(seed: int, count: int) -> Heads:
    """The first ``count`` references: one of each person, then a second one of each, ..."""
    return _heads(seed, _REFERENCE, count)


def gallery_images(seed: int, count: int, *, progress: bool = False) -> Tensor:
    """References [R * 64, 3, 128, 128] for ``count`` cases: R rounds of the whole gallery."""
    return _references(seed, -(-count // PEOPLE) * PEOPLE, progress)


@lru_cache(maxsize=1)  # for runs that evaluate two methods
def _references(seed: int, count: int, progress: bool) -> Tensor:
    heads = reference_heads(seed, count)
    return rendered(heads, progress=progress, label="render references")


def prompt_heads(seed: int, count: int) -> tuple[Heads, list[int]]:
    """Heads for captions, and noise seeds."""
    seeds = _seeds(seed, _PROMPT, count)
    return sample_heads(seeds), seeds


def scene_heads(seed: int, count: int) -> tuple[Heads, list[int]]:
    """Heads of strangers in scenes, and noise seeds."""
    seeds = _seeds(seed, _SCENE, count)
    return sample_heads(seeds), seeds


def angles_of(heads: Heads) -> list[Angles]:
    """Yaw, pitch, roll of each head."""
    return [(yaw, pitch, roll) for yaw, pitch, roll in heads.angles.tolist()]


def rendered(heads: Heads, *, progress: bool = False, label: str = "render") -> Tensor:
    """Images [N, 3, 128, 128] in 0..1."""
    some = tqdm(range(len(heads)), desc=label, leave=False, disable=not progress)
    return torch.cat([render(heads[i]).rgb for i in some])


def _heads(seed: int, first: int, count: int) -> Heads:
    """Images ``first``, ``first + 1``, ... of people 0..63 in turn."""
    return _heads_of(seed, first, torch.arange(count) % PEOPLE)


def _heads_of(seed: int, first: int, people: Tensor) -> Heads:
    """Images ``first``, ``first + 1``, ... of the given people [N] of the gallery."""
    who = [held_out_seed(seed, _PERSON + person) for person in people.tolist()]
    return sample_heads(_seeds(seed, first, len(who)), who)


def _seeds(seed: int, first: int, count: int) -> list[int]:
    return [held_out_seed(seed, first + i) for i in range(count)]

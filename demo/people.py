"""Parameters of heads, and sampling them from seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from ..faces.angles import ANGLE_LIMITS
from .expressions import sample_expression

CONTINUOUS_NAMES: tuple[str, ...] = (
    "face_width", "face_length", "jaw_width", "chin_size", "cheeks", "forehead", "skin_tone",
    "eye_size", "eye_spacing", "eye_tilt", "brow_thickness", "brow_angle", "nose_length",
    "nose_width", "mouth_width", "lip_fullness", "ear_size", "freckles", "wrinkles",
)  # fmt: skip

# Each class parameter: its words in order, and their relative frequencies.
CLASSES: dict[str, tuple[tuple[str, ...], tuple[float, ...]]] = {
    "skin": (("pale", "light", "tan", "brown", "dark"), (1, 1.2, 1, 1, 1)),
    "eye_color": (("brown", "blue", "green", "gray", "amber"), (1, 1, 1, 0.7, 0.7)),
    "hair_style": (
        ("bald", "buzzed", "short", "fringe", "afro", "long", "bob", "bun", "mohawk", "pigtails"),
        (0.8, 0.7, 1.3, 1.3, 1, 1.3, 1.2, 0.9, 0.7, 0.8),
    ),
    "hair_color": (
        ("black", "brown", "blond", "red", "gray", "white", "blue", "pink"),
        (1.2, 1.2, 1.2, 1.2, 0.8, 0.7, 0.7, 0.7),
    ),
    "facial_hair": (("none", "stubble", "moustache", "goatee", "beard"), (2.4, 0.6, 0.7, 0.6, 0.9)),
    "glasses": (("none", "round", "square", "sunglasses"), (1.7, 0.9, 0.9, 0.5)),
    "frame_color": (("black", "red", "blue", "gold", "white"), (1.4, 1, 1, 1, 0.8)),
    "lip_color": (("natural", "red", "pink", "purple"), (2, 0.7, 0.6, 0.6)),
    "earrings": (("none", "gold", "red", "blue"), (2.2, 0.7, 0.5, 0.5)),
}

IDENTITY_NAMES: tuple[str, ...] = CONTINUOUS_NAMES + tuple(CLASSES)
IDENTITY_INDEX: dict[str, int] = {name: i for i, name in enumerate(IDENTITY_NAMES)}

BACKGROUND_COLORS: tuple[str, ...] = (
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "gray",
)  # fmt: skip
BACKGROUND_PATTERNS: tuple[str, ...] = (
    "plain", "striped", "dotted", "checked", "gradient", "window", "sunset", "forest",
)  # fmt: skip
SHIRT_COLORS: tuple[str, ...] = ("white", "black", "red", "blue", "green", "yellow", "purple")


@dataclasses.dataclass(frozen=True)
class Heads:
    """All parameters of B heads.

    identity [B,P]: IDENTITY_NAMES, continuous -1..1, classes as whole numbers.
    expression [B,51]: ARKit order, 0..1.
    angles [B,3]: yaw, pitch, roll in degrees; yaw > 0 turns the nose to the image's left,
        pitch > 0 lifts it, roll > 0 turns the head clockwise as the viewer sees it.
    light [B,4]: side (-1 left .. 1 right), height (-1..1), warmth (-1..1), strength (-1..1).
    camera [B,3]: shift right, shift down (fractions of the image), scale (1 = usual).
    background [B,4]: colour class, pattern class, phase 0..1, tone -1..1.
    shirt [B]: class of SHIRT_COLORS.
    """

    identity: Tensor
    expression: Tensor
    angles: Tensor
    light: Tensor
    camera: Tensor
    background: Tensor
    shirt: Tensor

    def __len__(self) -> int:
        return self.identity.shape[0]

    def __getitem__(self, which: slice | int | Sequence[int] | Tensor) -> Heads:
        """Select heads; an int gives a batch of one."""
        if isinstance(which, int):
            which = slice(which, which + 1 or None)
        return Heads(**{f.name: getattr(self, f.name)[which] for f in dataclasses.fields(self)})

    def replace(self, **changes: Tensor) -> Heads:
        """A copy with some tensors replaced; those of batch size 1 are repeated B times."""
        for name, value in changes.items():
            if value.shape[0] == 1:
                changes[name] = value.expand(len(self), *value.shape[1:]).clone()
        return dataclasses.replace(self, **changes)


def concatenate(batches: Sequence[Heads]) -> Heads:
    """Concatenate batches of heads."""
    names = [field.name for field in dataclasses.fields(Heads)]
    return Heads(*(torch.cat([getattr(batch, name) for batch in batches]) for name in names))


def _generator(seed: int, purpose: int) -> torch.Generator:
    # The multiplier separates the streams of a seed from those of neighbouring seeds.
    return torch.Generator().manual_seed((int(seed) * 1_000_003 + purpose * 7_919) % (2**63))


def _uniform(count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) * 2 - 1


def _choice(weights: Sequence[float], generator: torch.Generator) -> int:
    # What torch.multinomial does, written out: some versions draw its exponential numbers in
    # another way, and the seed would be another person there.
    drawn = torch.rand(len(weights), generator=generator, dtype=torch.float64)
    return int((torch.tensor(weights) / -torch.log1p(-drawn).float()).argmax())


def sample_identity(seed: int) -> Tensor:
    """Parameters [P] of one person, determined by the seed."""
    generator = _generator(seed, 1)
    # The power pushes values away from 0, so that people differ visibly.
    raw = _uniform(len(CONTINUOUS_NAMES), generator)
    continuous = raw.sign() * raw.abs().pow(0.65)
    classes = [float(_choice(weights, generator)) for _, weights in CLASSES.values()]
    return torch.cat([continuous, torch.tensor(classes)])


def _sample_head(seed: int, identity: Tensor) -> Heads:
    generator = _generator(seed, 2)
    deviation = torch.tensor([22.0, 12.0, 10.0])
    limit = torch.tensor(ANGLE_LIMITS)
    angles = (torch.randn(3, generator=generator) * deviation).clamp(-limit, limit)
    light = _uniform(4, generator)
    camera = _uniform(3, generator) * torch.tensor([0.03, 0.03, 0.07])
    camera[2] += 1.0
    pattern = _choice((1.3, 1, 1, 1, 0.8, 0.6, 0.6, 0.6), generator)
    color = _choice((1.0,) * len(BACKGROUND_COLORS), generator)
    phase, tone = torch.rand(1, generator=generator).item(), _uniform(1, generator).item()
    shirt = _choice((1.0,) * len(SHIRT_COLORS), generator)
    return Heads(
        identity=identity[None],
        expression=sample_expression(_generator(seed, 3))[None],
        angles=angles[None],
        light=light[None],
        camera=camera[None],
        background=torch.tensor([[float(color), float(pattern), phase, tone]]),
        shirt=torch.tensor([shirt]),
    )


def sample_heads(seeds: Sequence[int], identity_seeds: Sequence[int] | None = None) -> Heads:
    """Sample heads; head i depends on ``seeds[i]`` alone, whatever the batch.

    Args:
        identity_seeds: Seeds of the persons; ``seeds`` if None.

    Raises:
        ValueError: The lists are empty or differ in length.
    """
    people = seeds if identity_seeds is None else identity_seeds
    if len(people) != len(seeds) or not len(seeds):
        raise ValueError("seeds and identity_seeds need the same length, at least 1.")
    pairs = zip(seeds, people, strict=True)
    return concatenate([_sample_head(seed, sample_identity(person)) for seed, person in pairs])


def sample_people(seeds: range, first: int, per_person: int) -> Heads:
    """Heads with these seeds; from ``first`` on, every ``per_person`` of them show one person."""
    people = [first + (seed - first) // per_person for seed in seeds]
    return sample_heads(list(seeds), identity_seeds=people)

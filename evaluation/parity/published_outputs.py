"""Everything that a fixture of published adapters holds, computed by this pack.

A golden's name says what it was made with (docs/reference/parity.md 10):
``eps.plusv2.ss0.6.cond.t981.s1``. Projections, keys, values, constants and LoRA are those of
``sfsr.ip_adapter``, on diffusers' UNet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .published_fixture import PublishedFixture
from .published_unet import Run, predicted_noise, single_attention

TOLERANCES = {"tok.": 1e-5, "attn.": 1e-5, "eps.": 1e-4}
"""How the names of the goldens begin, and their tolerances; cheap ones first."""
FACE_ROW, UNIT_ROW = 0, 3
"""Rows of the inputs that ``eps`` and ``attn`` were run with."""
_NAME = re.compile(
    r"(?P<part>tok|attn|eps)\.(?P<kind>base|faceid|plusv2|plus|portrait_v11|portrait|auip|au|ip"
    r"|id|ref|exp\.mlp|exp\.linear)"
    r"(?P<numbers>(\.(ss|[fnastil])\d+(\.\d+)?|\.(un)?cond)*)"
)
_NUMBER = re.compile(r"\.(ss|[fnastil])(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Golden:
    """A golden's name, read.

    numbers: Letters to numbers: ``s`` and ``i`` the face's weight, ``a`` the units', ``ss`` that
        of CLIP vision, ``l`` that of the reference's LoRA, ``t`` timestep, ``f`` faces, ``n``
        attention.
    """

    part: str
    kind: str
    half: str
    numbers: dict[str, float]

    @classmethod
    def read(cls, name: str) -> Golden | None:
        """None for a name that means nothing here."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        numbers = {letter: float(value) for letter, value in _NUMBER.findall(found["numbers"])}
        return cls(found["part"], found["kind"], "uncond" if "uncond" in name else "cond", numbers)


def outputs(
    fixture: PublishedFixture, prefixes: Iterable[str] = tuple(TOLERANCES)
) -> Iterator[tuple[str, Tensor]]:
    """Name and value of each golden of the parts (keys of ``TOLERANCES``) that is known here."""
    for prefix in prefixes:
        for name, golden in fixture.goldens().items():
            read = Golden.read(name) if name.startswith(prefix) else None
            if read is not None:
                yield name, _output(fixture, read, golden.shape)


def _output(fixture: PublishedFixture, golden: Golden, shape: torch.Size) -> Tensor:
    if golden.part == "tok":
        found = _all_tokens(fixture, golden)
        # Nobody stands once for all people and images.
        return found.repeat(shape[0] // len(found), shape[1] // found.shape[1], 1)
    run = run_of(fixture, golden)
    if golden.part == "attn":
        return single_attention(fixture, golden.half, int(golden.numbers["n"]), run)
    return predicted_noise(fixture, golden.half, int(golden.numbers["t"]), run)


def _all_tokens(fixture: PublishedFixture, golden: Golden) -> Tensor:
    if golden.kind == "au":
        units = fixture.tensors["in.au"]
        given = units if golden.half == "cond" else torch.zeros_like(units)
        return fixture.expression().encoder(given)
    kind = "portrait_v11" if golden.kind == "ip" else golden.kind
    return face_tokens(
        fixture, kind, golden.half, golden.numbers.get("ss", 1.0), int(golden.numbers.get("f", 0))
    )


def run_of(fixture: PublishedFixture, golden: Golden) -> Run:
    """What a golden of ``eps`` or ``attn`` was run with."""
    kind, half, numbers = golden.kind, golden.half, golden.numbers
    if kind == "base":
        return Run()
    if kind in ("au", "auip"):
        face = Run() if kind == "au" else face_run(fixture, "portrait_v11", half, numbers["i"])
        return replace(face, vectors=unit_vectors(fixture, half), unit_weight=numbers["a"])
    weight, s_scale = numbers.get("s", 1.0), numbers.get("ss", 1.0)
    return face_run(fixture, kind, half, weight, s_scale, int(numbers.get("f", 0)))


def face_run(
    fixture: PublishedFixture,
    kind: str,
    half: str,
    weight: float = 1.0,
    s_scale: float = 1.0,
    faces: int = 0,
) -> Run:
    """An identity adapter with the fixture's first person, as :func:`face_tokens`."""
    adapter = fixture.identity(kind)
    tokens = face_tokens(fixture, kind, half, s_scale, faces)[FACE_ROW : FACE_ROW + 1]
    return Run(adapter.keys_values(tokens), weight, lora=adapter.lora)


@torch.no_grad()
def face_tokens(
    fixture: PublishedFixture, kind: str, half: str, s_scale: float = 1.0, faces: int = 0
) -> Tensor:
    """Tokens [B, n, W] of all people of the fixture; of nobody [M, n, W] in the half ``uncond``.

    Args:
        kind: A key of ``published_fixture.IDENTITY_FILES``.
        faces: How many images of each person; 0 for all.
    """
    given, adapter = fixture.tensors, fixture.identity(kind)
    if half == "uncond":
        clip = given["in.clip_hidden_zero_image"] if adapter.kind.needs_clip else None
        return adapter.absent(clip, s_scale=s_scale)
    own = f"in.id.{kind}"
    vectors = given[own if own in given else "in.id" if "in.id" in given else "in.id.plus"]
    vectors = vectors[:, None] if vectors.ndim == 2 else vectors[:, : faces or None]
    clip = given["in.clip_hidden"][:, None] if adapter.kind.needs_clip else None
    return adapter.tokens(vectors, clip, s_scale=s_scale)


@torch.no_grad()
def unit_vectors(fixture: PublishedFixture, half: str) -> dict[str, Tensor]:
    """FineFace's constants [1, C] by block, for the fixture's face or for one at rest."""
    adapter = fixture.expression()
    if half == "uncond":
        return adapter.absent()
    return adapter.vectors(fixture.tensors["in.au"][UNIT_ROW : UNIT_ROW + 1])

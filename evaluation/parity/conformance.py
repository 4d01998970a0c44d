"""Conformance: recomputes every golden value of a fixture and compares.

Differences are relative to the golden's largest value. How each is made: ``golden_outputs`` for the
Dense-Face release, ``published_outputs`` for published adapters, ``arc2face_outputs`` for Arc2Face.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import FacePackError, InputError, ModelFileError
from . import arc2face_outputs, golden_outputs, published_fixture, published_outputs
from .fixture import Fixture, read_json
from .published_fixture import PublishedFixture

_TOLERANCE = 1e-4
_DENSE_FACE = "dense_face"
_LAYOUT = "sd15_layout/"


@dataclass(frozen=True)
class Row:
    """One golden: largest difference over its largest value; infinite if not comparable."""

    name: str
    difference: float
    tolerance: float = _TOLERANCE

    @property
    def passed(self) -> bool:
        """Whether it stays below the tolerance."""
        return self.difference < self.tolerance


@dataclass(frozen=True)
class _Kind:
    """How fixtures of one kind are read and computed; parts: beginnings of names to tolerances."""

    read: Callable[[Path], Any]
    outputs: Callable[[Any, Iterable[str]], Iterator[tuple[str, Tensor]]]
    parts: Mapping[str, float]


_PUBLISHED = _Kind(PublishedFixture.read, published_outputs.outputs, published_outputs.TOLERANCES)
_KINDS = {
    _DENSE_FACE: _Kind(
        Fixture.read, golden_outputs.outputs, dict.fromkeys(golden_outputs.PARTS, _TOLERANCE)
    ),
    **dict.fromkeys(published_fixture.KINDS, _PUBLISHED),
    published_fixture.ARC2FACE: _Kind(
        PublishedFixture.read, arc2face_outputs.outputs, arc2face_outputs.TOLERANCES
    ),
}


def check_conformance(folder: str | Path, prefixes: Sequence[str] = ()) -> list[Row]:
    """Recompute every golden of a fixture folder, in float32 on the CPU.

    A golden that nothing here computes, and a computed one that the folder lacks, count as
    infinitely different. The folder may leave the layout of full size out.

    Args:
        folder: A fixture folder: of the Dense-Face release, or of published adapters with the
            folder ``unet`` beside it.
        prefixes: Check only these parts (``eps.``, ``ref.``); all if empty.

    Raises:
        InputError: A prefix names no part.
        FacePackError: The folder cannot be read, is of an unknown kind, or its inputs do not fit
            its networks.
    """
    folder = Path(folder)
    kind = _kind_of(folder)
    unknown = [prefix for prefix in prefixes if prefix not in kind.parts]
    if unknown:
        raise InputError(
            f"the fixture has no part {unknown[0]!r}", fix=f"Choose from {', '.join(kind.parts)}"
        )
    selected = tuple(prefixes or kind.parts)
    try:
        fixture = kind.read(folder)
        goldens = fixture.goldens()
        if prefixes:
            goldens = {name: t for name, t in goldens.items() if name.startswith(selected)}
        if not any(name.startswith(_LAYOUT) for name in goldens):
            selected = tuple(part for part in selected if part != _LAYOUT)
        with torch.no_grad():
            found = dict(kind.outputs(fixture, selected))
    except FacePackError:
        raise
    except (KeyError, RuntimeError, ValueError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else f"does not fit: {error}"
        raise ModelFileError(
            f"the fixture {reason}", where=str(folder), fix="Copy the fixture again"
        ) from error
    if not goldens:
        raise ModelFileError(
            f"the fixture holds no values of {', '.join(prefixes or kind.parts)}",
            where=str(folder),
            fix="Choose another part, or copy the fixture again",
        )
    names = [*goldens, *(name for name in found if name not in goldens)]
    return [
        Row(name, _difference(found.get(name), goldens.get(name)), _tolerance(name, kind.parts))
        for name in names
    ]


def _kind_of(folder: Path) -> _Kind:
    """By ``kind`` in the settings; the Dense-Face release's have none."""
    config = read_json(folder / "config.json")
    name = config.get("kind", _DENSE_FACE) if isinstance(config, dict) else None
    if name not in _KINDS:
        raise ModelFileError(
            f"fixtures of kind {name!r} are not computed here",
            where=str(folder / "config.json"),
            fix=f"Give a folder of kind {', '.join(sorted({*_KINDS} - {_DENSE_FACE}))}, or one of "
            "the Dense-Face release, which names no kind",
        )
    return _KINDS[name]


def _tolerance(name: str, parts: Mapping[str, float]) -> float:
    return next((limit for part, limit in parts.items() if name.startswith(part)), _TOLERANCE)


def _difference(found: Tensor | None, golden: Tensor | None) -> float:
    if found is None or golden is None or found.shape != golden.shape:
        return math.inf
    if golden.numel() == 0:
        return 0.0
    golden = golden.double()
    largest = float(golden.abs().max())
    difference = float((found.double() - golden).abs().max())
    relative = difference / largest if largest else difference
    return relative if math.isfinite(relative) else math.inf

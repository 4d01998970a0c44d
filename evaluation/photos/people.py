"""The people of an evaluation, found in a folder and measured once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor
from tqdm import tqdm

from ...errors import IncompatibleError, InputError
from ...faces.analyzers import FaceAnalyzer, Recogniser
from ...faces.encoders.names import same_encoder
from ...faces.face import Face
from ...faces.identity import Identity
from ...pipelines.face_report import SUFFIXES, image_files
from ...pipelines.images import open_rgb, tensor_of
from ...pipelines.real.scene import largest_face
from ...sfsr.ip_adapter.face_image import face_image
from ...storage import file_sha256
from .problems import Problems

SAME_RECOGNISER = 0.99
"""Two recognisers whose vectors are this similar on all references are one under two names."""


@dataclass(frozen=True, eq=False)
class Person:
    """One person in N photos.

    photos: The files. fingerprints: SHA-256 of each file.
    evaluated: Identities by the evaluator, one per photo.
    conditioning: Those that the adapters read, one per photo; empty where nobody is given to them.
    faces: Aligned faces [3, 224, 224] in 0..1 for CLIP vision; empty where it is not used.
    first: The face on the first photo, for its proportions.
    """

    name: str
    photos: tuple[Path, ...]
    fingerprints: tuple[str, ...]
    evaluated: tuple[Identity, ...]
    conditioning: tuple[Identity, ...] = ()
    faces: tuple[Tensor, ...] = ()
    first: Face | None = None


class _Measured(NamedTuple):
    """One photo; the last two as they are used."""

    face: Face
    evaluated: Identity
    conditioning: Identity | None
    aligned: Tensor | None


def photos_by_name(folder: Path, problems: Problems) -> dict[str, list[Path]]:
    """Photos by the person's name: a sub-folder of photos each, or an image each.

    Hidden files, and files that are no images, do not count.

    Collects:
        InputError: The folder is missing or holds nobody, a sub-folder holds no photo, two people
            have one name (upper and lower case alike), or a photo is there twice.
    """
    found: dict[str, list[Path]] = {}
    names: dict[str, Path] = {}
    for path in _entries(folder):
        alone = path.is_file()
        name = path.stem if alone else path.name
        with problems.collect():
            other = names.setdefault(name.casefold(), path)
            if other is not path:
                raise InputError(
                    f"two people have the name {name}",
                    where=f"{other}, {path}",
                    fix="Rename one, or put all photos of one person into one folder",
                )
            found[name] = image_files([path])
    with problems.collect():
        if not names:
            raise InputError(
                "the folder of the references is missing or holds no photo",
                where=str(folder),
                fix="Put in it a folder of photos for each person, or one photo each",
            )
    _require_once([photo for photos in found.values() for photo in photos], problems)
    return found


def read_persons(
    names: dict[str, list[Path]],
    finder: FaceAnalyzer,
    evaluator: Recogniser,
    recogniser: Recogniser | None,
    problems: Problems,
    *,
    aligned: bool = False,
    progress: bool = False,
) -> list[Person]:
    """Find and measure the face of each photo, the largest if there are several.

    What fails is left out, so :func:`require_independent` comes after ``problems.check()``.

    Args:
        names: Of :func:`photos_by_name`.
        evaluator: Conditions nothing.
        recogniser: Measures what the adapters read; None gives them nobody.
        aligned: Whether CLIP vision reads the faces, too.

    Collects:
        InputError: A photo is missing, has no face, or one without usable points.
        IncompatibleError: Evaluator and recogniser are of the same file.
    """
    with problems.collect():
        if recogniser is not None and same_encoder(recogniser.encoder, evaluator.encoder):
            raise _same(evaluator.encoder)
    people: list[Person] = []
    with tqdm(desc="references", total=sum(map(len, names.values())), disable=not progress) as bar:
        for name, photos in names.items():
            measured: list[_Measured] = []
            for photo in photos:
                with problems.collect():
                    measured.append(_measured(photo, finder, evaluator, recogniser, aligned))
                bar.update()
            people.append(
                Person(
                    name,
                    tuple(photos),
                    tuple(file_sha256(photo) for photo in photos),
                    tuple(one.evaluated for one in measured),
                    tuple(one.conditioning for one in measured if one.conditioning is not None),
                    tuple(one.aligned for one in measured if one.aligned is not None),
                    measured[0].face if measured else None,
                )
            )
    return people


def require_independent(people: Sequence[Person]) -> None:
    """Refuse an evaluator that is the conditioning recogniser under another name.

    Raises:
        IncompatibleError: Their vectors are the same on all references.
    """
    pairs = [
        (own.vector, conditioning.vector)
        for person in people
        for own, conditioning in zip(person.evaluated, person.conditioning, strict=False)
    ]
    if not pairs or any(one.shape != other.shape for one, other in pairs):
        return
    if min(float(one @ other) for one, other in pairs) > SAME_RECOGNISER:
        raise _same(people[0].evaluated[0].encoder)


def _entries(folder: Path) -> list[Path]:
    """Images and sub-folders by name, without hidden ones and other files."""
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    return [
        path
        for path in inside
        if not path.name.startswith(".") and (path.is_dir() or path.suffix.lower() in SUFFIXES)
    ]


def _measured(
    photo: Path,
    finder: FaceAnalyzer,
    evaluator: Recogniser,
    recogniser: Recogniser | None,
    aligned: bool,
) -> _Measured:
    image = tensor_of(open_rgb(photo, "reference"))[0]
    face = largest_face(finder, image, str(photo))
    conditioning = None if recogniser is None else recogniser.identify(image, face)
    # Not the photo itself: those of many people would not fit into memory.
    return _Measured(
        face,
        evaluator.identify(image, face),
        conditioning,
        face_image(image, face) if aligned else None,
    )


def _require_once(photos: Sequence[Path], problems: Problems) -> None:
    """The same photo twice would count as two people, or raise the ceiling."""
    seen: dict[str, Path] = {}
    for photo in photos:
        with problems.collect():
            pixels = open_rgb(photo, "reference")
            # Of the pixels: a copy in another lossless format is the same photo.
            digest = hashlib.sha256(f"{pixels.size}".encode() + pixels.tobytes()).hexdigest()
            other = seen.setdefault(digest, photo)
            if other is not photo:
                raise InputError(
                    "the same photo is there twice", where=f"{other}, {photo}", fix="Remove one"
                )


def _same(encoder: str) -> IncompatibleError:
    return IncompatibleError(
        f"the evaluator {encoder} also measures what the adapters read, and would overrate them",
        where="--evaluator",
        fix="Give another recogniser, such as glintr100.onnx of antelopev2 beside buffalo_l",
    )

"""Exemplars: the user's own images for a word, in ``models/sfsr/exemplars/<word>/``.

The paper looks up a word in a database of face images, Emo135, whose licence does not allow
shipping it; a folder of images takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError
from ..faces.analyzers import FaceAnalyzer, find_faces
from .algebra import medoid
from .emotion_table import find_word
from .expression import Expression, from_face

IMAGES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
BY_SEED, MEDOID = "seed", "medoid"
CHOICES = (MEDOID, BY_SEED)
_MOST_REPORTED = 4

ReadImage = Callable[[Path], Tensor]
"""An image file as [3, H, W] in 0..1; raises InputError or OSError."""


def exemplar_files(roots: Sequence[Path], word: str) -> list[Path]:
    """The images in ``<root>/<word>/`` of all roots, sorted by name; other files are ignored.

    Raises:
        InputError: The word is unknown or has no images.
    """
    name = find_word(word).word
    folders = [root / name for root in roots]
    files = sorted(
        (
            path
            for folder in folders
            if folder.is_dir()
            for path in folder.iterdir()
            if path.suffix.lower() in IMAGES and not path.name.startswith(".")
        ),
        key=lambda path: path.name,
    )
    if not files:
        raise InputError(
            f"there are no exemplar images of {name}",
            where=", ".join(map(str, folders)),
            fix="Put face images with that expression there, or use Expression from Word",
        )
    return files


def exemplar_expression(
    roots: Sequence[Path],
    word: str,
    analyzer: FaceAnalyzer,
    read: ReadImage,
    choice: str = MEDOID,
    seed: int = 0,
    each: Callable[[], None] = lambda: None,
) -> Expression:
    """The expression of one of a word's exemplar images.

    Args:
        roots: Folders with one subfolder per word.
        word: One of the 135 words.
        analyzer: Detects the face and its blendshapes.
        read: Opens an image.
        choice: ``medoid``: the image whose expression is closest to all others; ``seed``: one image
            at random, the only one that is analysed.
        seed: For the choice ``seed``.
        each: Called after every image (progress, interruption).

    Raises:
        InputError: As :func:`exemplar_files`; the choice is unknown; or images cannot be read or
            show no face (they are named).
    """
    if choice not in CHOICES:
        raise InputError(f"the choice {choice!r} is unknown", fix=f"Use {' or '.join(CHOICES)}")
    files = exemplar_files(roots, word)
    if choice == BY_SEED:
        generator = torch.Generator().manual_seed(seed)
        files = [files[int(torch.randint(len(files), (1,), generator=generator))]]
    found: list[Expression] = []
    bad: list[str] = []
    for file in files:
        try:
            found.append(_detect(analyzer, read(file), file))
        except (InputError, OSError) as error:
            why = error.what if isinstance(error, InputError) else "it cannot be read"
            bad.append(f"{file.name}: {why}")
        each()
    if bad:
        more = f" and {len(bad) - _MOST_REPORTED} more" if len(bad) > _MOST_REPORTED else ""
        raise InputError(
            f"exemplar images of {word} cannot be used: {'; '.join(bad[:_MOST_REPORTED])}{more}",
            where=str(files[0].parent),
            fix="Replace or remove these files",
        )
    return found[medoid(found)]


def _detect(analyzer: FaceAnalyzer, image: Tensor, file: Path) -> Expression:
    faces = find_faces(analyzer, image, order="largest first")
    if not faces:
        raise InputError("no face was found")
    expression = from_face(faces[0])
    return replace(expression, source=f"exemplar {file.parent.name}/{file.name} by {analyzer.name}")

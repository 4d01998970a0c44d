"""Images of yours in place of a word's built-in code: ``models/sfsr/exemplars/<word>/``.

The paper looks a word up in a database of face images (its Emo135 has a licence of its own and
is not shipped); a folder of your own images does the same here.
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
    """The images in ``<root>/<word>/`` of all roots, sorted by name; other files are left out.

    Raises:
        InputError: The word is unknown, or there are none.
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
        roots: Folders that hold one folder for each word.
        read: How images are opened.
        choice: ``medoid``: the image whose expression is nearest to all others; ``seed``: one
            image, drawn by the seed; only that one is looked at.
        each: Called after every image (progress, interruption).

    Raises:
        InputError: As :func:`exemplar_files`; the choice is unknown; or images cannot be read or
            show no face, in one sentence that names them.
    """
    if choice not in CHOICES:
        raise InputError(f"the choice {choice!r} is unknown", fix=f"Use {' or '.join(CHOICES)}")
    files = exemplar_files(roots, word)
    if choice == BY_SEED:
        generator = torch.Generator().manual_seed(seed)
        files = [files[int(torch.randint(len(files), (1,), generator=generator))]]
    seen: list[Expression] = []
    bad: list[str] = []
    for file in files:
        try:
            seen.append(_detect(analyzer, read(file), file))
        except (InputError, OSError) as error:
            why = error.what if isinstance(error, InputError) else "it cannot be read"
            bad.append(f"{file.name}: {why}")
        each()
    if bad:
        more = f" and {len(bad) - _MOST_REPORTED} more" if len(bad) > _MOST_REPORTED else ""
        raise InputError(
            f"exemplar images of {word} cannot be used: {'; '.join(bad[:_MOST_REPORTED])}{more}",
            where=str(files[0].parent),
            fix="Replace these files or take them away",
        )
    return seen[medoid(seen)]


def _detect(analyzer: FaceAnalyzer, image: Tensor, file: Path) -> Expression:
    faces = find_faces(analyzer, image, order="largest first")
    if not faces:
        raise InputError("no face was found")
    found = from_face(faces[0])
    return replace(found, source=f"exemplar {file.parent.name}/{file.name} by {analyzer.name}")

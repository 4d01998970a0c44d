"""Who is on photos: measured by InsightFace's recogniser, or read from a saved identity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import InputError
from ...faces.analyzers import FaceAnalyzer, Recogniser
from ...faces.identity import Identity
from ...faces.identity_file import load_identities
from ..images import open_rgb, tensor_of
from .scene import largest_face

IDENTITY_FILE = ".safetensors"


def read_people(
    paths: Sequence[Path], analyzer: FaceAnalyzer | None, recogniser: Recogniser | None
) -> list[Identity]:
    """An identity for each photo, and those of each file that Save Identity wrote.

    Raises:
        InputError: A photo is missing, has no face, or nothing is given that measures it.
        ModelFileError: A file holds no identity.
    """
    found: list[Identity] = []
    for path in paths:
        if path.suffix == IDENTITY_FILE:
            found += load_identities(path)
            continue
        image = tensor_of(open_rgb(path, "identity"))[0]
        if analyzer is None:
            raise InputError(
                "nothing is given that measures the person on a photo",
                where=str(path),
                fix="Give InsightFace's folder with --insightface, or a file of Save Identity",
            )
        face = largest_face(analyzer, image, str(path))
        if face.identity is not None and recogniser is None:
            found.append(face.identity)
        elif recogniser is not None:
            found.append(recogniser.identify(image, face))
        else:
            raise InputError(
                f"{analyzer.name} finds faces and does not recognise people",
                where=str(path),
                fix="Give InsightFace's folder with --insightface",
            )
    return found

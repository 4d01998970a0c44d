"""Who is on photos: measured by InsightFace's recogniser, or read from a saved identity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ...errors import InputError
from ...faces.analyzers import FaceAnalyzer, Recogniser
from ...faces.face import Face
from ...faces.identity import Identity
from ...faces.identity_file import load_identities
from ...sfsr.ip_adapter.face_image import face_image
from ..images import open_rgb, tensor_of
from .scene import largest_face

IDENTITY_FILE = ".safetensors"


@dataclass(frozen=True, eq=False)
class Reference:
    """One reference of a person.

    where: The file, for messages. photo: [3, H, W] in 0..1 and the face in it; None where only
        the identity was saved.
    """

    identity: Identity
    where: str
    photo: tuple[Tensor, Face] | None = None

    def face_image(self) -> Tensor:
        """The aligned face [3, 224, 224] in 0..1.

        Raises:
            InputError: There is no photo, or the face has no five points.
        """
        if self.photo is None:
            raise InputError(
                "a saved identity contains no image, and FaceID-Plus also reads the face's image",
                where=self.where,
                fix="Give a photo, or use an adapter without CLIP vision such as "
                "ip-adapter-faceid_sd15.bin",
            )
        return face_image(*self.photo)


def read_people(
    paths: Sequence[Path], analyzer: FaceAnalyzer | None, recogniser: Recogniser | None
) -> list[Reference]:
    """A reference for each photo, and those of each file that Save Identity wrote.

    Raises:
        InputError: A photo is missing, has no face, or nothing is given that measures it.
        ModelFileError: A file holds no identity.
    """
    found: list[Reference] = []
    for path in paths:
        if path.suffix.lower() == IDENTITY_FILE:
            found += [Reference(identity, str(path)) for identity in load_identities(path)]
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
            identity = face.identity
        elif recogniser is not None:
            identity = recogniser.identify(image, face)
        else:
            raise InputError(
                f"{analyzer.name} finds faces and does not recognise people",
                where=str(path),
                fix="Give InsightFace's folder with --insightface",
            )
        found.append(Reference(identity, str(path), (image, face)))
    return found

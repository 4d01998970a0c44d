"""Photos as a training reads them: latents, identities, captions, and who is on which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ....dense_face.prompt import PLACEHOLDER, spaced_prompt, with_placeholder
from ....errors import IncompatibleError, InputError
from ....faces.analyzers import to_rgb
from ....faces.detection import problems
from ....faces.face import Box
from ....faces.identity import Identity
from ...analysis.chosen_face import chosen, detections_of
from ...analysis.same_person import same_person_from
from ...sockets import LoadedAnalyzer
from ..finite import check_finite

_PERSON = "a person"


@dataclass(frozen=True, eq=False)
class TrainingPhotos:
    """N photos with a face.

    latents: Of the VAE, not scaled, [N, 4, h, w].
    identities: Of each photo.
    others: Of each photo the numbers of the other ones of the same person; itself if there is none.
    captions: With ``*`` for the person.
    report: What was used, for the user.
    """

    latents: Tensor
    identities: tuple[Identity, ...]
    others: tuple[tuple[int, ...], ...]
    captions: tuple[str, ...]
    report: str

    def __len__(self) -> int:
        return len(self.identities)

    @property
    def vectors(self) -> Tensor:
        """Identities [N, D]."""
        return torch.stack([identity.vector for identity in self.identities])

    @property
    def plain_captions(self) -> tuple[str, ...]:
        """The captions with "a person" instead of ``*``."""
        return tuple(caption.replace(PLACEHOLDER, _PERSON) for caption in self.captions)


def training_photos(
    images: Sequence[Tensor],
    captions: Sequence[str],
    analyzer: LoadedAnalyzer,
    vae: Any,
    size: int,
    where: str,
) -> TrainingPhotos:
    """Read photos; those without a face are left out.

    Args:
        images: IMAGE batches.
        captions: One for all photos or one for each; those without a ``*`` get one.
        size: Side in pixels of the squares that are trained on, around the faces.

    Raises:
        InputError: There is no photo or none has a face, or the captions are not as many.
        IncompatibleError: The analyzer makes no identities, or the VAE is not Stable Diffusion's.
    """
    if not images:
        raise InputError("there is no photo", where=where, fix="Connect photos of the person")
    detections = [d for batch in images for d in detections_of(analyzer, batch, 0, where)]
    kept = [i for i, detection in enumerate(detections) if not detection.problem]
    if not kept:
        raise InputError(
            problems(detections),
            where=where,
            fix="Give photos in which one face is large and not covered",
        )
    texts = _for_each(captions, len(detections), where)
    pixels = [row.movedim(-1, 0) for batch in images for row in batch]
    faces = [chosen(detections[i]) for i in kept]
    rgb = [to_rgb(pixels[i]) for i in kept]
    identities = tuple(analyzer.identity(*pair) for pair in zip(rgb, faces, strict=True))
    squares = [_square(one, face.box, size) for one, face in zip(rgb, faces, strict=True)]
    latents = vae.encode(torch.stack(squares).movedim(1, -1))
    if latents.shape[1:2] != (4,) or latents.ndim != 4:
        raise IncompatibleError(
            "the VAE is not that of a Stable Diffusion 1.x model",
            where=where,
            fix="Connect the VAE of the same checkpoint as the MODEL",
        )
    check_finite(latents, "the VAE encoded the photos as", where)
    others = _others(identities)
    lines = [f"{len(kept)} photos" if len(kept) > 1 else "1 photo"]
    if len(kept) < len(detections):
        lines.append(f"left out: {problems(detections)}")
    alone = [str(kept[i] + 1) for i, seen in enumerate(others) if seen == (i,)]
    if alone:
        lines.append(
            f"no other photo of the person on {', '.join(alone)}: its light and pose may be "
            "learned with the face"
        )
    return TrainingPhotos(
        latents.float().cpu(), identities, others, tuple(texts[i] for i in kept), "; ".join(lines)
    )


def _for_each(captions: Sequence[str], count: int, where: str) -> list[str]:
    texts = [line.strip() for text in captions for line in text.splitlines() if line.strip()]
    if len(texts) not in (0, 1, count):
        raise InputError(
            f"there are {len(texts)} captions for {count} photos",
            where=where,
            fix="Give one for all photos, or one line for each",
        )
    texts = [spaced_prompt(t) if PLACEHOLDER in t else with_placeholder(t) for t in texts or [""]]
    return texts * count if len(texts) == 1 else texts


def _others(identities: Sequence[Identity]) -> tuple[tuple[int, ...], ...]:
    """Of each the numbers of the others of the same person, or its own."""
    vectors = F.normalize(torch.stack([identity.vector for identity in identities]).float())
    least = same_person_from(identities[0].encoder)
    same = vectors @ vectors.T >= (-1.0 if least is None else least)
    found = []
    for i, row in enumerate(same.tolist()):
        others = tuple(j for j, alike in enumerate(row) if alike and j != i)
        found.append(others or (i,))
    return tuple(found)


def _square(image: Tensor, box: Box, size: int) -> Tensor:
    """The largest square of an image [3, H, W] with the face in its middle, [3, size, size]."""
    height, width = image.shape[1:]
    side = min(height, width)
    left, top, right, bottom = box
    x = round(min(max((left + right - side) / 2, 0), width - side))
    y = round(min(max((top + bottom - side) / 2, 0), height - side))
    square = image[None, :, y : y + side, x : x + side].float()
    scaled = F.interpolate(square, (size, size), mode="bilinear", antialias=True)
    return scaled[0].clamp(0, 1)

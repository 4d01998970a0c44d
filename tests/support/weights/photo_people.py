"""People on photos for ``denseface evaluate photos``, and what finds and recognises them.

A photo is a plain colour with some noise; its colour is the person.
"""

from __future__ import annotations

from pathlib import Path

import torch
from comfyui_dense_face.faces.analyzers import manual_face
from comfyui_dense_face.faces.blendshapes import ARKIT_NAMES
from comfyui_dense_face.faces.face import Face, HeadPose
from comfyui_dense_face.faces.identity import Identity
from comfyui_dense_face.faces.mesh.make import make_face
from comfyui_dense_face.faces.mesh.rig import FaceRig
from comfyui_dense_face.pipelines.images import to_pil
from torch import Tensor

COLOURS = {"ada": (0.8, 0.2, 0.2), "ben": (0.2, 0.7, 0.3), "eve": (0.2, 0.3, 0.9)}
SMILE = {**dict.fromkeys(ARKIT_NAMES, 0.0), "mouthSmileLeft": 0.5, "mouthSmileRight": 0.5}


def photo(name: str, number: int = 0) -> Tensor:
    """A photo [1, 3, 96, 96] of a person."""
    chance = torch.Generator().manual_seed(number)
    noise = 0.1 * torch.rand(1, 3, 96, 96, generator=chance)
    return (torch.tensor(COLOURS[name])[None, :, None, None] + noise).clamp(0, 1)


def write_people(folder: Path) -> Path:
    """Ada with two photos in a folder, Ben and Eve with one each."""
    (folder / "ada").mkdir(parents=True)
    for number in range(2):
        to_pil(photo("ada", number)).save(folder / "ada" / f"{number}.png")
    for name in ("ben", "eve"):
        to_pil(photo(name)).save(folder / f"{name}.png")
    (folder / "notes.txt").write_text("not a person")
    (folder / ".hidden").mkdir()
    return folder


class MiddleFaces:
    """Finds one smiling face in the middle of each image that is not black."""

    name = "middle"

    def find(self, image: Tensor) -> list[Face]:
        if not bool(image.any()):
            return []
        height, width = image.shape[-2:]
        x, y, r = width / 2, height / 2, min(width, height) / 4
        five = torch.tensor([[-0.4, -0.4], [0.4, -0.4], [0, 0], [-0.3, 0.4], [0.3, 0.4]])
        face = manual_face(
            (width, height), box=(x - r, y - r, x + r, y + r), five=r * five + torch.tensor([x, y])
        )
        return [Face(**{**vars(face), "blendshapes": SMILE})]


class MeshFaces:
    """Finds one face with 478 landmarks in the middle of each image, at rest.

    rig: What it is drawn from. angles: Of its head.
    """

    name = "mesh"

    def __init__(self, rig: FaceRig, angles: HeadPose) -> None:
        self.rig, self.angles = rig, angles

    def find(self, image: Tensor) -> list[Face]:
        height, width = image.shape[-2:]
        x, y, r = width / 2, height / 2, min(width, height) / 4
        box = (x - r, y - r, x + r, y + r)
        return [make_face(self.rig, self.angles, (width, height), box).face]


class ColourRecogniser:
    """Recognises people by the mean colour around the middle."""

    def __init__(self, encoder: str, seed: int) -> None:
        self.encoder = encoder
        chance = torch.Generator().manual_seed(seed)
        self._turned = torch.randn(3, 512, generator=chance)

    def identify(self, image: Tensor, face: Face) -> Identity:
        left, top, right, bottom = (int(v) for v in face.box)
        colour = image[:, top:bottom, left:right].mean((1, 2)) - 0.4
        return Identity.from_features(colour @ self._turned, self.encoder)

"""IR-SE50 as a reader of faces in training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import InputError
from ...faces.blendshapes import ARKIT_NAMES
from ...faces.crops.alignment import ALIGNED_SIZE, align_face
from ...faces.encoders.ir_se50 import IRSE50
from ..sfsr_faces import FaceReading, SFSRFaces


def aligned(image: Tensor, five: Tensor) -> Tensor:
    """The face [3, 112, 112] of an image [3, H, W], at five points [5, 2] as its fractions."""
    size = torch.tensor([image.shape[-1], image.shape[-2]]).to(five)
    return align_face(image, five * size)


class ArcFaceReader(nn.Module):
    """IR-SE50 on aligned faces, as a :class:`.FaceReader` without expressions."""

    reliability: Tensor | None = None

    def __init__(self, net: IRSE50) -> None:
        super().__init__()
        self.net = net
        self.eval()

    def train(self, mode: bool = True) -> ArcFaceReader:
        """Nothing: the network is always evaluated, whatever the task around it does.

        Its batch norms keep their statistics, its dropout drops nothing.
        """
        return super().train(False)

    def identities(self, images: Tensor, five: Tensor) -> Tensor:
        """Identities [B, 512] of images [B, 3, H, W] in 0..1 with five points [B, 5, 2] in 0..1."""
        pairs = zip(images, five, strict=True)
        return self.read(torch.stack([aligned(image, points) for image, points in pairs]))

    def read(self, crops: Tensor) -> Tensor:
        """Identities [B, 512] of aligned faces [B, 3, 112, 112] in 0..1."""
        return self.net(2 * crops - 1).float()  # also under mixed precision

    def forward(self, images: Tensor, faces: SFSRFaces, generator: torch.Generator) -> FaceReading:
        if faces.five is None:
            raise InputError("faces without five points cannot be aligned", where="ArcFaceReader")
        # Jitter makes it harder to fool the network with single pixels.
        jitter = torch.randn(faces.five.shape, generator=generator).to(faces.five) / ALIGNED_SIZE
        repeats = len(images) // len(faces)
        found = self.identities(images, (faces.five + jitter).repeat(repeats, 1, 1))
        return FaceReading(found, found.new_zeros(len(found), len(ARKIT_NAMES)))

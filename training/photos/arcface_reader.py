"""IR-SE50 as a reader of faces in training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import InputError
from ...faces.blendshapes import ARKIT_NAMES
from ...faces.crops.alignment import ALIGNED_SIZE, align_face
from ...faces.encoders.ir_se50 import IRSE50
from ..sfsr_faces import FaceReading, SFSRFaces


class ArcFaceReader(nn.Module):
    """IR-SE50 on aligned faces, as a :class:`.FaceReader` without expressions."""

    reliability: Tensor | None = None

    def __init__(self, net: IRSE50) -> None:
        super().__init__()
        self.net = net

    def train(self, mode: bool = True) -> ArcFaceReader:
        """The network stays in evaluation mode: its batch norms keep their statistics."""
        super().train(mode)
        self.net.eval()
        return self

    def identities(self, images: Tensor, five: Tensor) -> Tensor:
        """Identities [B, 512] of images [B, 3, S, S] in 0..1 with five points [B, 5, 2] in 0..1."""
        side = images.shape[-1]
        crops = [align_face(p, side * points) for p, points in zip(images, five, strict=True)]
        return self.net(2 * torch.stack(crops) - 1).float()  # also under mixed precision

    def forward(self, images: Tensor, faces: SFSRFaces, generator: torch.Generator) -> FaceReading:
        if faces.five is None:
            raise InputError("faces without five points cannot be aligned", where="ArcFaceReader")
        # Jitter makes it harder to fool the network with single pixels.
        jitter = torch.randn(faces.five.shape, generator=generator).to(faces.five) / ALIGNED_SIZE
        repeats = len(images) // len(faces)
        found = self.identities(images, (faces.five + jitter).repeat(repeats, 1, 1))
        return FaceReading(found, found.new_zeros(len(found), len(ARKIT_NAMES)))

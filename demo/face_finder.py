"""The tiny world's analyzer as one of the analyzers of faces (``faces.analyzers``)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..faces.blendshapes import ARKIT_NAMES
from ..faces.face import Face, HeadPose
from ..faces.head_pose import as_measured
from ..faces.identity import Identity
from .analyzer import ENCODER, TinyAnalyzer, analyse, load_analyzer

#: The landmarks end at the brows; a face goes on above them by this share of their height.
_FOREHEAD = 0.3


class TinyWorldFaces:
    """Finds the one head in a picture of the tiny world.

    Args:
        net: The bundled analyzer when left out.

    Raises:
        ModelFileError: The bundled weights are missing or altered.
    """

    name = ENCODER

    def __init__(self, net: TinyAnalyzer | None = None) -> None:
        self._net = load_analyzer() if net is None else net

    def find(self, picture: Tensor) -> list[Face]:
        """One face or none in a picture [3, H, W] in 0..1 whose head fills most of the frame."""
        height, width = picture.shape[-2:]
        device = next(self._net.parameters()).device
        seen = analyse(self._net, picture[None].to(device))
        logit = seen.face_logit[0]
        if float(logit) <= 0:
            return []
        points = seen.landmarks[0].cpu() * torch.tensor([float(width), float(height)])
        low, high = points.min(0).values.tolist(), points.max(0).values.tolist()
        top = low[1] - _FOREHEAD * (high[1] - low[1])
        values = seen.blendshapes[0].tolist()
        return [
            Face(
                picture_size=(width, height),
                box=(low[0], top, high[0], high[1]),
                score=float(logit.sigmoid()),
                landmarks=points,
                scheme="ibug",
                source=self.name,
                blendshapes=dict(zip(ARKIT_NAMES, values, strict=True)),
                pose=as_measured(HeadPose(*seen.pose[0].tolist())),
                identity=Identity(seen.identity[0], ENCODER),
            )
        ]

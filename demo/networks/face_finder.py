"""The tiny world's analyzer as a face analyzer (``faces.analyzers``)."""

from __future__ import annotations

import torch
from torch import Tensor

from ...faces.blendshapes import ARKIT_NAMES
from ...faces.face import Face, HeadPose
from ...faces.head_pose import xyz_to_zyx
from ...faces.identity import Identity
from .analyzer import ENCODER, Analysis, TinyAnalyzer, analyse, load_analyzer
from .face_scan import Window, scan
from .photographs import ANOTHER_ANALYZER, require_renders

#: The landmarks end at the brows; the box extends above them by this fraction of their height.
_FOREHEAD = 0.3
#: Longest aspect ratio of a portrait of a single head.
_PORTRAIT = 1.5


class TinyWorldFaces:
    """Finds heads in images of the tiny world.

    Args:
        net: The analyzer; the bundled one if None.
        for_photographs: What to use for photographs, for the error.

    Raises:
        ModelFileError: The bundled weights are missing or altered.
    """

    name = encoder = ENCODER

    def __init__(
        self, net: TinyAnalyzer | None = None, for_photographs: str = ANOTHER_ANALYZER
    ) -> None:
        self._net = load_analyzer() if net is None else net
        self._for_photographs = for_photographs

    def find(self, image: Tensor) -> list[Face]:
        """The single head that fills an image [3, H, W] in 0..1, or else several smaller ones.

        Several heads, of similar size, are searched if the image is long or has no single head.

        Raises:
            InputError: A head in it is a photograph's.
        """
        height, width = image.shape[-2:]
        rgb = image.to(next(self._net.parameters()).device)
        whole = analyse(self._net, rgb[None])
        single = float(whole.face_logit[0]) > 0
        if not single or max(height, width) > _PORTRAIT * min(height, width):
            found = scan(self._net, rgb)
            if found:
                return [self._face(seen, window, image) for window, seen in found]
        return [self._face(whole, None, image)] if single else []

    def _face(self, seen: Analysis, window: Window | None, image: Tensor) -> Face:
        """The face of an analysis of a window, or of the whole image, stretched, if None."""
        require_renders(seen, fix=self._for_photographs)
        height, width = image.shape[-2:]
        left, top, wide, high = 0, 0, width, height
        if window is not None:
            left, top, wide = window
            high = wide
        scale, corner = torch.tensor([wide, high]).float(), torch.tensor([left, top]).float()
        points = seen.landmarks[0].cpu() * scale + corner
        low, up = points.min(0).values.tolist(), points.max(0).values.tolist()
        values = seen.blendshapes[0].tolist()
        return Face(
            image_size=(width, height),
            box=(low[0], low[1] - _FOREHEAD * (up[1] - low[1]), up[0], up[1]),
            score=float(seen.face_logit[0].sigmoid()),
            landmarks=points,
            scheme="ibug",
            source=self.name,
            blendshapes=dict(zip(ARKIT_NAMES, values, strict=True)),
            pose=xyz_to_zyx(HeadPose(*seen.pose[0].tolist())),
            identity=Identity(seen.identity[0], ENCODER),
        )

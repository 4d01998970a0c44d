"""The tiny world's face analyzer: landmarks, pose, blendshapes, parts and an identity vector.

It works on images of the tiny world only; for photographs there are the analyzers in ``faces/``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...faces.parts import PART_NAMES
from ...state_dict import as_float32
from ...storage import CHECKSUM_KEY, read_weights
from ..bundled import ANALYZER_FILE, MALFORMED_FILE, WEIGHTS
from .convnet import Residual, Trunk, conv_norm
from .expression_reader import ExpressionReader
from .malformed import MalformedCriterion, load_malformed_criterion
from .photographs import PhotographCriterion, load_criterion

ENCODER = "tiny-world"
IMAGE_SIZE = 128
IDENTITY_DIM = 512
LANDMARKS = 68
#: The pose head's outputs are near one; degrees per unit.
DEGREES = 30.0


@dataclass(frozen=True)
class Analysis:
    """The analyzer's results for B images.

    landmarks [B, 68, 2]: iBUG order, x and y in 0..1 of the image.
    pose [B, 3]: yaw, pitch, roll in degrees (signs: ``docs/conventions.md``).
    blendshapes [B, 51]: ARKit order, about 0..1.
    part_logits [B, 10, 32, 32]: classes of ``faces.parts``.
    head_logit [B, 32, 32]: above 0 on the head with hair and ears.
    identity [B, 512]: unit norm.
    face_logit [B]: above 0 means there is a face.
    photograph_logit [B]: above 0 means that it is a photograph (``photographs``).
    """

    landmarks: Tensor
    pose: Tensor
    blendshapes: Tensor
    part_logits: Tensor
    head_logit: Tensor
    identity: Tensor
    face_logit: Tensor
    photograph_logit: Tensor


class TinyAnalyzer(nn.Module):
    """[B, 3, 128, 128] in 0..1 -> :class:`Analysis`."""

    def __init__(self) -> None:
        super().__init__()
        widths = (16, 32, 64, 96)
        self.trunk = Trunk(widths, (1, 2, 2, 2))
        self.part_near = nn.Conv2d(widths[1], 48, 1)
        self.part_mid = nn.Conv2d(widths[2], 48, 1)
        self.part_deep = nn.Conv2d(widths[3], 48, 1)
        self.part_out = nn.Sequential(conv_norm(48, 48), nn.Conv2d(48, len(PART_NAMES) + 1, 1))
        self.squeeze = nn.Sequential(nn.Conv2d(widths[3], 8, 1), nn.Flatten())
        wide = 8 * 8 * 8
        self.geometry = nn.Sequential(nn.Linear(wide, 192), nn.SiLU())
        self.landmarks = nn.Linear(192, 2 * LANDMARKS)
        self.pose = nn.Linear(192, 3)
        self.expression = ExpressionReader()
        self.face = nn.Linear(widths[3], 1)
        # Identity does not depend on position, so only pooled features are used.
        self.identity_block = nn.Sequential(
            Residual(widths[3]), nn.Conv2d(widths[3], 192, 1), nn.SiLU(), nn.AdaptiveAvgPool2d(1)
        )
        self.identity = nn.Linear(192, IDENTITY_DIM)
        self.photographs: PhotographCriterion | None = None
        self.malformed: MalformedCriterion | None = None

    def forward(self, images: Tensor) -> Analysis:
        features = self.trunk(images)
        part_logits, head_logit = self.maps(features)
        shape = self.geometry(self.squeeze(features[3]))
        who = self.identity_block(features[3]).flatten(1)
        landmarks = self.points(features)
        return Analysis(
            landmarks=landmarks,
            pose=DEGREES * self.pose(shape),
            blendshapes=self.expression(images, landmarks),
            part_logits=part_logits,
            head_logit=head_logit,
            identity=F.normalize(self.identity(who), dim=1),
            face_logit=self.face(features[3].mean((2, 3))).squeeze(1),
            photograph_logit=self._photograph_logit(features),
        )

    def _photograph_logit(self, features: Sequence[Tensor]) -> Tensor:
        if self.photographs is None:
            return features[0].new_full((len(features[0]),), -torch.inf)
        return self.photographs(features)

    def points(self, features: Sequence[Tensor]) -> Tensor:
        """Landmarks [B, 68, 2] in 0..1 from the trunk's features."""
        shape = self.geometry(self.squeeze(features[3]))
        return 0.5 + 0.25 * self.landmarks(shape).unflatten(1, (LANDMARKS, 2))

    def maps(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits of parts [B, 10, 32, 32] and head [B, 32, 32] from the trunk's features."""
        parts = self.part_near(features[1]) + self._lift(self.part_mid(features[2]))
        maps = self.part_out(parts + self._lift(self.part_deep(features[3])))
        return maps[:, :-1], maps[:, -1]

    @staticmethod
    def _lift(x: Tensor) -> Tensor:
        return F.interpolate(x, size=(32, 32), mode="bilinear", align_corners=False)


def load_analyzer(path: str | Path = WEIGHTS / ANALYZER_FILE) -> TinyAnalyzer:
    """Load the bundled analyzer, frozen; ModelFileError if the file is missing or altered."""
    net = TinyAnalyzer().eval().requires_grad_(False)
    tensors, about = read_weights(path)
    net.load_state_dict(as_float32(tensors))
    checksum = about.get(CHECKSUM_KEY, "")
    net.photographs = load_criterion(checksum)
    net.malformed = load_malformed_criterion(checksum, Path(path).with_name(MALFORMED_FILE))
    return net


@torch.inference_mode()
def analyse(net: TinyAnalyzer, images: Tensor) -> Analysis:
    """Run the analyzer on images [B, 3, H, W] in 0..1 of any size (resized to 128 px)."""
    if images.shape[-2:] != (IMAGE_SIZE, IMAGE_SIZE):
        images = F.interpolate(
            images, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", antialias=True
        )
    return net(images)

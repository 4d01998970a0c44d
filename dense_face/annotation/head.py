"""The annotation head: depth, face parts and landmarks from a UNet's decoder features.

Source: docs/reference/dense_face.md B1 for the labels. The release lacks its annotation predictor;
this architecture is the pack's own (docs/annotations.md).

The inputs are the outputs of each resolution level of the decoder (``feature_hooks``) and the
timestep; the outputs are maps with ``scale`` x ``scale`` cells per latent cell. Most layers run at
latent resolution, where convolutions are cheap. Pixel shuffles (arXiv 1609.05158) lead to the finer
maps: in one step and through one small convolution, or by doublings with a residual block on each
grid, which draws brows and lips of one or two cells better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ... import limits
from ...errors import IncompatibleError, InputError
from ...faces.face import SCHEMES
from ...faces.parts import PART_NAMES
from ..pose_branch import LayerMaker, ResBlock, TimedSequential, timestep_embedding

TIMESTEPS = 1000
_TRUNK_BLOCKS = 2
HEAT_SCALE = 2
"""Heat map cells per latent cell along a side; the soft argmax has sub-cell precision anyway."""
_LEAST_FINE_WIDTH = 16
_HEAT_GAIN = 10.0
"""Factor on the heat logits: a softmax over thousands of cells needs large ones."""


@dataclass(frozen=True)
class HeadConfig:
    """Sizes of a head; the defaults are those for Stable Diffusion 1.5.

    stage_widths: Channels of the features, coarse to fine; multiples of 32.
    width: Channels inside the head, a multiple of 32.
    scale: Cells of the maps per latent cell along a side, a power of two of at least 2.
    scheme: Landmark scheme, a key of ``faces.face.SCHEMES`` with points (``mesh``, ``ibug``).
    fine_widths: Channels of the residual blocks on the finer grids, one for each doubling up to
        ``scale``; multiples of 32. Empty for none.

    Raises:
        InputError: A number is outside its range.
    """

    stage_widths: tuple[int, ...] = (1280, 1280, 640, 320)
    width: int = 192
    scale: int = 2
    scheme: str = "mesh"
    fine_widths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check the numbers."""
        widths = (*self.stage_widths, self.width, *self.fine_widths)
        stages = len(self.stage_widths)
        if not 0 < stages <= limits.HEAD_STAGES or not all(map(_is_width, widths)):
            raise InputError(
                f"the head's widths are {widths}",
                fix=f"Use multiples of 32 up to {limits.HEAD_WIDTH}",
            )
        small = type(self.scale) is int and 2 <= self.scale <= limits.HEAD_SCALE
        if not small or self.scale & (self.scale - 1):
            raise InputError(
                f"the head's scale is {self.scale}", fix="Use 2, 4, 8 or another power of two"
            )
        if self.fine_widths and 2 ** len(self.fine_widths) != self.scale:
            raise InputError(
                f"the head has {len(self.fine_widths)} finer grids for a scale of {self.scale}",
                fix="Give one width for each doubling, such as two for a scale of 4",
            )
        if not SCHEMES.get(self.scheme):
            raise InputError(
                f"the landmark scheme {self.scheme!r} has no points", fix="Use mesh or ibug"
            )

    @property
    def points(self) -> int:
        """Number of landmarks."""
        return SCHEMES[self.scheme]


@dataclass(frozen=True, eq=False)
class AnnotationMaps:
    """Raw outputs of the head; H and W are ``scale`` times those of the latent.

    The heat maps have a different size, h and w.

    depth: [B, H, W], about -1 near .. 1 background.
    part_logits: [B, 10, H, W], classes of ``faces.parts``.
    heat_logits: [B, K, h, w]; their softmax over h and w is the distribution of each landmark.
    """

    depth: Tensor
    part_logits: Tensor
    heat_logits: Tensor


class AnnotationHead(nn.Module):
    """Decoder features of a UNet -> :class:`AnnotationMaps`.

    Args:
        operations: Namespace with the layer classes: ``torch.nn``, or ComfyUI's own.
    """

    def __init__(
        self,
        config: HeadConfig,
        operations: object = nn,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        make = LayerMaker(operations, device, dtype)
        width = config.width
        self.time_embed = nn.Sequential(
            make.linear(width, width), nn.SiLU(), make.linear(width, width)
        )
        self.stages = nn.ModuleList(
            nn.Sequential(make.norm(w), make.conv(w, width, 1)) for w in config.stage_widths
        )
        blocks = [ResBlock(width, width, width, make) for _ in range(_TRUNK_BLOCKS)]
        self.trunk = TimedSequential(blocks)
        self.read = nn.Sequential(make.norm(width), nn.SiLU())
        if config.fine_widths:
            pairs = pairwise((width, *config.fine_widths))
            self.unfold = TimedSequential(
                layer for before, after in pairs for layer in _doubled(before, after, width, make)
            )
            fine = config.fine_widths[-1]
        else:
            fine = max(_LEAST_FINE_WIDTH, width // 4)
            shuffled = make.conv(width, config.scale**2 * fine, 1), nn.PixelShuffle(config.scale)
            self.unfold = TimedSequential([*shuffled, nn.SiLU()])
        self.surface = make.conv(fine, 1 + len(PART_NAMES), 3)
        self.heat = nn.Sequential(
            make.conv(width, HEAT_SCALE**2 * config.points, 1), nn.PixelShuffle(HEAT_SCALE)
        )

    def forward(self, features: Sequence[Tensor], timesteps: Tensor) -> AnnotationMaps:
        """Predict the maps.

        Args:
            features: [B, C_i, h_i, w_i] of each stage, coarse to fine; the last has the latent's
                height and width.
            timesteps: [B] in 0..999.

        Raises:
            IncompatibleError: Number or widths of the features are not those of the head's UNet.
            InputError: A timestep is outside 0..999.
        """
        self._check(features, timesteps)
        weight = self.get_parameter("time_embed.0.weight")
        embedding = timestep_embedding(timesteps, self.config.width).to(weight)
        embedding = self.time_embed(embedding)
        size = features[-1].shape[-2:]
        x = torch.zeros((), dtype=weight.dtype, device=weight.device)
        for stage, feature in zip(self.stages, features, strict=True):
            x = x + _upsampled(stage(feature.to(weight)), size)
        x = self.read(self.trunk(x, embedding))
        maps = self.surface(self.unfold(x, embedding))
        return AnnotationMaps(maps[:, 0], maps[:, 1:], _HEAT_GAIN * self.heat(x))

    def require(self, widths: Sequence[int], where: str = "") -> None:
        """Raise IncompatibleError unless the UNet's features have the widths of the head."""
        if tuple(widths) != self.config.stage_widths:
            raise IncompatibleError(
                f"the annotation head reads features of {_joined(self.config.stage_widths)} "
                f"channels, this model has {_joined(widths)}",
                where=where,
                fix="Use the head that was trained on this kind of model",
            )

    def _check(self, features: Sequence[Tensor], timesteps: Tensor) -> None:
        self.require([feature.shape[1] for feature in features])
        low, high = float(timesteps.min()), float(timesteps.max())
        if not (low >= 0 and high < TIMESTEPS):
            raise InputError(
                f"the timestep {high if low >= 0 else low:g} is outside 0..{TIMESTEPS - 1}",
                fix="Choose one in that range; small values mean little noise",
            )


def _doubled(before: int, after: int, embed: int, make: LayerMaker) -> list[nn.Module]:
    """Layers that double height and width: [B, before, h, w] -> [B, after, 2h, 2w]."""
    return [
        make.conv(before, 4 * after, 1),
        nn.PixelShuffle(2),
        ResBlock(after, after, embed, make),
    ]


def _is_width(width: object) -> bool:
    return type(width) is int and 32 <= width <= limits.HEAD_WIDTH and width % 32 == 0


def _upsampled(x: Tensor, size: torch.Size) -> Tensor:
    return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode="bilinear")


def _joined(widths: Sequence[int]) -> str:
    return ", ".join(map(str, widths)) or "no"

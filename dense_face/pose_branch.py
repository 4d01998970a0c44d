"""Pose branch: a ControlNet without attention whose hint is the pose image.

Source: docs/reference/dense_face.md A7.

A copy of the UNet's encoder without its transformers reads the noisy latent and the encoded pose
image and returns one residual for each skip connection and one for the middle. It does not read
the text, so one call is enough for all parts of classifier-free guidance with the same latent and
timestep; the encoded image (:meth:`PoseBranch.encode_hint`) is reused in every step.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ModelFileError, refuse_with
from ..state_dict import check_state_dict

HINT_WIDTHS = (16, 16, 32, 32, 96, 96, 256)
_HINT_STRIDES = (1, 1, 2, 1, 2, 1, 2, 1)
_GROUPS = 32
_BLOCK = re.compile(r"input_blocks\.([0-9]{1,3})\.0\.(op|in_layers\.2|)\.?weight")


@dataclass(frozen=True)
class PoseBranchConfig:
    """Sizes of a pose branch; the defaults are the release's.

    ``hint_widths`` are the channels inside the hint encoder, which downsamples by 8 like the VAE.
    """

    model_channels: int = 320
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    in_channels: int = 4
    hint_channels: int = 3
    hint_widths: tuple[int, ...] = HINT_WIDTHS

    @classmethod
    def from_state_dict(cls, tensors: Mapping[str, Tensor]) -> PoseBranchConfig:
        """Read the sizes from names and shapes (names without ``control_model.``).

        Raises:
            ModelFileError: A weight that determines a size is missing, or has none.
        """
        with refuse_with(_no_branch()):
            return cls._from_shapes(tensors)

    @classmethod
    def _from_shapes(cls, tensors: Mapping[str, Tensor]) -> PoseBranchConfig:
        blocks: dict[int, tuple[bool, int]] = {}
        for name, tensor in tensors.items():
            if match := _BLOCK.fullmatch(name):
                blocks[int(match[1])] = (match[2] == "op", tensor.shape[0])
        hints = [f"input_hint_block.{2 * i}.weight" for i in range(len(_HINT_STRIDES))]
        for needed in ("input_blocks.0.0.weight", *hints):
            if needed not in tensors:
                raise ModelFileError(
                    f"the pose branch lacks the weight {needed}",
                    fix="Download or convert it again",
                )
        base, in_channels = tensors["input_blocks.0.0.weight"].shape[:2]
        levels: list[list[int]] = [[]]
        for number in sorted(blocks)[1:]:
            is_down, width = blocks[number]
            if is_down:
                levels.append([])
            else:
                levels[-1].append(width)
        if not base or not all(levels):
            raise ModelFileError("the pose branch has a level without blocks or channels")
        return cls(
            model_channels=base,
            channel_mult=tuple(level[0] // base for level in levels),
            num_res_blocks=len(levels[0]),
            in_channels=in_channels,
            hint_channels=tensors[hints[0]].shape[1],
            hint_widths=tuple(tensors[name].shape[0] for name in hints[:-1]),
        )


class PoseBranch(nn.Module):
    """Pose image, noisy latent and timestep -> residuals for the UNet's skips and middle.

    Initially all residuals are zero, so that training starts from the unchanged base model. Module
    names are the release's, without the prefix ``control_model.``.

    Args:
        operations: Namespace with Conv2d, Linear and GroupNorm; ComfyUI passes its own.
    """

    def __init__(
        self,
        config: PoseBranchConfig | None = None,
        operations: Any = nn,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.config = config = config or PoseBranchConfig()
        make = LayerMaker(operations, device, dtype)
        base = config.model_channels
        embed = 4 * base
        self.time_embed = nn.Sequential(
            make.linear(base, embed), nn.SiLU(), make.linear(embed, embed)
        )
        self.input_hint_block = _hint_encoder(config, make)
        widths = [base]
        blocks: list[nn.Module] = [make.conv(config.in_channels, base, 3)]
        for level, mult in enumerate(config.channel_mult):
            for _ in range(config.num_res_blocks):
                blocks.append(ResBlock(widths[-1], mult * base, embed, make))
                widths.append(mult * base)
            if level < len(config.channel_mult) - 1:
                blocks.append(Downsample(widths[-1], make))
                widths.append(widths[-1])
        # One sequence per block, to match the names of the weights.
        self.input_blocks = nn.ModuleList(TimedSequential([block]) for block in blocks)
        self.zero_convs = nn.ModuleList(nn.Sequential(make.zero_conv(w)) for w in widths)
        deepest = widths[-1]
        self.middle_block = TimedSequential(
            ResBlock(deepest, deepest, embed, make) for _ in range(2)
        )
        self.middle_block_out = nn.Sequential(make.zero_conv(deepest))

    @classmethod
    def from_state_dict(
        cls, tensors: Mapping[str, Tensor], operations: Any = nn, **kwargs: Any
    ) -> PoseBranch:
        """Build the branch and load a state dict into it.

        Raises:
            ModelFileError, IncompatibleError: Weights are missing, unknown or of another shape.
        """
        config = PoseBranchConfig.from_state_dict(tensors)
        with refuse_with(_no_branch()):
            # Without memory first: sizes come from a few of the weights, and may not fit the rest.
            check_state_dict(cls(config, device="meta"), tensors, "the pose branch")
        branch = cls(config, operations, **kwargs)
        branch.load_state_dict(dict(tensors))
        return branch

    def encode_hint(self, hint: Tensor) -> Tensor:
        """Pose images [B, 3, 8h, 8w] in 0..1 -> features [B, C, h, w], reusable in every step."""
        return self.input_hint_block(hint)

    def residuals(self, x: Tensor, encoded_hint: Tensor, timesteps: Tensor) -> list[Tensor]:
        """Residuals for latents [B, 4, h, w] at timesteps [B], shallow to deep, then the middle.

        ``encoded_hint`` may have batch 1 for all samples.
        """
        embedding = timestep_embedding(timesteps, self.config.model_channels).to(x.dtype)
        embedding = self.time_embed(embedding)
        h, found = x, []
        for block, zero_conv in zip(self.input_blocks, self.zero_convs, strict=True):
            h = block(h, embedding)
            if not found:
                h = h + encoded_hint
            found.append(zero_conv(h))
        found.append(self.middle_block_out(self.middle_block(h, embedding)))
        return found

    def forward(self, x: Tensor, hint: Tensor, timesteps: Tensor) -> list[Tensor]:
        """Encode the hint and return the residuals."""
        return self.residuals(x, self.encode_hint(hint), timesteps)


class TimedSequential(nn.ModuleList):
    """A sequence that passes the timestep embedding to its residual blocks."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """[B, C_in, h, w] and [B, E] -> [B, C_out, h', w']."""
        for module in self:
            x = module(x, embedding) if isinstance(module, ResBlock) else module(x)
        return x


class ResBlock(nn.Module):
    """Residual block of the Stable Diffusion UNet, with the time embedding added in the middle."""

    def __init__(self, width_in: int, width_out: int, embed: int, make: LayerMaker) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(
            make.norm(width_in), nn.SiLU(), make.conv(width_in, width_out, 3)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), make.linear(embed, width_out))
        # The identity takes the place of the original dropout to keep the numbering.
        self.out_layers = nn.Sequential(
            make.norm(width_out), nn.SiLU(), nn.Identity(), make.conv(width_out, width_out, 3)
        )
        same = width_in == width_out
        self.skip_connection = nn.Identity() if same else make.conv(width_in, width_out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """[B, C_in, h, w] and [B, E] -> [B, C_out, h, w]."""
        h = self.in_layers(x) + self.emb_layers(embedding)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(h)


class Downsample(nn.Module):
    """Halve height and width by a strided convolution."""

    def __init__(self, width: int, make: LayerMaker) -> None:
        super().__init__()
        self.op = make.conv(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C, h/2, w/2]."""
        return self.op(x)


def timestep_embedding(timesteps: Tensor, width: int, max_period: float = 10000.0) -> Tensor:
    """Cosines, then sines, of t at ``width // 2`` frequencies: [B] -> [B, width] float32."""
    half = width // 2
    steps = torch.arange(half, dtype=torch.float32, device=timesteps.device)
    angles = timesteps[:, None].float() * torch.exp(-math.log(max_period) * steps / half)
    embedding = torch.cat([angles.cos(), angles.sin()], dim=-1)
    return F.pad(embedding, (0, width % 2))


@dataclass(frozen=True)
class LayerMaker:
    """Creates layers from ``operations`` with one device and dtype."""

    operations: Any
    device: torch.device | str | None
    dtype: torch.dtype | None

    def conv(self, width_in: int, width_out: int, kernel: int, stride: int = 1) -> nn.Module:
        return self.operations.Conv2d(
            width_in,
            width_out,
            kernel,
            stride=stride,
            padding=kernel // 2,
            device=self.device,
            dtype=self.dtype,
        )

    def zero_conv(self, width: int) -> nn.Module:
        return zeroed(self.conv(width, width, 1))

    def linear(self, width_in: int, width_out: int) -> nn.Module:
        return self.operations.Linear(width_in, width_out, device=self.device, dtype=self.dtype)

    def norm(self, width: int) -> nn.Module:
        return self.operations.GroupNorm(
            _GROUPS, width, eps=1e-5, device=self.device, dtype=self.dtype
        )


def zeroed(module: nn.Module) -> nn.Module:
    """Set all weights of a module to zero and return it."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def _no_branch() -> ModelFileError:
    return ModelFileError(
        "the pose branch has sizes that no such network has", fix="Download or convert it again"
    )


def _hint_encoder(config: PoseBranchConfig, make: LayerMaker) -> nn.Sequential:
    """Eight convolutions with SiLU between; the last is zero and has no activation after it."""
    widths: Iterable[int] = (config.hint_channels, *config.hint_widths, config.model_channels)
    layers: list[nn.Module] = []
    ends = list(widths)
    for width_in, width_out, stride in zip(ends[:-1], ends[1:], _HINT_STRIDES, strict=True):
        layers += [make.conv(width_in, width_out, 3, stride=stride), nn.SiLU()]
    layers.pop()
    zeroed(layers[-1])
    return nn.Sequential(*layers)

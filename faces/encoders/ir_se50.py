"""ArcFace IR-SE50, the face encoder that the released Dense-Face was trained with.

A residual network with squeeze-and-excitation (docs/reference/dense_face.md A4, B2): 112 x 112
images, four stages of 3, 4, 14 and 3 units, 43.8 million parameters. Module names are those of the
public weights (``model_ir_se50.pth``, and ``id_loss_func.facenet.`` in the release), which load
strictly. Its identities cannot be compared with those of other face encoders.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import InputError
from ...state_dict import check_state_dict, without_prefix
from .weight_file import read_network

ENCODER = "ir-se50"
"""Name of the encoder in identities and adapter files."""
IMAGE_SIZE = 112
IDENTITY_DIM = 512
RELEASE_PREFIX = "id_loss_func.facenet."
"""Prefix of the network in the released checkpoint."""

_STAGES = ((64, 3), (128, 4), (256, 14), (512, 3))
_REDUCTION = 16
_LAST_SIZE = IMAGE_SIZE // 2 ** len(_STAGES)


class IRSE50(nn.Module):
    """Aligned faces [B, 3, 112, 112] in -1..1 -> identities [B, 512] of unit norm.

    For inference in evaluation mode; the dropout is only there because the layout has it.
    """

    def __init__(self) -> None:
        super().__init__()
        first = _STAGES[0][0]
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, first, 3, padding=1, bias=False), nn.BatchNorm2d(first), nn.PReLU(first)
        )
        units: list[nn.Module] = []
        width = first
        for stage_width, count in _STAGES:
            for i in range(count):
                units.append(Unit(width, stage_width, stride=1 if i else 2))
                width = stage_width
        self.body = nn.Sequential(*units)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.Dropout(0.6),
            nn.Flatten(),
            nn.Linear(width * _LAST_SIZE**2, IDENTITY_DIM),
            nn.BatchNorm1d(IDENTITY_DIM),
        )

    def forward(self, faces: Tensor) -> Tensor:
        """[B, 3, 112, 112] in -1..1 -> [B, 512]; InputError for another size."""
        if faces.ndim != 4 or faces.shape[1:] != (3, IMAGE_SIZE, IMAGE_SIZE):
            raise InputError(
                f"IR-SE50 reads images [B, 3, {IMAGE_SIZE}, {IMAGE_SIZE}], got {list(faces.shape)}",
                fix="Align and resize the face first",
            )
        return F.normalize(self.output_layer(self.body(self.input_layer(faces))), dim=1)


class Unit(nn.Module):
    """Residual unit with the norm first and the stride in the second convolution."""

    def __init__(self, width_in: int, width_out: int, stride: int) -> None:
        super().__init__()
        if width_in == width_out:
            # With a kernel of 1 this takes every stride-th pixel.
            self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        else:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(width_in, width_out, 1, stride, bias=False), nn.BatchNorm2d(width_out)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(width_in),
            nn.Conv2d(width_in, width_out, 3, padding=1, bias=False),
            nn.PReLU(width_out),
            nn.Conv2d(width_out, width_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width_out),
            SqueezeExcitation(width_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C_in, h, w] -> [B, C_out, h / stride, w / stride]."""
        return self.shortcut_layer(x) + self.res_layer(x)


class SqueezeExcitation(nn.Module):
    """Scale each channel by a factor in 0..1 computed from the means of all channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(width, width // _REDUCTION, 1, bias=False)
        self.fc2 = nn.Conv2d(width // _REDUCTION, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C, h, w]."""
        means = F.adaptive_avg_pool2d(x, 1)
        return x * self.fc2(self.fc1(means).relu()).sigmoid()


def load_ir_se50(path: str | Path) -> IRSE50:
    """The encoder, frozen, in float32 on the CPU.

    Args:
        path: Its 397 tensors as safetensors (``denseface convert --ir-se50`` writes them) or as the
            public PyTorch file; with or without the prefix of the release.

    Raises:
        ModelFileError: The file is missing, truncated or altered, or lacks a weight.
        IncompatibleError: A weight has another shape.
    """
    tensors = read_network(path, "IR-SE50")
    tensors = without_prefix(tensors, RELEASE_PREFIX) or tensors
    with torch.device("meta"):  # neither memory nor time for values that are replaced at once
        net = IRSE50().eval()
    check_state_dict(net, tensors, f"IR-SE50 in {Path(path).name}")
    net.load_state_dict(tensors, assign=True)
    return net.requires_grad_(False)

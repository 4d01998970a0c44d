"""6DRepNet: the head-pose network with which the paper's training images were measured.

RepVGG-B1g2 in its merged form (plain 3 x 3 convolutions) and six numbers that two of the rotation's
columns are made from (Hempel et al., "6D Rotation Representation for Unconstrained Head Pose
Estimation", section 3.2; Zhou et al., "On the Continuity of Rotation Representations", equation
15). Names are those of the authors' weights, which load strictly. It takes the whole image and
detects nothing: the image must be the crop of a face (docs/reference/dense_face.md A6). Its angles
are those of the paper's pose images and need no conversion.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...state_dict import check_state_dict
from ..face import Face, HeadPose
from ..head_pose import xyz_to_zyx, zyx_from_matrix
from .weight_file import read_network

NAME = "6drepnet"
IMAGE_SIZE = 224
_WIDTHS = (64, 128, 256, 512, 2048)
_UNITS = (4, 6, 16, 1)
#: Every second layer is a convolution with this many groups ("g2").
_GROUPS = 2
#: Mean and standard deviation of ImageNet's colours.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Unit(nn.Module):
    """A merged RepVGG block: convolution and ReLU."""

    def __init__(self, width_in: int, width_out: int, stride: int, groups: int) -> None:
        super().__init__()
        self.rbr_reparam = nn.Conv2d(width_in, width_out, 3, stride, padding=1, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C_in, h, w] -> [B, C_out, h / stride, w / stride]."""
        return self.rbr_reparam(x).relu()


class SixDRepNet(nn.Module):
    """Normalised images [B, 3, 224, 224] -> rotations [B, 3, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.layer0 = Unit(3, _WIDTHS[0], 2, 1)
        width, number = _WIDTHS[0], 0
        stages: list[nn.Sequential] = []
        for stage_width, count in zip(_WIDTHS[1:], _UNITS, strict=True):
            units: list[nn.Module] = []
            for i in range(count):
                number += 1
                groups = 1 if number % 2 else _GROUPS
                units.append(Unit(width, stage_width, 1 if i else 2, groups))
                width = stage_width
            stages.append(nn.Sequential(*units))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.linear_reg = nn.Linear(width, 6)

    def forward(self, images: Tensor) -> Tensor:
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.layer0(images)))))
        return rotation_from_6d(self.linear_reg(x.mean((2, 3))))


def rotation_from_6d(numbers: Tensor) -> Tensor:
    """[B, 6] -> rotations [B, 3, 3], the first column along the first three numbers."""
    x = F.normalize(numbers[:, :3], dim=1)
    z = F.normalize(torch.linalg.cross(x, numbers[:, 3:]), dim=1)
    return torch.stack([x, torch.linalg.cross(z, x), z], 2)


def angles(rotation: Tensor) -> HeadPose:
    """Yaw, pitch, roll in degrees of one rotation [3, 3], read as 6DRepNet does.

    The paper puts these angles into its pose images (docs/reference/dense_face.md A6).
    """
    yaw, pitch, roll = zyx_from_matrix(rotation)
    return HeadPose(-yaw, pitch, roll)


def preprocess(image: Tensor) -> Tensor:
    """The network's input [1, 3, 224, 224] for an image [3, H, W] in 0..1.

    Resizes the shorter side to 224, crops the centre and applies ImageNet's normalisation.
    """
    shorter = min(image.shape[-2:])
    # Only the centre remains, so a narrow strip is cropped before it is enlarged.
    image = _centre(image, *(min(side, 2 * shorter) for side in image.shape[-2:]))
    height, width = image.shape[-2:]
    scale = IMAGE_SIZE / shorter
    size = [max(IMAGE_SIZE, int(side * scale)) for side in (height, width)]
    small = F.interpolate(image[None].float(), size=size, mode="bilinear", antialias=True)
    centre = _centre(small, IMAGE_SIZE, IMAGE_SIZE)
    mean, deviation = (small.new_tensor(v)[:, None, None] for v in (_MEAN, _DEVIATION))
    return (centre - mean) / deviation


def _centre(image: Tensor, height: int, width: int) -> Tensor:
    top, left = (round((image.shape[i] - size) / 2) for i, size in ((-2, height), (-1, width)))
    return image[..., top : top + height, left : left + width]


class SixDRepNetPose:
    """6DRepNet as an analyzer (``faces.analyzers``): the whole image as one face, its pose only.

    Args:
        run: The network: images [1, 3, 224, 224] -> rotations [1, 3, 3], any device.
    """

    name = NAME

    def __init__(self, run: Callable[[Tensor], Tensor]) -> None:
        self._run = run

    @torch.inference_mode()
    def find(self, image: Tensor) -> list[Face]:
        """The image [3, H, W] in 0..1 as one face with a pose and no points."""
        height, width = image.shape[-2:]
        pose = angles(self._run(preprocess(image))[0])
        box = (0.0, 0.0, float(width), float(height))
        return [
            Face((width, height), box, 1.0, torch.zeros(0, 2), "none", NAME, pose=xyz_to_zyx(pose))
        ]


def load_six_d_rep_net(path: str | Path) -> SixDRepNet:
    """The network, frozen, in float32 on the CPU.

    Raises:
        ModelFileError: The file is missing or damaged, or lacks a weight.
        IncompatibleError: A weight has another shape.
    """
    tensors = read_network(path, "6DRepNet")
    with torch.device("meta"):
        net = SixDRepNet().eval()
    check_state_dict(net, tensors, f"6DRepNet in {Path(path).name}")
    net.load_state_dict(tensors, assign=True)
    return net.requires_grad_(False)

"""6DRepNet: its layout, agreement with a second implementation, its angles as the paper draws
them.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from comfyui_dense_face.errors import IncompatibleError, ModelFileError
from comfyui_dense_face.faces.encoders.six_d_rep_net import (
    SixDRepNet,
    SixDRepNetPose,
    angles,
    load_six_d_rep_net,
    preprocess,
    rotation_from_6d,
)
from comfyui_dense_face.faces.face import HeadPose
from comfyui_dense_face.faces.head_pose import zyx_to_xyz
from torch import Tensor
from torch.nn import functional as F

#: RepVGG-B1g2 in its merged form has 41.36 million parameters, a classifier of 2048 x 1000 and its
#: bias among them (Ding et al., "RepVGG: Making VGG-style ConvNets Great Again", table 4).
PUBLISHED, CLASSIFIER, HEAD = 41.36e6, 2049e3, 6 * 2048 + 6


def meta_net() -> SixDRepNet:
    with torch.device("meta"):
        return SixDRepNet()


def test_layout_matches_the_weights() -> None:
    state = meta_net().state_dict()
    assert len(state) == 2 * (1 + 4 + 6 + 16 + 1) + 2
    numbers = sum(t.numel() for t in state.values())
    assert numbers == pytest.approx(PUBLISHED - CLASSIFIER + HEAD, abs=5e3)
    shapes = {
        "layer0.rbr_reparam.weight": (64, 3, 3, 3),
        "layer1.0.rbr_reparam.weight": (128, 64, 3, 3),
        "layer1.1.rbr_reparam.weight": (128, 64, 3, 3),  # two groups of 128
        "layer3.15.rbr_reparam.weight": (512, 256, 3, 3),
        "layer4.0.rbr_reparam.bias": (2048,),
        "linear_reg.weight": (6, 2048),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes


def turned(pose: HeadPose) -> Tensor:
    """The rotation that 6DRepNet reads these angles from: about z, then y, then x."""
    y, x, z = (math.radians(angle) for angle in pose)
    cy, sy, cx, sx, cz, sz = (f(a) for a in (y, x, z) for f in (math.cos, math.sin))
    return torch.tensor(
        [
            [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
            [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
            [-sy, cy * sx, cy * cx],
        ],
        dtype=torch.float64,
    )


@pytest.mark.parametrize("pose", [HeadPose(30, 0, 0), HeadPose(-20, 15, 5), HeadPose(50, -10, -25)])
def test_rotation_and_angles_from_six_numbers(pose: HeadPose) -> None:
    expected = turned(pose)
    # Lengths do not matter, nor what of the second vector lies along the first.
    numbers = torch.cat([3 * expected[:, 0], 0.5 * expected[:, 1] - 2 * expected[:, 0]])[None]
    found = rotation_from_6d(numbers)[0]
    assert torch.allclose(found, expected, atol=1e-9)
    assert tuple(angles(found)) == pytest.approx(pose, abs=1e-6)


def test_each_rotation_of_a_batch_is_its_own() -> None:
    numbers = torch.randn(3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = rotation_from_6d(numbers)
    assert torch.allclose(found @ found.mT, torch.eye(3, dtype=torch.float64).expand(3, 3, 3))
    assert torch.allclose(found.det(), torch.ones(3, dtype=torch.float64))
    for one, rotation in zip(numbers, found, strict=True):
        assert torch.allclose(rotation_from_6d(one[None])[0], rotation)


def test_angles_match_the_pose_image() -> None:
    """The pose branch gets exactly the network's angles."""
    pose = HeadPose(38, -12, 7)
    network = SixDRepNetPose(lambda images: turned(pose)[None].expand(len(images), 3, 3))
    (face,) = network.find(torch.rand(3, 60, 80))
    assert face.pose is not None and face.box == (0, 0, 80, 60) and face.five is None
    assert tuple(zyx_to_xyz(face.pose)) == pytest.approx(pose, abs=1e-6)


@pytest.mark.parametrize("size", [(224, 224), (500, 300), (1, 1), (3, 900), (64, 448)])
def test_any_image_becomes_its_central_square(size: tuple[int, int]) -> None:
    image = torch.rand(3, *size, generator=torch.Generator().manual_seed(0))
    ready = preprocess(image)
    assert ready.shape == (1, 3, 224, 224)
    if size == (224, 224):
        mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
        deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
        assert torch.allclose(ready[0] * deviation + mean, image, atol=1e-5)


def test_resize_and_crop_match_the_original() -> None:
    """Pillow's bilinear resize of the shorter side to 224, the middle cut out."""
    import numpy as np
    from PIL import Image

    noise = torch.rand(3, 40, 60, generator=torch.Generator().manual_seed(1))
    smooth = F.interpolate(noise[None], size=(330, 500), mode="bicubic")[0].clamp(0, 1)
    pixels = (smooth * 255).round().byte().permute(1, 2, 0).numpy()
    resized = Image.fromarray(pixels).resize((int(224 * 500 / 330), 224), Image.Resampling.BILINEAR)
    left = round((resized.width - 224) / 2)
    expected = torch.from_numpy(np.array(resized.crop((left, 0, left + 224, 224)))).float() / 255
    ready = preprocess(torch.from_numpy(pixels).permute(2, 0, 1).float() / 255)[0]
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    assert float((ready * deviation + mean - expected.permute(2, 0, 1)).abs().max()) < 1.5 / 255


@pytest.mark.slow
@torch.no_grad()
def test_whole_network_and_its_file(tmp_path: Path) -> None:
    """Against the layer list written from the paper, by patches and matrix products."""
    generator = torch.Generator().manual_seed(2)
    state = {
        name: torch.randn(t.shape, generator=generator) * max(1, t[0].numel()) ** -0.5
        for name, t in meta_net().state_dict().items()
    }
    torch.save({"model_state_dict": state}, tmp_path / "6DRepNet.pth")
    net = load_six_d_rep_net(tmp_path / "6DRepNet.pth")
    assert not net.training and not any(p.requires_grad for p in net.parameters())
    x = torch.randn(1, 3, 64, 64, generator=generator)
    found = net(x)

    layers = [("layer0", 2, 1)]
    for stage, count in enumerate((4, 6, 16, 1), 1):
        layers += [(f"layer{stage}.{i}", 1 if i else 2, 0) for i in range(count)]
    for number, (name, stride, _) in enumerate(layers):
        weight, bias = (state[f"{name}.rbr_reparam.{kind}"] for kind in ("weight", "bias"))
        groups = 2 if number and number % 2 == 0 else 1
        side = -(-x.shape[-1] // stride)
        parts = []
        for part, kernel in zip(x.chunk(groups, 1), weight.chunk(groups), strict=True):
            patches = F.unfold(part, 3, padding=1, stride=stride)[0]
            parts.append(kernel.flatten(1) @ patches)
        x = (torch.cat(parts) + bias[:, None]).clamp(min=0).reshape(1, -1, side, side)
    six = state["linear_reg.weight"] @ x.mean((2, 3))[0] + state["linear_reg.bias"]
    one = six[:3] / six[:3].norm()
    two = six[3:] - (six[3:] @ one) * one
    two = two / two.norm()
    expected = torch.stack([one, two, torch.linalg.cross(one, two)], 1)
    assert torch.allclose(found[0], expected, atol=1e-4)


def test_invalid_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "6drepnet.pth"
    with pytest.raises(ModelFileError, match="missing"):
        load_six_d_rep_net(path)
    state = {name: torch.zeros(1) for name in meta_net().state_dict()}
    torch.save(state, path)
    with pytest.raises(IncompatibleError, match=r"6DRepNet in 6drepnet\.pth has a weight layer0"):
        load_six_d_rep_net(path)
    del state["linear_reg.bias"]
    torch.save(state, path)
    with pytest.raises(ModelFileError, match=r"lacks 1 weights, the first is linear_reg\.bias"):
        load_six_d_rep_net(path)
    # The form used in training has three branches a layer and has to be merged first.
    torch.save({"layer0.rbr_dense.conv.weight": torch.zeros(1)}, path)
    with pytest.raises(ModelFileError, match="lacks"):
        load_six_d_rep_net(path)

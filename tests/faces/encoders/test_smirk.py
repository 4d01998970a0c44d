"""SMIRK's expression encoder: its layout, its crop, its file, and files that are another one's."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_dense_face.errors import FacePackError, InputError, ModelFileError
from comfyui_dense_face.faces.encoders.smirk import (
    PREFIX,
    SmirkAnalyzer,
    SmirkEncoder,
    face_crop,
    load_smirk,
)
from comfyui_dense_face.faces.face import Face
from comfyui_dense_face.faces.flame import FLAME
from comfyui_dense_face.sfsr.algebra import medoid, travel
from comfyui_dense_face.sfsr.arc2face.flame import flame_numbers
from comfyui_dense_face.sfsr.expression import from_face
from torch import Tensor
from torch.nn import functional as F

pytest.importorskip("timm")
from random_smirk import random_smirk, smirk_tensors, write_smirk

INVERTED = (
    ((64, 24, 2), (72, 24, 1)),
    ((72, 40, 2), (120, 40, 1), (120, 40, 1)),
    ((240, 80, 2), (200, 80, 1), (184, 80, 1), (184, 80, 1)),
    ((480, 112, 1), (672, 112, 1)),
    ((672, 160, 2), (960, 160, 1), (960, 160, 1)),
)
"""Expansion, channels and stride of the inverted residuals."""


@pytest.fixture(scope="module")
def net() -> SmirkEncoder:
    return random_smirk()


@pytest.fixture(scope="module")
def file(net: SmirkEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_smirk(tmp_path_factory.mktemp("smirk") / "SMIRK_em1.pt", net)


def described(weights: dict[str, Tensor], crops: Tensor) -> Tensor:
    """The network as docs/reference/published_weights.md B3 describes it, without timm."""

    def conv(x: Tensor, name: str, norm: str, stride: int = 1, act: bool = True) -> Tensor:
        weight = weights[f"encoder.{name}.weight"]
        kernel = weight.shape[-1]
        if stride == 2:  # TensorFlow's SAME: the odd pixel of padding is right and below
            x = F.pad(x, (0, 1, 0, 1))
        groups = x.shape[1] if weight.shape[1] == 1 and x.shape[1] > 3 else 1
        padding = 0 if stride == 2 else kernel // 2
        x = F.conv2d(x, weight, stride=stride, padding=padding, groups=groups)
        part = {k: weights[f"encoder.{norm}.{k}"] for k in ("weight", "bias")}
        mean, var = (weights[f"encoder.{norm}.running_{k}"] for k in ("mean", "var"))
        x = F.batch_norm(x, mean, var, part["weight"], part["bias"], eps=1e-3)
        return x.relu() if act else x

    x = conv(crops, "conv_stem", "bn1", 2)
    first = conv(x, "blocks.0.0.conv_dw", "blocks.0.0.bn1")
    x = x + conv(first, "blocks.0.0.conv_pw", "blocks.0.0.bn2", act=False)
    for stage, units in enumerate(INVERTED, 1):
        for number, (_, width, stride) in enumerate(units):
            block = f"blocks.{stage}.{number}"
            y = conv(x, f"{block}.conv_pw", f"{block}.bn1")
            y = conv(y, f"{block}.conv_dw", f"{block}.bn2", stride)
            y = conv(y, f"{block}.conv_pwl", f"{block}.bn3", act=False)
            x = x + y if stride == 1 and x.shape[1] == width else y
    x = conv(x, "blocks.6.0.conv", "blocks.6.0.bn1").mean((2, 3))
    linear = weights["expression_layers.0.weight"], weights["expression_layers.0.bias"]
    out = F.linear(x, *linear)
    lids, opening, sides = out[:, 50:52].clamp(0, 1), out[:, 52:53].relu(), out[:, 53:]
    return torch.cat([out[:, :50], lids, opening, sides.clamp(-0.2, 0.2)], 1)


def test_the_network_is_the_one_described(net: SmirkEncoder) -> None:
    crops = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        out, expected = net(crops), described(net.state_dict(), crops)
    assert out.shape == (2, 55) and float(out[:, :50].std()) > 0.1
    assert torch.allclose(out, expected, atol=1e-5)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_file(net: SmirkEncoder, tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "SMIRK_em1.pt"
    torch.save(smirk_tensors(net), path, _use_new_zipfile_serialization=not legacy)
    loaded = load_smirk(path)
    crops = torch.rand(1, 3, 224, 224)
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    with torch.inference_mode():
        assert torch.allclose(loaded(crops), net(crops), atol=1e-5)


def test_only_its_own_weights_are_read(file: Path, tmp_path: Path) -> None:
    """A file whose generator is damaged still loads: its values are never read."""
    path = tmp_path / "damaged.pt"
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(path, "w") as target:
        for info in source.infolist():
            content = source.read(info)
            target.writestr(info.filename, content)
        last = max(
            (i for i in source.infolist() if "/data/" in i.filename),
            key=lambda i: int(i.filename.rpartition("/")[2]),
        )
    whole = path.read_bytes()
    start = whole.rindex(f"{last.filename}".encode(), 0, whole.index(b"PK\x01\x02"))
    place = start + len(last.filename) + 8
    path.write_bytes(whole[:place] + b"damage" + whole[place + 6 :])
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() == last.filename
    assert load_smirk(path)


def of(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Path], None]:
    return lambda path: torch.save(change(smirk_tensors()), path)


def without(mark: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda tensors: {name: t for name, t in tensors.items() if mark not in name}


OTHER_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no encoder": (of(without(PREFIX)), "other networks of SMIRK without the expression encoder"),
    "a weight is missing": (of(without("conv_stem")), r"another layout: .* lacks 1 weights"),
    "another head": (
        of(lambda t: {**t, f"{PREFIX}expression_layers.0.weight": torch.zeros(53, 960)}),
        r"another layout: .* of shape \[53, 960\] instead of \[55, 960\]",
    ),
    "squeeze and excitation": (
        of(lambda t: {**t, f"{PREFIX}encoder.blocks.1.0.se.conv_reduce.weight": torch.zeros(1)}),
        r"another layout: .* 1 unknown weights",
    ),
    "bare backbone": (
        lambda path: torch.save({"conv_stem.weight": torch.zeros(16, 3, 3, 3)}, path),
        "a network of timm that is not SMIRK's, not SMIRK",
    ),
    "IR-SE50": (lambda path: torch.save({"input_layer.0.weight": torch.zeros(1)}, path), "IR-SE50"),
    "IP-Adapter": (
        lambda path: torch.save({"image_proj": {"w": torch.zeros(1)}, "ip_adapter": {}}, path),
        "a table of other tables",
    ),
    "anything": (
        lambda path: torch.save({"fc.weight": torch.zeros(1)}, path),
        r"another network \(1 weights, the first is fc.weight\)",
    ),
    "no file of torch": (lambda path: path.write_bytes(b"<html>"), "not written by PyTorch"),
    "code": (lambda path: torch.save({"a": print}, path), "object __builtin__.print"),
    "nothing": (lambda path: None, "cannot be read"),
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_other_files_are_named(name: str, tmp_path: Path) -> None:
    write, says = OTHER_FILES[name]
    path = tmp_path / "SMIRK_em1.pt"
    write(path)
    with pytest.raises(ModelFileError, match=says) as error:
        load_smirk(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_without_timm(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(FacePackError, match="pip install timm"):
        load_smirk(file)


# ---- faces --------------------------------------------------------------------------------------

SIZE = 300, 280
"""Width and height of the image."""


def face(low: tuple[float, float], high: tuple[float, float], mesh: bool = True) -> Face:
    """A face whose landmarks fill a box; its detector's box is another."""
    box = (10.0, 20.0, 110.0, 80.0)
    if not mesh:
        return Face(SIZE, box, 1.0, torch.zeros(0, 2), "none", "test")
    chance = torch.Generator().manual_seed(2)
    points = torch.rand(478, 3, generator=chance) * 0.8 + 0.1
    points[0, :2], points[1, :2] = 0, 1
    start, end = torch.tensor([*low, -50.0]), torch.tensor([*high, 50.0])
    return Face(SIZE, box, 1.0, start + points * (end - start), "mesh", "test")


def image() -> Tensor:
    return torch.rand(3, SIZE[1], SIZE[0], generator=torch.Generator().manual_seed(3))


def test_the_crop_is_that_of_the_landmarks() -> None:
    """150 wide, 170 high: 1.4 times the mean of both is 224, and no pixel is resampled."""
    crop = face_crop(image(), face((70, 60), (220, 230)))
    assert torch.allclose(crop, image()[:, 33:257, 33:257], atol=1e-3)
    small = face_crop(image(), face((107.5, 102.5), (182.5, 187.5)))  # half as large
    half = F.interpolate(image()[None, :, 89:201, 89:201], scale_factor=2, mode="bilinear")[0]
    assert torch.allclose(small[:, 2:-2, 2:-2], half[:, 2:-2, 2:-2], atol=1e-3)


def test_beyond_the_image_is_black() -> None:
    crop = face_crop(image(), face((0, 0), (150, 170)))
    assert torch.equal(crop[:, :25], torch.zeros(3, 25, 224))
    assert torch.allclose(crop[:, 27:, 37:], image()[:, :197, :187], atol=1e-3)


def test_without_landmarks_it_follows_the_box() -> None:
    crop = face_crop(image(), face((0, 0), (1, 1), mesh=False))
    assert torch.equal(crop, face_crop(image(), face((10, 20), (110, 80))))


class Found:
    name = "test"

    def __init__(self, *faces: Face) -> None:
        self.faces = faces

    def find(self, image: Tensor) -> list[Face]:
        return list(self.faces)


def test_an_analyzers_faces_get_numbers(net: SmirkEncoder) -> None:
    faces = face((70, 60), (220, 230)), face((30, 40), (120, 130))
    found = {
        order: SmirkAnalyzer(Found(*faces), net, order).find(image()) for order in ("RGB", "BGR")
    }
    rgb, bgr = (torch.stack([f.flame for f in found[o] if f.flame is not None]) for o in found)
    assert rgb.shape == (2, 55) and not torch.allclose(rgb[0], rgb[1])
    assert not torch.allclose(rgb, bgr)
    with torch.inference_mode():
        assert torch.equal(rgb[0], net(face_crop(image(), faces[0])[None])[0])
    flipped = SmirkAnalyzer(Found(*faces), net, "BGR").find(image().flip(0))
    assert flipped[0].flame is not None and torch.equal(flipped[0].flame, rgb[0])
    with pytest.raises(InputError, match="no channel order"):
        SmirkAnalyzer(Found(), net, "GBR")


def test_they_become_expressions(net: SmirkEncoder) -> None:
    """Of a face with blendshapes both are known; without, FLAME's numbers alone."""
    both, alone = SmirkAnalyzer(
        Found(face((70, 60), (220, 230)), face((30, 40), (120, 130))), net
    ).find(image())
    object.__setattr__(both, "blendshapes", {"jawOpen": 0.5})
    one, two = from_face(both), from_face(alone)
    assert both.flame is not None and alone.flame is not None
    assert one.encoder == two.encoder == FLAME and one.source == "image by test and SMIRK"
    assert one.blendshapes()["jawOpen"] == 0.5
    assert torch.equal(flame_numbers(two), alone.flame)
    middle = travel(one, two, 3)[1]
    assert torch.allclose(flame_numbers(middle), (both.flame + alone.flame) / 2, atol=1e-6)
    between = from_face(alone)
    object.__setattr__(between, "learned", torch.zeros(55))
    assert medoid([two, two, between]) == 0 and medoid([between, two, two]) == 1
    with pytest.raises(InputError, match="gives no expression"):
        from_face(face((0, 0), (1, 1)))

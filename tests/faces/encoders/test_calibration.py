"""Encoder input, and finding the alignment and channel order of given features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from comfyui_dense_face.cli import main
from comfyui_dense_face.errors import IncompatibleError, InputError, ModelFileError
from comfyui_dense_face.faces.analyzers import manual_face
from comfyui_dense_face.faces.encoders.aligned_recogniser import (
    ALIGNMENTS,
    CHANNEL_ORDERS,
    AlignedRecogniser,
    encoder_input,
)
from comfyui_dense_face.faces.encoders.calibration import Pair, calibrate
from comfyui_dense_face.faces.encoders.feature_file import read_feature
from torch import Tensor
from torch.nn import functional as F

FIVE = torch.tensor([[70.0, 80], [120, 85], [95, 112], [74, 138], [113, 141]])


def image(seed: int) -> Tensor:
    coarse = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size=(200, 200), mode="bicubic")[0].clamp(0, 1)


def encoder(faces: Tensor) -> Tensor:
    """A stand-in for the encoder that depends on colours and positions."""
    maps = F.adaptive_avg_pool2d(faces, 8).flatten(1)
    maps = maps - maps.mean()
    weights = torch.randn(maps.shape[1], 64, generator=torch.Generator().manual_seed(7))
    return maps @ weights


def recogniser(**options: str) -> AlignedRecogniser:
    return AlignedRecogniser("ir-se50", encoder, **options)


def test_rotation_does_not_change_the_identity() -> None:
    """After a quarter turn the aligned face is the same up to interpolation."""
    upright = image(0)
    turned = upright.rot90(1, (1, 2))
    # (x, y) -> (y, width - x)
    five = torch.stack([FIVE[:, 1], 200 - FIVE[:, 0]], 1)
    one = recogniser().identify(upright, manual_face((200, 200), five=FIVE))
    other = recogniser().identify(turned, manual_face((200, 200), five=five))
    assert one.encoder == "ir-se50"
    assert float(one.vector @ other.vector) > 0.999


def test_unusable_faces_are_refused() -> None:
    with pytest.raises(InputError, match="a box but no points"):
        recogniser().identify(image(0), manual_face((200, 200), box=(0, 0, 50, 50)))
    with pytest.raises(InputError, match="200x200 px, this one has 100x100"):
        recogniser().identify(image(0)[:, :100, :100], manual_face((200, 200), five=FIVE))
    with pytest.raises(InputError, match="'RBG' is unknown"):
        recogniser(channel_order="RBG")
    box_only = manual_face((200, 200), box=(0, 0, 50, 50))
    assert recogniser(alignment="whole picture").identify(image(0), box_only)


@pytest.mark.parametrize("order", CHANNEL_ORDERS)
@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_calibration_finds_order_and_alignment(order: str, alignment: str) -> None:
    pairs = []
    for seed in range(3):
        face = manual_face((200, 200), five=FIVE + seed)
        features = encoder(encoder_input(image(seed), face, order, alignment))[0]
        pairs.append(Pair(image(seed), face, 3 * features))
    best, *others = calibrate(encoder, pairs)
    assert (best.channel_order, best.alignment) == (order, alignment)
    assert best.reproduces and best.mean == pytest.approx(1, abs=1e-5)
    assert len(others) == 3 and not any(v.reproduces for v in others)
    assert [v.mean for v in others] == sorted((v.mean for v in others), reverse=True)


def test_calibration_refuses_missing_or_other_features() -> None:
    whole = Pair(image(0), None, torch.ones(64))
    found = calibrate(encoder, [whole])
    assert sum(not v.cosines for v in found) == 2 and not any(v.reproduces for v in found)
    with pytest.raises(IncompatibleError, match="64 numbers, the features have 512"):
        calibrate(encoder, [Pair(image(0), None, torch.ones(512))])
    with pytest.raises(InputError, match="no images"):
        calibrate(encoder, [])


def test_feature_files(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32)[None]
    np.save(tmp_path / "a.npy", values)
    torch.save(values, tmp_path / "b.pth")
    torch.save(torch.from_numpy(values), tmp_path / "c.pt")
    for name in ("a.npy", "b.pth", "c.pt"):
        assert read_feature(tmp_path / name).tolist() == list(range(6))
    torch.save(Path("x"), tmp_path / "path.pth")
    with pytest.raises(ModelFileError, match="no single feature vector"):
        read_feature(tmp_path / "path.pth")
    torch.save(breakpoint, tmp_path / "evil.pth")
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object), allow_pickle=True)
    for name in ("evil.pth", "object.npy"):
        with pytest.raises(ModelFileError, match=r"damaged, or holds other things|malicious"):
            read_feature(tmp_path / name)
    np.save(tmp_path / "two.npy", np.zeros((2, 3), np.float32))
    with pytest.raises(ModelFileError, match="no single feature vector"):
        read_feature(tmp_path / "two.npy")


def test_the_command_needs_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    (tmp_path / "images").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "images" / "a.png")
    images = str(tmp_path / "images")
    command = ["calibrate-identity", images, "--encoder", str(tmp_path / "none.pth")]
    assert main(command) == 2
    assert "none.pth" in capsys.readouterr().err

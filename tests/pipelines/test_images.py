"""Image files: every mode is read, every error is one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.pipelines.images import read_image, to_pil, write_image
from PIL import Image

GREY = Image.new("L", (128, 128), 200)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK"])
def test_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    GREY.convert("RGB").convert(mode).save(path)
    image = read_image(path)
    assert image.shape == (1, 3, 128, 128)
    assert image.dtype == torch.float32
    if mode != "1":
        assert abs(float(image.mean()) - 200 / 255) < 0.01


def test_sixteen_bits_are_scaled_and_not_cut(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 128 * 128).reshape(128, 128).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert abs(float(image.mean()) - 0.5) < 0.01
    assert float(image[0, 0, 64, 64]) == pytest.approx(values[64, 64] / 65535, abs=0.01)


def test_the_middle_square_is_taken(tmp_path: Path) -> None:
    wide = Image.new("RGB", (300, 100), "red")
    wide.paste(Image.new("RGB", (100, 100), "blue"), (100, 0))
    wide.save(tmp_path / "a.png")
    assert float(read_image(tmp_path / "a.png")[0, 2].min()) > 0.9


def test_eight_bits_come_back_unchanged(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    write_image(tmp_path / "b.png", read_image(tmp_path / "a.png"), {"seed": 1})
    with Image.open(tmp_path / "b.png") as again:
        assert np.array_equal(np.asarray(again), pixels)
        assert again.info["denseface"] == '{"seed": 1}'
    assert to_pil(torch.ones(3, 4, 5)).size == (5, 4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is missing"),
        (b"", "not an image"),
        (b"hello", "not an image"),
        ("truncated", "truncated"),
        ((1, 1), "only 1x1 px"),
        ((9000, 40), "9000x40 px"),
        ("folder", "is missing"),
        ("float", "floating-point"),
    ],
)
def test_unreadable_files_are_one_sentence(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / ("a.tif" if content == "float" else "a.png")
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, tuple):
        Image.new("RGB", content).save(path)
    elif content == "truncated":
        noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:20_000])
    elif content == "folder":
        path.mkdir()
    elif content == "float":
        Image.fromarray(np.zeros((64, 64), dtype=np.float32)).save(path)
    with pytest.raises(InputError, match=message) as caught:
        read_image(path, "reference")
    assert str(path) in str(caught.value) and "reference" in str(caught.value)

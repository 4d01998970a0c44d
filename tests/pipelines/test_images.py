"""Image files: every mode is read, every error is one sentence."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.pipelines.images import (
    read_alpha,
    read_image,
    to_pil,
    with_alpha,
    write_image,
)
from PIL import Image, features

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


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_comes_back(tmp_path: Path, mode: str) -> None:
    alpha = Image.linear_gradient("L").resize((128, 96))
    image = Image.new("RGBA", (128, 96), "red")
    image.putalpha(alpha if mode != "P" else alpha.point([0] * 100 + [255] * 156))
    image.convert(mode).save(tmp_path / "a.png")
    opaque = read_alpha(tmp_path / "a.png")
    assert opaque is not None and opaque.shape == (1, 1, 96, 128)
    for name in ("b.png", "b.webp", "b.jpg"):
        write_image(tmp_path / name, with_alpha(torch.rand(1, 3, 96, 128), opaque), {})
        again = read_alpha(tmp_path / name)
        assert (again is None) if name == "b.jpg" else (again is not None)
        assert again is None or torch.equal(again, opaque)
    square = read_alpha(tmp_path / "a.png", size=64)
    assert square is not None and square.shape == (1, 1, 64, 64)


def test_opaque_images_have_no_transparency(tmp_path: Path) -> None:
    GREY.save(tmp_path / "a.png")
    assert read_alpha(tmp_path / "a.png") is None
    image = torch.rand(1, 3, 4, 5)
    assert with_alpha(image, None) is image


@pytest.mark.parametrize(
    ("brand", "message"),
    [
        (b"heic", "is a HEIC file.* or: pip install pillow-heif"),
        (b"mif1", "is a HEIC file"),
        (b"avif", "is an AVIF file|truncated or damaged"),
        (b"isom", "is not an image"),
    ],
)
def test_formats_that_need_more(
    tmp_path: Path, brand: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    path = tmp_path / "IMG_0001.heic"
    path.write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(64))
    with pytest.raises(InputError, match=message):
        read_image(path)


def test_avif_is_read_where_pillow_can(tmp_path: Path) -> None:
    if not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    GREY.convert("RGB").save(tmp_path / "a.avif")
    assert read_image(tmp_path / "a.avif").shape == (1, 3, 128, 128)


def test_heic_is_read_with_pillow_heif(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif").from_pillow(GREY.convert("RGB")).save(tmp_path / "a.heic")
    assert float(read_image(tmp_path / "a.heic").mean()) == pytest.approx(200 / 255, abs=0.02)


def test_nan_is_not_written(tmp_path: Path) -> None:
    image = torch.rand(1, 3, 4, 5)
    image[0, 0, 0, 0] = float("nan")
    with pytest.raises(InputError, match="drawn holds values that are not numbers"):
        write_image(tmp_path / "a.png", image, {})
    assert list(tmp_path.iterdir()) == []

"""Photographs are told from the tiny world's images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from comfyui_dense_face.demo.bundled import ANALYZER_FILE, WEIGHTS
from comfyui_dense_face.demo.networks.analyzer import TinyAnalyzer, analyse, load_analyzer
from comfyui_dense_face.demo.networks.face_finder import TinyWorldFaces
from comfyui_dense_face.demo.networks.photographs import COEFFICIENTS, load_criterion
from comfyui_dense_face.demo.people import sample_heads
from comfyui_dense_face.demo.renderer.renderer import render
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.faces.analyzers import find_faces
from comfyui_dense_face.storage import CHECKSUM_KEY, read_weights, write_weights
from photograph import astronaut
from torch import Tensor
from torch.nn import functional as F


@pytest.fixture(scope="module")
def net() -> TinyAnalyzer:
    return load_analyzer()


@pytest.fixture(scope="module")
def renders() -> Tensor:
    return render(sample_heads(list(range(5_000, 5_012))), 128).rgb


def degraded(images: Tensor) -> dict[str, Tensor]:
    """Images [B, 3, 128, 128] as people pass them on."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return {
        "as they are": images,
        "mirrored": images.flip(-1),
        "small": F.interpolate(images, size=(64, 64), mode="bilinear", antialias=True),
        "enlarged": F.interpolate(images, size=(300, 300), mode="bicubic").clamp(0, 1),
        "cropped": images[..., 10:120, 8:118],
        "dark": images * 0.7,
        "noisy": (images + 0.04 * noise).clamp(0, 1),
        "grey": images.mean(1, keepdim=True).expand(-1, 3, -1, -1),
        "blurred": F.avg_pool2d(images, 3, 1, 1, count_include_pad=False),
    }


def test_renders_are_never_refused(net: TinyAnalyzer, renders: Tensor) -> None:
    for how, images in degraded(renders).items():
        assert float(analyse(net, images).photograph_logit.max()) < 0, how


def test_photographs_are_recognised(net: TinyAnalyzer) -> None:
    image = astronaut()
    seen = [
        analyse(net, image[..., 256 - side - 20 :, x : x + side].flip(-1) if flip else part)
        for flip in (False, True)
        for side in (110, 130, 160)
        for x in (40, 60)
        for part in [image[..., 60 : 60 + side, x : x + side]]
    ]
    heads = [float(one.photograph_logit) for one in seen if float(one.face_logit) > 0]
    assert len(heads) >= 4 and min(heads) > 0


def test_a_photograph_is_refused_in_one_sentence(net: TinyAnalyzer) -> None:
    finder = TinyWorldFaces(net, "Use another")
    with pytest.raises(InputError, match=r"this is a photograph, .* rendered heads\. Use another"):
        find_faces(finder, astronaut()[0])


def test_an_analyzer_trained_since_refuses_nothing(tmp_path: Path) -> None:
    tensors, about = read_weights(WEIGHTS / ANALYZER_FILE)
    assert load_criterion(about[CHECKSUM_KEY]) is not None and COEFFICIENTS.is_file()
    tensors["face.bias"] = tensors["face.bias"] + 1
    write_weights(tmp_path / "other.safetensors", tensors, {})
    seen = analyse(load_analyzer(tmp_path / "other.safetensors"), astronaut())
    assert seen.photograph_logit.tolist() == [-torch.inf]

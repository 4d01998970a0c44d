"""The tiny world on diffusers, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from comfyui_dense_face.demo.people import sample_heads
from comfyui_dense_face.demo.renderer.renderer import render
from comfyui_dense_face.evaluation.sfsr import ESTIMATES
from comfyui_dense_face.pipelines.images import to_pil
from comfyui_dense_face.pipelines.tiny.dense_face import DenseFacePipeline
from comfyui_dense_face.pipelines.tiny.sfsr import SFSRPipeline
from measured_world import linked_world, world
from real_files import Command, write_files
from tiny_random import write_sfsr
from torch import Tensor


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all files of the tiny world."""
    return world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def pipeline(weights: Path) -> DenseFacePipeline:
    return DenseFacePipeline.load(weights)


@pytest.fixture(scope="session")
def sfsr_weights(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with an SFSR adapter, the bundled one or random weights."""
    names = ("tiny_sfsr", *(f"tiny_sfsr_{name}" for name in ESTIMATES))
    if all((weights / f"{name}.safetensors").is_file() for name in names):
        return weights
    folder = linked_world(weights, tmp_path_factory.mktemp("sfsr") / "world")
    for seed, name in enumerate(names):
        write_sfsr(folder / f"{name}.safetensors", seed)
    return folder


@pytest.fixture(scope="session")
def sfsr(sfsr_weights: Path) -> SFSRPipeline:
    return SFSRPipeline.load(sfsr_weights)


@pytest.fixture(scope="session")
def portraits() -> Tensor:
    """Two rendered people [2, 3, 128, 128]."""
    return render(sample_heads([2**41, 2**41 + 1])).rgb


@pytest.fixture
def portrait(tmp_path: Path, portraits: Tensor) -> Path:
    """A reference as a file."""
    path = tmp_path / "reference.png"
    to_pil(portraits[0]).save(path)
    return path


@pytest.fixture
def hole() -> Tensor:
    """A mask [1, 128, 128] with soft edges, 1 in the middle."""
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 4:12, 5:11] = 1
    return torch.nn.functional.interpolate(mask, (128, 128), mode="bilinear")[0]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files for commands with a base of one's own."""
    return write_files(tmp_path_factory.mktemp("real"))


@pytest.fixture
def command(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Calls them, without a landmarker."""
    monkeypatch.delenv("DENSEFACE_TASK_FILE", raising=False)
    return Command(files, tmp_path / "x.png")

"""Dense-Face's trainer learns whom it is shown: four people on the tiny world's base."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from comfyui_dense_face import cli
from comfyui_dense_face.demo.bundled import ANALYZER_FILE, WEIGHTS
from comfyui_dense_face.demo.networks.analyzer import load_analyzer
from comfyui_dense_face.dense_face.checkpoints.adapter_file import DenseFaceAdapter
from comfyui_dense_face.faces.angles import Angles
from comfyui_dense_face.faces.identity import Identity
from comfyui_dense_face.pipelines.base import TINY_BASE, load_base
from comfyui_dense_face.pipelines.real.inputs import RealInputs
from comfyui_dense_face.pipelines.real.pipeline import RealPipeline
from comfyui_dense_face.pipelines.text import token_ids
from comfyui_dense_face.training.data.dataset import FaceDataset
from comfyui_dense_face.training.photos.dense_face import (
    dense_face_task,
    people_batches,
)
from comfyui_dense_face.training.runs.loop import train
from comfyui_dense_face.training.settings.config import DenseFaceConfig
from torch import Tensor
from torch.nn import functional as F

SIDE, STEPS = 128, 800


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """An image of each, whose caption does not describe them."""
    out = tmp_path / "faces"
    words = ["render", str(out), "--count", "4", "--per-person", "1", "--size", str(SIDE)]
    assert cli.main([*words, "--seed", "11"]) == 0
    table = out / "faces_headpose.csv"
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with table.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows({**row, "caption": "a photo of a person"} for row in rows)
    return out


@pytest.mark.slow
def test_four_people_are_recognised(faces: Path, tmp_path: Path) -> None:
    """On every image, drawn by identity and head pose or by the identity alone."""
    config = DenseFaceConfig(
        dataset=faces, base=TINY_BASE, out=tmp_path / "out", folder=tmp_path / "work",
        encoder="tiny-world", size=SIDE, scheme="ibug", batch=4, workers=0, steps=STEPS,
        rate=1e-2, precision="no", delta=1.0,
    )  # fmt: skip
    base = load_base(TINY_BASE)
    task = dense_face_task(base, config, token_ids)
    schedule = replace(config.schedule, warmup=10)
    batches = people_batches(config, recogniser=False)
    train(task, schedule, seed=0, folder=config.folder, batches=batches)
    about = {"encoder": "tiny-world"}
    trained = DenseFaceAdapter(task.adapter, task.pose_branch, task.token, about)
    pipeline = RealPipeline(base, token_ids, trained)
    analyzer = load_analyzer(WEIGHTS / ANALYZER_FILE)
    people = list(FaceDataset(faces, SIDE, scheme="ibug"))
    gallery = F.normalize(torch.stack([person["feature"] for person in people]), dim=1)

    def similar(number: int, seed: int, angles: Angles | None) -> Tensor:
        """Of an image to each person [4]."""
        who = Identity(gallery[number], "tiny-world")
        inputs = RealInputs(prompt="a photo of *", person=who, angles=angles)
        image = pipeline.draw(inputs, seed, size=SIDE, steps=12, guidance=3.0)
        with torch.no_grad():
            return gallery @ F.normalize(analyzer(image).identity[0], dim=0)

    for number, person in enumerate(people):
        yaw, pitch, roll = person["pose"].tolist()
        for angles in ((yaw, pitch, roll), None):
            found = [similar(number, seed, angles) for seed in (0, 1)]
            assert [int(each.argmax()) for each in found] == [number] * 2

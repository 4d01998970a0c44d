"""``denseface train dense-face``: adapters for any base, on any data set in the layout."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_dense_face import cli
from comfyui_dense_face.demo.vocabulary import PLACEHOLDER
from comfyui_dense_face.dense_face.checkpoints.adapter_file import load_adapter
from comfyui_dense_face.dense_face.pose_image import pose_images
from comfyui_dense_face.dense_face.prompt import with_placeholder
from comfyui_dense_face.faces.encoders.ir_se50 import IRSE50
from comfyui_dense_face.pipelines.base import Base, load_base
from comfyui_dense_face.pipelines.single_file import tokenizer_for
from comfyui_dense_face.pipelines.text import token_ids
from comfyui_dense_face.training import dense_face
from comfyui_dense_face.training.data.batches import Batch, Batches
from comfyui_dense_face.training.data.dataset import FaceDataset
from comfyui_dense_face.training.photos.dense_face import (
    CONTENT,
    PhotoPeople,
    dense_face_task,
    people_batches,
)
from comfyui_dense_face.training.photos.encoding import PhotoEncoder
from comfyui_dense_face.training.photos.other_images import aligned_face
from comfyui_dense_face.training.photos.person_words import PersonWords
from comfyui_dense_face.training.runs.loop import step_generator
from comfyui_dense_face.training.settings.config import DenseFaceConfig
from tiny_random import write_adapter

SIDE, STEPS = 64, 4


def _train(faces: Path, base: Path, out: Path, *more: str, who: str = "tiny-world") -> int:
    words = ["train", "dense-face", "--dataset", str(faces), "--base", str(base), "--out"]
    words += [str(out / "adapter.safetensors"), "--folder", str(out / "work")]
    words += ["--steps", str(STEPS)]
    words += ["--batch", "2", "--workers", "0", "--precision", "no", "--save-every", "2"]
    words += ["--size", str(SIDE), "--scheme", "ibug", "--rate", "0.01", "--encoder", who]
    return cli.main([*words, *more])


def _config(faces: Path, **more: Any) -> DenseFaceConfig:
    given = {"encoder": "tiny-world", "size": SIDE, "scheme": "ibug", "batch": 4, "workers": 0}
    places = {"dataset": faces, "base": faces / "base", "out": faces / "out"}
    return DenseFaceConfig(**{**places, **given, **more})


def _batch(config: DenseFaceConfig, number: int = 0) -> Batch:
    batches = _batches(config)
    return batches.checked(next(iter(batches.loader(number, number + 1))))


def _batches(config: DenseFaceConfig) -> Batches:
    return people_batches(config, recogniser=config.ir_se50 is not None)


def test_a_killed_run_gives_the_same_adapter(
    faces: Path, base_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in its fourth step, after a state of two steps; the file is one for the nodes."""
    assert _train(faces, base_file, tmp_path / "whole") == 0
    noised, calls = dense_face.noised, 0

    def stopping(*args: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == STEPS:
            raise KeyboardInterrupt
        return noised(*args, **more)

    monkeypatch.setattr(dense_face, "noised", stopping)
    assert _train(faces, base_file, tmp_path / "killed") == cli.EXIT_INTERRUPTED
    assert _train(faces, base_file, tmp_path / "killed") == 0
    assert calls == STEPS + STEPS - 2
    whole, killed = (
        load_adapter(tmp_path / name / "adapter.safetensors") for name in ("whole", "killed")
    )
    assert whole.encoder == "tiny-world" and whole.base_model == "base"
    assert whole.pose_branch is not None and whole.token is not None
    assert killed.pose_branch is not None and killed.token is not None
    assert whole.metadata["command"].startswith("denseface train dense-face --steps 4 --batch 2")
    for one, other in (
        (whole.adapter, killed.adapter),
        (whole.pose_branch, killed.pose_branch),
        (whole.token, killed.token),
    ):
        for name, tensor in one.state_dict().items():
            assert bool(tensor.isfinite().all())
            assert torch.equal(other.state_dict()[name], tensor), name
    # New, none of them changes an image; trained, all do.
    changed = whole.adapter.state_dict()
    assert all(bool((t != 0).any()) for n, t in changed.items() if n.endswith("per_v.weight"))
    zero = whole.pose_branch.state_dict()["middle_block_out.0.weight"]
    assert bool((zero != 0).any())


def test_adapter_pose_branch_and_token_learn_alone(faces: Path, base: Base) -> None:
    config = _config(faces)
    task = dense_face_task(base, config, token_ids).train()
    losses = task(step_generator(1, 0), _batch(config))
    assert set(losses) == {"loss", "mse", "angles"}
    losses["loss"].backward()
    learned = {n.split(".")[0] for n, p in task.named_parameters() if p.grad is not None}
    assert learned == {"adapter", "pose_branch", "token", "angles"}
    assert all(p.grad is None for p in (*base.unet.parameters(), *base.text_encoder.parameters()))
    assert not any(p.requires_grad for p in task.token.string_to_param_dict.parameters())  # P
    # Several processes wait for the gradient of every weight that is trained.
    assert [n for n, p in task.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("form", ["folder", "webdataset"])
def test_identities_are_those_of_another_image(form: str, faces: Path, tmp_path: Path) -> None:
    """Wherever the person has another one; which one does not depend on the workers."""
    if form == "webdataset":
        words = ["render", str(tmp_path / "tar"), "--count", "7", "--per-person", "2"]
        words += ["--size", "64", "--seed", "3", "--format", form]
        assert cli.main(words) == 0
        faces = tmp_path / "tar"
    samples = {s["key"]: s for s in FaceDataset(faces, SIDE, scheme="ibug")}
    config = _config(faces, batch=7)
    batch = _batch(config)
    assert sorted(batch["key"]) == sorted(samples)
    for index, key in enumerate(batch["key"]):
        subject, number = key.split("/")
        other = key if subject == "0000004" else f"{subject}/{1 - int(number):03d}"
        assert torch.equal(batch["other_feature"][index], samples[other]["feature"])
        yaw, pitch, roll = samples[key]["pose"].tolist()
        assert torch.equal(batch["hint"][index], pose_images([(yaw, pitch, roll)], SIDE)[0])
    again = _batches(_config(faces, batch=7, workers=2))
    (same,) = (again.checked(each) for each in again.loader(0, 1))
    assert torch.equal(batch["other_feature"], same["other_feature"])


def test_a_recogniser_reads_the_other_image(faces: Path, base: Base, tmp_path: Path) -> None:
    config = _config(faces, encoder="", ir_se50=tmp_path, batch=7)
    samples = {s["key"]: s for s in FaceDataset(faces, SIDE, scheme="ibug")}
    batch = _batch(config)
    for index, key in enumerate(batch["key"]):
        subject, number = key.split("/")
        other = key if subject == "0000004" else f"{subject}/{1 - int(number):03d}"
        assert torch.equal(batch["other_face"][index], aligned_face(samples[other], "ibug"))
    torch.manual_seed(0)
    task = dense_face_task(base, config, token_ids, IRSE50().eval().requires_grad_(False))
    evaluated = task.source.draw(step_generator(1, 0), batch)
    task.train()  # the recogniser stays as it is: no dropout, the statistics of its file
    shown = task.source.draw(step_generator(1, 0), batch)
    assert torch.equal(shown.identity, evaluated.identity)
    norms = shown.identity.norm(dim=1)
    assert bool(((norms - 1).abs() < 1e-4).logical_or(norms == 0).all()) and bool(norms.any())


def test_conditions_are_dropped_at_random(faces: Path, base: Base) -> None:
    """Identity with its word, pose and caption; an unknown pose is none."""
    config = _config(faces, batch=7)
    batch = _batch(config)
    batch["pose"][0] = float("nan")
    words = PersonWords(base, token_ids, captions=False)
    source = PhotoPeople(PhotoEncoder(base, token_ids, CONTENT), words)
    drawn = [source.draw(step_generator(1, n), batch) for n in range(30)]
    known = torch.stack([each.identity.abs().sum(1) > 0 for each in drawn]).float()
    star = torch.stack([(each.ids == PLACEHOLDER).any(1) for each in drawn]).float()
    posed = torch.stack([each.posed for each in drawn])
    assert 0.8 < float(known.mean()) < 0.97 and 0.7 < float(star.mean()) < 0.9
    assert bool((star <= known).all()) and bool((star < known).any())
    assert float(posed[:, 0].sum()) == 0 and 0.8 < float(posed[:, 1:].mean()) < 0.97


def test_a_batch_of_one(faces: Path, base: Base) -> None:
    """It has no statistics: those of the token stay as they are."""
    config = _config(faces, batch=1)
    task = dense_face_task(base, config, token_ids).train()
    before = task.token.projector_norm.running_mean.clone()
    task(step_generator(1, 0), _batch(config))["loss"].backward()
    assert torch.equal(before, task.token.projector_norm.running_mean)
    task(step_generator(1, 0), _batch(_config(faces, batch=2)))
    assert not torch.equal(before, task.token.projector_norm.running_mean)


def test_training_starts_from_a_file(
    faces: Path, base_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = write_adapter(tmp_path / "start.safetensors", delta=0.5)
    more = ("--start", str(start), "--rate", "1e-9")
    assert _train(faces, base_file, tmp_path, *more) == 0
    before, after = load_adapter(start), load_adapter(tmp_path / "adapter.safetensors")
    assert after.adapter.delta == 0.5
    for name, tensor in after.adapter.state_dict().items():
        torch.testing.assert_close(tensor, before.adapter.state_dict()[name], atol=1e-3, rtol=1e-3)
    assert _train(faces, base_file, tmp_path, *more[2:]) == 2
    assert "start none instead of" in capsys.readouterr().err
    assert _train(faces, base_file, tmp_path, *more, who="another") == 2
    assert "identities of tiny-world, not of another" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a photo of a woman, smiling", "a photo of * , smiling"),
        ("The man and a dog", "* and a dog"),
        ("a portrait of a person with a woman", "a portrait of * with a woman"),
        ("two * in a house", "a photo of * , two   in a house"),
        ("manly, humane", "a photo of * , manly, humane"),
        ("", "a photo of *"),
    ],
)
def test_the_person_becomes_the_placeholder(caption: str, expected: str) -> None:
    assert with_placeholder(caption) == expected


def test_without_a_tokenizer_the_prompt_is_the_placeholder(base_file: Path) -> None:
    other = load_base(base_file)
    config = other.text_encoder.config
    config.vocab_size, config.max_position_embeddings = 49408, 77
    words = PersonWords(other, tokenizer_for(other, None), captions=False)
    ids = words.ids(["a man", "a man", "a man"], [True, True, False], [False, True, False])
    assert (words.placeholder, words.person) == (265, 2533)
    assert ids[:, 1].tolist() == [265, 49407, 49407]
    assert ids[:, 0].tolist() == [49406] * 3 and bool((ids[:, 2:] == 49407).all())


def test_unusable_inputs_are_refused(
    faces: Path, base_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(faces, bare)
    for folder in bare.glob("faces/*/feat_file_v2"):
        shutil.rmtree(folder)
    assert _train(bare, base_file, tmp_path) == 2
    assert "images cannot be used" in capsys.readouterr().err
    assert _train(faces, base_file, tmp_path, "--ir-se50", __file__) == 2
    assert "encoder is needed, and two are given" in capsys.readouterr().err
    assert _train(faces, base_file, tmp_path, "--start", str(base_file)) == 2
    assert "Choose a Dense-Face adapter file" in capsys.readouterr().err

"""``denseface train-sfsr``: SFSR adapters for any base, on any data set in the layout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_dense_face import cli
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.faces.blendshapes import ARKIT_NAMES
from comfyui_dense_face.faces.encoders.aligned_recogniser import AlignedRecogniser
from comfyui_dense_face.faces.encoders.ir_se50 import ENCODER, IRSE50
from comfyui_dense_face.faces.face import Face, five_points
from comfyui_dense_face.pipelines.base import Base
from comfyui_dense_face.pipelines.text import token_ids
from comfyui_dense_face.sfsr.adapter import load_adapter
from comfyui_dense_face.storage import read_weights
from comfyui_dense_face.training import sfsr
from comfyui_dense_face.training.data.batches import Batch
from comfyui_dense_face.training.data.dataset import FaceDataset
from comfyui_dense_face.training.photos.arcface_reader import ArcFaceReader
from comfyui_dense_face.training.photos.encoding import PhotoEncoder
from comfyui_dense_face.training.photos.sfsr import (
    CONTENT,
    PhotoFaces,
    face_batches,
    sfsr_task,
    train_sfsr,
)
from comfyui_dense_face.training.runs.loop import step_generator
from comfyui_dense_face.training.settings.config import SFSRConfig
from tiny_random import write_base

SIDE, STEPS = 64, 4


@pytest.fixture(scope="module")
def net() -> IRSE50:
    torch.manual_seed(0)
    return IRSE50().eval().requires_grad_(False)


def _train(faces: Path, base: Path, out: Path, *more: str, who: str = "tiny-world") -> int:
    words = [
        "train",
        "sfsr",
        "--dataset",
        str(faces),
        "--base",
        str(base),
        "--out",
        str(out / "adapter.safetensors"),
    ]
    words += ["--folder", str(out / "work"), "--steps", str(STEPS), "--batch", "3", "--workers"]
    words += ["0", "--precision", "no", "--save-every", "2", "--size", str(SIDE), "--scheme"]
    words += ["ibug", "--rate", "0.01", "--encoder", who]
    return cli.main([*words, *more])


def _config(faces: Path, out: Path, **more: Any) -> SFSRConfig:
    given = {"encoder": "tiny-world", "size": SIDE, "scheme": "ibug", "batch": 4, "workers": 0}
    places = {"dataset": faces, "base": out / "base", "out": out / "adapter", "folder": out / "w"}
    return SFSRConfig(**{**places, **given, **more})


def _batch(config: SFSRConfig) -> Batch:
    batches = face_batches(config, recogniser=False)
    return batches.checked(next(iter(batches.loader(0, 1))))


def test_a_killed_run_gives_the_same_adapter(
    faces: Path, base_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in its fourth step, after a state of two steps."""
    assert _train(faces, base_file, tmp_path / "whole") == 0
    noised, calls = sfsr.noised, 0

    def stopping(*args: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == STEPS:
            raise KeyboardInterrupt
        return noised(*args, **more)

    monkeypatch.setattr(sfsr, "noised", stopping)
    assert _train(faces, base_file, tmp_path / "killed") == cli.EXIT_INTERRUPTED
    assert _train(faces, base_file, tmp_path / "killed") == 0
    assert calls == STEPS + STEPS - 2
    whole = load_adapter(tmp_path / "whole" / "adapter.safetensors")
    killed = load_adapter(tmp_path / "killed" / "adapter.safetensors")
    assert whole.layout.identities == {"tiny-world": 512} and whole.hint is not None
    for name, tensor in whole.state_dict().items():
        assert bool(tensor.isfinite().all())
        assert torch.equal(killed.state_dict()[name], tensor), name
    # Fresh, an adapter changes nothing; trained, both of its sources and the scene do.
    values = {n: t for n, t in whole.state_dict().items() if "to_v" in n or "hint.last" in n}
    assert values and all(bool((tensor != 0).any()) for tensor in values.values())
    _, about = read_weights(tmp_path / "whole" / "adapter.safetensors")
    assert about["steps"] == str(STEPS)
    assert about["command"].startswith("denseface train sfsr --steps 4 --batch 3")


def test_the_recogniser_reads_as_for_the_nodes(faces: Path, net: IRSE50) -> None:
    """Training uses the same identity as Encode Identity."""
    sample = next(iter(FaceDataset(faces, 96, scheme="ibug")))
    points, image = 96 * sample["landmarks"], sample["image"]
    low, high = points.min(0).values.tolist(), points.max(0).values.tolist()
    face = Face((96, 96), (*low, *high), 1.0, points, "ibug", "test")
    expected = AlignedRecogniser(ENCODER, net).identify(image, face).vector
    five = five_points(sample["landmarks"], "ibug")[None]
    found = ArcFaceReader(net).train().identities(image[None], five)[0]
    assert float(found @ expected) > 0.9999


@pytest.mark.parametrize("batch", [4, 1])
def test_generated_faces_are_recognised(
    faces: Path, base: Base, net: IRSE50, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    batch: int,
) -> None:  # fmt: skip
    """With a recogniser, faces of others are generated, and their similarity is a loss.

    Alone in its batch, a face has its own person's, whom nobody can be mistaken for.
    """
    seen: list[dict[str, torch.Tensor]] = []
    as_it_is = sfsr.SFSRTask._face_losses

    def watched(self: sfsr.SFSRTask, *given: Any) -> Any:
        seen.append(as_it_is(self, *given))
        return seen[-1]

    monkeypatch.setattr(sfsr.SFSRTask, "_face_losses", watched)
    short = {"steps": 2, "rate": 1e-2, "precision": "no", "encoder": "", "ir_se50": tmp_path}
    short["batch"] = batch
    adapter = train_sfsr(base, _config(faces, tmp_path, **short), token_ids, net)
    assert adapter.layout.identities == {ENCODER: 512}
    assert [set(losses) for losses in seen] == [{"identity", "mistaken", "scene"}] * 2
    assert all(losses["identity"].requires_grad for losses in seen)
    assert all(bool(losses["mistaken"] > 0) == (batch > 1) for losses in seen)


def test_the_scene_does_not_reveal_the_face(faces: Path, base: Base, tmp_path: Path) -> None:
    """The scene's inputs are the same whatever the pixels of the face are."""
    config = _config(faces, tmp_path)
    source, batch = PhotoFaces(PhotoEncoder(base, token_ids, CONTENT)), _batch(config)
    parts = batch["parts"][:, None].float()
    face = torch.nn.functional.interpolate(parts, (SIDE, SIDE), mode="nearest-exact") > 0
    negative = {**batch, "image": torch.where(face, 1 - batch["image"], batch["image"])}
    one, other = (source.draw(step_generator(1, 0), each) for each in (batch, negative))
    assert torch.equal(one.background, other.background)
    assert not torch.equal(one.latents, other.latents)
    assert bool((one.background[:, :1] >= one.heads).all()) and one.heads.amax() == 1
    assert bool(one.known.any()) and bool(((one.values >= 0) & (one.values <= 1)).all())
    assert bool((one.features <= one.heads).all()) and one.features.amax() > 0


def test_expressions_are_those_of_the_data_set(faces: Path, tmp_path: Path) -> None:
    samples = {s["key"]: s["blendshapes"] for s in FaceDataset(faces, SIDE, scheme="ibug")}
    assert len(samples) == 7 and all(s.shape == (51,) for s in samples.values())
    for key, values in samples.items():
        subject, number = key.split("/")
        written = json.loads(
            (faces / "faces" / subject / "attributes" / f"{number}.json").read_text()
        )
        assert values.tolist() == pytest.approx([written["blendshapes"][n] for n in ARKIT_NAMES])
    copy = tmp_path / "copy"
    shutil.copytree(faces, copy)
    first, second = sorted(copy.glob("faces/*/attributes/*.json"))[:2]
    first.write_text('{"age": {"30": 0.5}}')  # as the release has them
    second.write_text("no json")
    dataset = FaceDataset(copy, SIDE, scheme="ibug")
    unknown = [bool(s["blendshapes"].isnan().all()) for s in dataset]
    assert sum(unknown) == 2 and "the attributes are unreadable" in dataset.defects.counts


def test_images_without_faces_teach_nothing(
    faces: Path, base_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(faces, bare)
    for folder in bare.glob("faces/*/masks"):
        shutil.rmtree(folder)
    assert _train(bare, base_file, tmp_path) == 2
    message = capsys.readouterr().err
    assert "images cannot be used" in message and str(bare) in message and "Part masks" in message


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--ir-se50", __file__], "exactly one identity encoder"),
        (["--encoder", ""], "exactly one identity encoder"),
        (["--steps", "0"], "--steps is out of range (0)"),
        (["--batch", "0"], "--batch is out of range (0)"),
        (["--tokens", "0"], "--tokens is out of range (0)"),
        (["--size", "100"], "side is 100"),
    ],
)
def test_bad_input(
    faces: Path, base_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    more: list[str], message: str,
) -> None:  # fmt: skip
    assert _train(faces, base_file, tmp_path, *more) == 2
    assert message in capsys.readouterr().err


def test_a_state_of_another_adapter_is_refused(
    faces: Path, base_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(faces, base_file, tmp_path) == 0
    assert _train(faces, base_file, tmp_path, "--tokens", "2", who="another") == 2
    message = capsys.readouterr().err
    assert "encoder another instead of tiny-world" in message
    assert "tokens 2 instead of 4" in message
    assert str(tmp_path / "work") in message
    assert _train(faces, base_file, tmp_path, "--tokens", "2", "--fresh") == 0


def test_a_state_of_another_base_or_data_set_is_refused(
    faces: Path, base_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(faces, base_file, tmp_path) == 0
    first, _ = read_weights(tmp_path / "adapter.safetensors")
    other_base = write_base(tmp_path / "other.safetensors", seed=1)
    assert _train(faces, other_base, tmp_path) == 2
    assert "other contents of unet, vae, text encoder (" in capsys.readouterr().err
    fewer = tmp_path / "fewer"
    shutil.copytree(faces, fewer)
    table = fewer / "faces_headpose.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    assert _train(fewer, base_file, tmp_path) == 2
    assert "other contents of data set (" in capsys.readouterr().err
    moved = tmp_path / "moved"
    shutil.copytree(faces, moved)
    assert _train(moved, base_file, tmp_path) == 0
    again, _ = read_weights(tmp_path / "adapter.safetensors")
    assert all(torch.equal(again[name], tensor) for name, tensor in first.items())


def test_faces_without_points_cannot_be_aligned(net: IRSE50, faces: Path, base: Base) -> None:
    config = _config(faces, faces)
    source = PhotoFaces(PhotoEncoder(base, token_ids, CONTENT))
    shown = source.draw(step_generator(1, 0), _batch(config))
    object.__setattr__(shown, "five", None)
    with pytest.raises(InputError, match="five points"):
        ArcFaceReader(net)(torch.rand(4, 3, SIDE, SIDE), shown, step_generator(1, 1))


def test_identities_are_those_of_another_photo(faces: Path, base: Base) -> None:
    """Of the same person; pixels and expression are those of the image itself."""
    samples = {s["key"]: s for s in FaceDataset(faces, SIDE, SIDE // 2, "ibug")}
    config = _config(faces, faces)
    batch = _batch(config)
    shown = PhotoFaces(PhotoEncoder(base, token_ids, CONTENT)).draw(step_generator(1, 0), batch)
    for index, key in enumerate(batch["key"]):
        subject, number = key.split("/")
        other = key if subject == "0000004" else f"{subject}/{1 - int(number):03d}"
        other = samples[other]["feature"]
        torch.testing.assert_close(shown.people[index], other / other.norm())
        assert torch.equal(batch["image"][index], samples[key]["image"])


def test_each_loss_has_a_switch(faces: Path, base: Base, net: IRSE50, tmp_path: Path) -> None:
    """Noise, identity on the midpoint estimate, or on images that the sampler began."""
    for more, names in (
        ({"noise_loss": False}, {"loss", "identity", "mistaken", "scene"}),
        ({"identity_loss": False}, {"loss", "mse"}),
        ({"rollout": True}, {"loss", "mse", "identity", "mistaken", "scene"}),
    ):
        config = _config(faces, tmp_path, encoder="", ir_se50=tmp_path, batch=2, **more)
        batches = face_batches(config, recogniser=True)
        task = sfsr_task(base, config, token_ids, net).train()
        losses = task(step_generator(1, 0), batches.checked(next(iter(batches.loader(0, 1)))))
        assert set(losses) == names and next(iter(losses)) == "loss"
        losses["loss"].backward()
    with pytest.raises(InputError, match="there is no loss"):
        _config(faces, tmp_path, noise_loss=False)
    with pytest.raises(InputError, match="a rollout needs the identity loss"):
        _config(faces, tmp_path, rollout=True)

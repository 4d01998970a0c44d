"""Validation of the trainers on photographs, their results and the cards beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from comfyui_dense_face import __version__, cli
from comfyui_dense_face.dense_face.annotation.head_file import load_head
from comfyui_dense_face.dense_face.checkpoints.adapter_file import load_adapter
from comfyui_dense_face.faces.encoders.ir_se50 import IRSE50
from comfyui_dense_face.pipelines.base import Base, load_base
from comfyui_dense_face.pipelines.images import open_rgb, tensor_of
from comfyui_dense_face.pipelines.single_file import tokenizer_for
from comfyui_dense_face.pipelines.text import token_ids
from comfyui_dense_face.sfsr.adapter import load_adapter as load_sfsr
from comfyui_dense_face.storage import file_sha256, read_weights
from comfyui_dense_face.training.data.dataset import FaceDataset
from comfyui_dense_face.training.data.held_out import split
from comfyui_dense_face.training.photos import validation_images
from comfyui_dense_face.training.photos.arcface_reader import ArcFaceReader
from comfyui_dense_face.training.photos.dense_face import dense_face_task
from comfyui_dense_face.training.photos.person_words import PersonWords
from comfyui_dense_face.training.photos.validation_images import DenseFaceImages, HeldOut
from comfyui_dense_face.training.settings.config import DenseFaceConfig
from comfyui_dense_face.training.watch import validation
from comfyui_dense_face.training.watch.curve import read_curve
from comfyui_dense_face.training.watch.provenance import licence_of

SIDE = 64


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick validations."""
    monkeypatch.setattr(validation, "BATCHES", 2)
    monkeypatch.setattr(validation_images, "STEPS", 2)


def _train(trainer: str, faces: Path, base: Path, out: Path, *more: str) -> int:
    words = ["train", trainer, "--dataset", str(faces), "--base", str(base), "--out"]
    words += [str(out / "mine.safetensors"), "--folder", str(out / "work"), "--steps", "2"]
    words += ["--batch", "2", "--workers", "0", "--precision", "no", "--size", str(SIDE)]
    words += ["--scheme", "ibug", "--held-out", "1", "--check-after", "2"]
    own = ["--scale", "4", "--width", "32"] if trainer == "annotations" else []
    return cli.main([*words, *(own or ["--encoder", "tiny-world"]), *more])


def _thumbnails(path: Path) -> list[torch.Tensor]:
    """The four images of the first row."""
    sheet = tensor_of(open_rgb(path))[0]
    left, top, side = 12, 56, 256
    return [sheet[:, top : top + side, left + 260 * i :][:, :, :side] for i in range(4)]


@pytest.mark.parametrize("trainer", ["dense-face", "sfsr"])
def test_people_are_drawn_and_the_result_says_where_it_comes_from(
    trainer: str, faces: Path, base_file: Path, tmp_path: Path, charts: None
) -> None:
    assert _train(trainer, faces, base_file, tmp_path, "--precision", "bf16") == 0
    work, out = tmp_path / "work", tmp_path / "mine.safetensors"
    sheets = sorted(path.name for path in (work / "validation").iterdir())
    assert sheets == ["step-00000000.png", "step-00000002.png"]
    before, after = (_thumbnails(work / "validation" / name) for name in sheets)
    assert torch.equal(before[0], after[0]) and torch.equal(before[1], after[1])
    assert not torch.equal(before[2], after[2]) and not torch.equal(after[2], after[3])
    if trainer == "dense-face":
        about = dict(load_adapter(out).metadata)
    else:
        load_sfsr(out)
        about = read_weights(out)[1]
    curve = read_curve(work)
    assert float(about["held_out_loss"]) == pytest.approx(curve[-1]["held_out_loss"], rel=1e-5)
    assert about["base_sha256"] == file_sha256(base_file) and about["base_model"] == "base"
    data = split(FaceDataset(faces, SIDE), 1)
    assert about["dataset"] == "faces" and about["dataset_sha256"] == data.trained.checksum
    assert (about["images"], about["people"], about["people_held_out"]) == (
        str(len(data.trained)), "3", "1",
    )  # fmt: skip
    assert about["encoder"] == "tiny-world" and about["version"] == __version__
    assert json.loads(about["settings"])["held_out"] == 1 and about["steps"] == "2"
    assert about["command"].startswith(f"denseface train {trainer} --steps 2")
    assert "dataset_licence" not in about and str(tmp_path) not in json.dumps(about)
    card = out.with_suffix(".md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["base_model"] == "base" and trainer in front["tags"]
    for name in ("curves", "validation"):
        assert f"](mine.{name}.png)" in card and (tmp_path / f"mine.{name}.png").is_file()
    assert "**Load " in card and "`mine.safetensors`" in card and "## Consent" in card
    assert about["base_sha256"] in card and "`tiny-world`" in card


def test_an_annotation_head_has_held_out_losses_and_no_images(
    faces: Path, base_file: Path, tmp_path: Path
) -> None:
    assert _train("annotations", faces, base_file, tmp_path) == 0
    curve = read_curve(tmp_path / "work")
    assert {"held_out_loss", "held_out_parts", "held_out_points"} <= curve[-1].keys()
    assert not (tmp_path / "work" / "validation").exists()
    out = tmp_path / "mine.safetensors"
    about, card = load_head(out)[1], out.with_suffix(".md").read_text()
    assert about["trainer"] == "annotations" and "Load Annotation Head" in card
    assert "validation.png" not in card and "face encoder |" not in card


def test_nobody_of_few_people_is_held_out(
    faces: Path, base_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--held-out", "0.02", "--check-after", "0")
    assert _train("annotations", faces, base_file, tmp_path, *words) == 0
    assert "nobody is held out, so there are no validations" in capsys.readouterr().err
    assert [point["step"] for point in read_curve(tmp_path / "work")] == [2]
    about = load_head(tmp_path / "mine.safetensors")[1]
    assert about["people_held_out"] == "0" and "held_out_loss" not in about
    assert _train("annotations", faces, base_file, tmp_path, "--held-out", "4") == 2
    assert "4 people are held out of 4" in capsys.readouterr().err


def _images(faces: Path, base: Base, **more: Any) -> DenseFaceImages:
    given = {"encoder": "tiny-world", "size": SIDE, "scheme": "ibug", "batch": 2, "workers": 0}
    places = {"dataset": faces, "base": faces / "base", "out": faces / "out"}
    config = DenseFaceConfig(**{**places, **given, **more})
    net = None if config.ir_se50 is None else IRSE50().eval().requires_grad_(False)
    task = dense_face_task(base, config, token_ids, net).eval()
    data = FaceDataset(faces, SIDE, scheme="ibug")
    reader = None if net is None else ArcFaceReader(net)
    words = PersonWords(base, token_ids, captions=True)
    return DenseFaceImages(HeldOut(data, config, reader), base, task, words)


def test_the_reference_is_another_photo_where_there_is_one(faces: Path, base: Base) -> None:
    images = _images(faces, base, validation_images=4)
    pairs = images.held_out.people()
    assert len(pairs) == 4
    for reference, photo in pairs:
        assert reference["subject"] == photo["subject"]
        assert (reference["key"] != photo["key"]) == (photo["subject"] != 4)
    assert len({photo["subject"] for _, photo in pairs}) == 4


def test_images_are_the_same_again(faces: Path, base: Base) -> None:
    images = _images(faces, base, validation_images=1)
    assert list(images().tobytes()) == list(images().tobytes())


def test_the_guidance_is_that_of_the_settings(
    faces: Path, base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    drawn = torch.zeros(1, 3, SIDE, SIDE)
    monkeypatch.setattr(
        validation_images.RealPipeline,
        "draw",
        lambda *_args, guidance, **_kwargs: seen.append(guidance) or drawn,
    )
    _images(faces, base, validation_images=1)()
    _images(faces, base, validation_images=1, validation_guidance=3)()
    assert seen == [7, 7, 3, 3]


def test_identities_are_those_of_the_recogniser(faces: Path, base: Base, tmp_path: Path) -> None:
    torch.manual_seed(0)
    images = _images(faces, base, encoder="", ir_se50=tmp_path)
    (reference, _), *_ = images.held_out.people()
    found = images.held_out.identity(reference, torch.device("cpu"))
    assert found.encoder == "ir-se50" and float(found.vector.norm()) == pytest.approx(1, abs=1e-5)
    assert not torch.allclose(found.vector, reference["feature"] / reference["feature"].norm())


def test_the_decoder_that_is_trained_through_stays_on_the_device(base: Base) -> None:
    """From a cache the encoder is off it; drawing moves nothing but what was elsewhere."""
    base.vae.decoder.to("meta")
    with validation_images._moved_back(base):
        pass
    assert {p.device.type for p in base.vae.decoder.parameters()} == {"meta"}
    assert {p.device.type for p in base.vae.encoder.parameters()} == {"cpu"}


def test_prompts_without_a_tokenizer(base_file: Path) -> None:
    """The placeholder stands where the trainer puts it, and the pipeline finds it there."""
    other = load_base(base_file)
    config = other.text_encoder.config
    config.vocab_size, config.max_position_embeddings = 49408, 77
    config.bos_token_id, config.eos_token_id = 49406, 49407
    words = PersonWords(other, tokenizer_for(other, None), captions=False)
    ids = words.prompts(["", "a photo of * , smiling", "*"])
    assert ids[:, 1].tolist() == [49407, words.placeholder, words.placeholder]
    assert torch.equal(ids[1], words.ids(["a man"], [True], [False])[0])


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, ""),
        ({"README.md": "---\nlicense: cc-by-4.0\n---\n# Faces"}, "cc-by-4.0"),
        ({"README.md": "# Faces\nlicense: none"}, ""),
        ({"LICENSE": "\n# MIT License\n\nCopyright"}, "MIT License"),
        ({"README.md": "---\ntags: x\n---", "LICENCE.txt": "ours alone"}, "ours alone"),
        ({"LICENSE": "x" * 5000}, "x" * 200),
    ],
)
def test_the_licence_of_a_data_set(files: dict[str, str], found: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert licence_of(tmp_path) == found

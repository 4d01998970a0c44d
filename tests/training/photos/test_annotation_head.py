"""``denseface train-annotations``: heads for any base, on any data set in the layout."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_dense_face import cli
from comfyui_dense_face.dense_face.annotation.head import HeadConfig
from comfyui_dense_face.dense_face.annotation.head_file import load_head
from comfyui_dense_face.errors import IncompatibleError, InputError
from comfyui_dense_face.pipelines.annotation import stage_widths
from comfyui_dense_face.pipelines.base import (
    build_base,
    load_base,
    new_text_encoder,
    new_unet,
    new_vae,
)
from comfyui_dense_face.pipelines.layout import VAELayout
from comfyui_dense_face.pipelines.ldm import UNET_PREFIX, text_to_ldm, unet_to_ldm, vae_to_ldm
from comfyui_dense_face.pipelines.single_file import (
    SD15_TEXT,
    SD15_UNET,
    SHAPES,
    load_checkpoint,
    tokenizer_for,
)
from comfyui_dense_face.pipelines.text import token_ids
from comfyui_dense_face.storage import write_weights
from comfyui_dense_face.training.data.batches import Batches
from comfyui_dense_face.training.data.dataset import FaceDataset
from comfyui_dense_face.training.photos import annotations
from comfyui_dense_face.training.photos.annotations import (
    CONTENT,
    HeadTask,
    labelled_photos,
    missing_labels,
)
from comfyui_dense_face.training.photos.encoding import PhotoEncoder
from comfyui_dense_face.training.runs.loop import step_generator
from comfyui_dense_face.training.settings.config import AnnotationsConfig
from tiny_random import write_base

SIDE = 64
STEPS = 5
HEAD = ["--size", str(SIDE), "--width", "32", "--scale", "4", "--scheme", "ibug"]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven images of four people; missing labels train nothing."""
    out = tmp_path_factory.mktemp("data") / "faces"
    words = ["render", str(out), "--count", "7", "--per-person", "2", "--size", "64", "--seed", "3"]
    assert cli.main(words) == 0
    first, second, third, fourth = sorted(p for p in (out / "faces").iterdir() if p.is_dir())
    shutil.rmtree(first / "masks")
    shutil.rmtree(second / "xyzmaps")
    shutil.rmtree(third / "landmarks")
    next((fourth / "images").iterdir()).write_bytes(b"no image")
    return out


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "base.safetensors")


def _train(faces: Path, base: Path, out: Path, *more: str) -> int:
    words = [
        "train",
        "annotations",
        "--dataset",
        str(faces),
        "--base",
        str(base),
        "--out",
        str(out / "head.safetensors"),
    ]
    words += ["--folder", str(out / "work"), "--steps", str(STEPS), "--batch", "2"]
    words += ["--workers", "0", "--precision", "no", "--save-every", "2", *HEAD, *more]
    return cli.main(words)


def test_a_killed_run_gives_the_same_head(
    faces: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in its fourth step, after a state of two steps; parts of the labels are missing."""
    assert _train(faces, base, tmp_path / "whole") == 0
    losses, calls = annotations.annotation_losses, 0

    def stopping(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return losses(*args)

    monkeypatch.setattr(annotations, "annotation_losses", stopping)
    assert _train(faces, base, tmp_path / "killed") == cli.EXIT_INTERRUPTED
    assert _train(faces, base, tmp_path / "killed") == 0
    assert calls == 4 + STEPS - 2
    whole, _ = load_head(tmp_path / "whole" / "head.safetensors")
    killed, about = load_head(tmp_path / "killed" / "head.safetensors")
    assert about["steps"] == str(STEPS) and killed.config.stage_widths == (128, 64)
    for name, tensor in whole.state_dict().items():
        assert bool(tensor.isfinite().all())
        assert torch.equal(killed.state_dict()[name], tensor), name


def test_training_follows_the_labels(faces: Path, base: Path, tmp_path: Path) -> None:
    """Without any labels nothing but weight decay moves the head."""
    bare = tmp_path / "bare"
    shutil.copytree(faces, bare)
    for kind in ("masks", "xyzmaps", "landmarks"):
        for folder in bare.glob(f"faces/*/{kind}"):
            shutil.rmtree(folder)
    for name, data in (("some", faces), ("none", bare)):
        assert _train(data, base, tmp_path / name, "--rate", "0.01") == 0
    curves = {
        name: (tmp_path / name / "work" / "curve.jsonl").read_text() for name in ("some", "none")
    }
    assert '"loss": 0.0,' in curves["none"] and '"loss": 0.0,' not in curves["some"]


def _keys(data: Path, start: int, end: int, *, size: int = 2, workers: int = 0) -> list[str]:
    """The images of batches ``start`` to ``end``."""
    batches = Batches(FaceDataset(data, SIDE, 16, "ibug"), size, 1, workers=workers)
    loader = batches.loader(start, end)
    return [key for batch in loader for key in batches.checked(batch)["key"]]


@pytest.mark.parametrize("form", ["folder", "webdataset"])
def test_batches_depend_on_their_number_alone(form: str, faces: Path, tmp_path: Path) -> None:
    """The order differs from pass to pass, is the same again, and can be entered anywhere."""
    if form == "webdataset":
        words = ["render", str(tmp_path / "tar"), "--count", "6", "--per-person", "2"]
        words += ["--size", "64", "--seed", "3", "--format", form]
        assert cli.main(words) == 0
        faces = tmp_path / "tar"
    whole = _keys(faces, 0, 21)
    assert len(whole) == 42
    assert _keys(faces, 0, 21, workers=2) == whole
    assert _keys(faces, 4, 7) == whole[8:14]
    assert _keys(faces, 0, 6, size=7) == whole
    images = 6 if form == "webdataset" else 7
    if form == "webdataset":  # without the image that is none, whose place another takes
        passes = [whole[i : i + images] for i in range(0, 42, images)]
        assert len({tuple(one) for one in passes}) > 1
        assert all(sorted(one) == sorted(passes[0]) for one in passes)
        assert len(set(passes[0])) == images
    else:
        assert len(set(whole)) == 6


def test_a_damaged_image_is_reported_once_and_replaced(
    faces: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(_keys(faces, 0, 14, workers=2)) == 28
    said = [record.message for record in caplog.records]
    assert len([message for message in said if "the image is unreadable" in message]) == 1


def test_labels_that_no_image_has_are_named(
    faces: Path, base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert missing_labels(FaceDataset(faces, SIDE, SIDE // 2, "ibug")) == []
    bare = tmp_path / "bare"
    shutil.copytree(faces, bare)
    for folder in [*bare.rglob("xyzmaps"), *bare.rglob("masks")]:
        shutil.rmtree(folder)
    assert _train(bare, base, tmp_path) == 0
    said = [
        record.getMessage().split("none of the images looked at has ") for record in caplog.records
    ]
    assert [each[1].split(":")[0] for each in said if len(each) == 2] == ["depth", "parts"]


def test_an_empty_data_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "faces.csv").write_text("face_file,subject_id\n")
    with pytest.raises(InputError, match="no images"):
        _keys(tmp_path, 0, 1)


def test_processes_draw_their_own_noise(faces: Path, base: Path, tmp_path: Path) -> None:
    config = AnnotationsConfig(
        dataset=faces, base=base, out=tmp_path / "head", size=SIDE, width=32, scale=4,
        scheme="ibug", batch=2, workers=0,
    )  # fmt: skip
    photos, loaded = labelled_photos(config), load_base(base)
    task = HeadTask(loaded, config, PhotoEncoder(loaded, token_ids, CONTENT))
    batch = next(iter(Batches(photos.data, 2, 1).loader(0, 1)))
    losses = [task(step_generator(5, 3, rank), batch)["loss"] for rank in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


def test_unusable_inputs_are_refused(
    faces: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence each: other model, no data set, no tokenizer, odd sizes, other run's folder."""
    other = tmp_path / "sdxl.safetensors"
    write_weights(other, {UNET_PREFIX + "input_blocks.0.0.weight": torch.zeros(320, 4, 3, 3)}, {})
    assert _train(faces, other, tmp_path) == cli.EXIT_USER_ERROR
    assert "not a Stable Diffusion 1.5 checkpoint" in capsys.readouterr().err
    with pytest.raises(IncompatibleError):
        load_checkpoint(other)
    assert _train(tmp_path / "nowhere", base, tmp_path) == cli.EXIT_USER_ERROR
    assert "no tables" in capsys.readouterr().err
    assert _train(faces, base, tmp_path, "--size", "100") == cli.EXIT_USER_ERROR
    assert "multiple of 64" in capsys.readouterr().err
    assert _train(faces, base, tmp_path, "--steps", "1") == 0
    assert _train(faces, base, tmp_path, "--width", "64", "--steps", "1") == cli.EXIT_USER_ERROR
    assert "width 64 instead of 32 (" in capsys.readouterr().err


def test_words_of_other_bases(base: Path, tmp_path: Path) -> None:
    """Without a tokenizer the empty prompt: begin, then end to the last place."""
    tiny = load_base(base)
    assert torch.equal(tokenizer_for(tiny, None)(["smiling"]), token_ids(["smiling"]))
    tiny.text_encoder.config.vocab_size = 49408
    tiny.text_encoder.config.bos_token_id, tiny.text_encoder.config.eos_token_id = 49406, 49407
    tiny.text_encoder.config.max_position_embeddings = 77
    said = tokenizer_for(tiny, None)(["smiling", ""])
    assert said.shape == (2, 77) and said[0].tolist() == [49406, *[49407] * 76]
    with pytest.raises(InputError, match="no CLIP tokenizer"):
        tokenizer_for(tiny, tmp_path)


def test_a_whole_checkpoint_of_stable_diffusion_fits() -> None:
    """By names and shapes, without its numbers: nothing is missing, nothing left over."""
    with torch.device("meta"):
        unet, vae, text = new_unet(SD15_UNET), new_vae(VAELayout()), new_text_encoder(SD15_TEXT)
        nets = (unet, vae, text)
        counts = [sum(p.numel() for p in net.parameters()) for net in nets]
        assert counts == [859_520_964, 83_653_863, 123_060_480]
        tensors = unet_to_ldm(unet) | vae_to_ldm(vae) | text_to_ldm(text)
        base = build_base(tensors, SD15_UNET, VAELayout(), SD15_TEXT, {})
    assert stage_widths(base.unet) == HeadConfig().stage_widths
    for name, shape in SHAPES.items():
        assert tuple(tensors[UNET_PREFIX + name].shape) == shape

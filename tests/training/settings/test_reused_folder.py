"""A work folder that is used again: refused if any setting that shapes the result has changed."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from comfyui_dense_face import cli
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.pipelines.base import load_base
from comfyui_dense_face.pipelines.text import token_ids
from comfyui_dense_face.training.photos.annotations import train_head
from comfyui_dense_face.training.photos.dense_face import train_dense_face
from comfyui_dense_face.training.photos.sfsr import train_sfsr
from comfyui_dense_face.training.settings.config import (
    AnnotationsConfig,
    DenseFaceConfig,
    SFSRConfig,
    TrainerConfig,
)
from tiny_random import write_adapter, write_base

FREE = {
    "workers": 1, "save_every": 7, "keep": 5, "gradient_checkpointing": True, "log_every": 3,
    "tensorboard": True, "validate_every": 7, "check_after": 9, "validation_images": 1,
    "validation_guidance": 3.0,
}  # fmt: skip
"""Settings that do not change the result, and another value of each."""
BY_CONTENTS = {"base", "dataset", "out", "folder", "ir_se50", "cache"}
"""Files: compared by what is in them, or not at all."""
OTHERS: dict[str, Any] = {
    "steps": 2, "batch": 4, "accumulation": 2, "rate": 0.5, "optimizer": "adamw", "size": 128,
    "scheme": "mesh", "seed": 5, "precision": "bf16", "width": 64, "scale": 2, "tokens": 2,
    "encoder": "another", "identity_loss": False, "delta": 0.5, "tokenizer": "tokenizer",
    "start": "adapter.safetensors", "start_expression": "adapter.safetensors", "held_out": 1,
    "variants": 2, "flip": False, "buckets": True, "noise_loss": False, "rollout": True,
}  # fmt: skip
FOR_A_RECOGNISER = {"noise_loss", "rollout", "start", "start_expression"}
"""Of SFSR, those that other files are needed for: what would be compared is looked at."""
SAID = {"batch": "images per step", "accumulation": "images per step", "rate": "lr"}
"""Names in the sentence that are not those of the settings."""
KINDS: dict[type[TrainerConfig], Any] = {
    AnnotationsConfig: train_head,
    SFSRConfig: train_sfsr,
    DenseFaceConfig: train_dense_face,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data sets, bases and other files; and a finished run of each trainer."""
    place = tmp_path_factory.mktemp("runs")
    for name, count in (("faces", 4), ("other", 2)):
        words = ["render", str(place / name), "--count", str(count), "--per-person", "2"]
        assert cli.main([*words, "--size", "64", "--seed", "3"]) == 0
    write_base(place / "base.safetensors")
    write_base(place / "other.safetensors", seed=1)
    write_adapter(place / "adapter.safetensors", encoder="tiny-world")
    (place / "tokenizer").mkdir()
    (place / "tokenizer" / "vocab.json").write_text("{}")
    for kind in KINDS:
        _train(_config(place, kind))
    return place


def _config(place: Path, kind: type[TrainerConfig], **more: Any) -> TrainerConfig:
    given: dict[str, Any] = {
        "dataset": place / "faces", "base": place / "base.safetensors", "out": place / "out",
        "folder": place / kind.__name__, "steps": 1, "batch": 2, "size": 64, "scheme": "ibug",
        "workers": 0, "precision": "no",
    }  # fmt: skip
    own = {"width": 32, "scale": 4} if kind is AnnotationsConfig else {"encoder": "tiny-world"}
    return kind(**{**given, **own, **more})


def _train(config: TrainerConfig) -> None:
    KINDS[type(config)](load_base(config.base), config, token_ids)


CASES = [
    (kind, each.name)
    for kind in KINDS
    for each in dataclasses.fields(kind)
    if each.name not in BY_CONTENTS
]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_every_setting(kind: type[TrainerConfig], name: str, place: Path) -> None:
    """One sentence that names it, and the state stays; or it may change."""
    if name == "tensorboard":
        pytest.importorskip("tensorboard")
    if kind is SFSRConfig and name in FOR_A_RECOGNISER:
        one = _config(place, kind, encoder="", ir_se50=place / "other.safetensors")
        other = place / OTHERS[name] if name.startswith("start") else OTHERS[name]
        assert one.shaping != replace(one, **{name: other}).shaping
        return
    config = _config(place, kind)
    before = {path.name: path.read_bytes() for path in config.folder.iterdir()}
    if name == "tensorboard":  # needs its library
        assert config.shaping == replace(config, tensorboard=True).shaping
    elif name in FREE:
        _train(replace(config, **{name: FREE[name]}))
    else:
        other = OTHERS[name]
        value = place / other if name in ("tokenizer", "start") else other
        with pytest.raises(InputError) as refused:
            _train(replace(config, **{name: value}))
        said = SAID.get(name, name.replace("_", " "))
        assert f"{said} " in str(refused.value) and "started with something else" in str(
            refused.value
        )
        assert "--fresh" in str(refused.value) and "\n" not in str(refused.value)
    assert {path.name: path.read_bytes() for path in config.folder.iterdir()} == before


@pytest.mark.parametrize("kind", KINDS)
def test_other_batches_of_the_same_images(kind: type[TrainerConfig], place: Path) -> None:
    """They have other noise, and other faces to compare."""
    with pytest.raises(InputError, match=r"something else: batch 1 instead of 2 \("):
        _train(_config(place, kind, batch=1, accumulation=2))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["dataset", "base"])
def test_other_contents(kind: type[TrainerConfig], name: str, place: Path) -> None:
    config = _config(place, kind)
    other = {"dataset": place / "other", "base": place / "other.safetensors"}[name]
    said = {"dataset": "data set", "base": "unet"}[name]
    with pytest.raises(InputError, match=f"other contents of .*{said}"):
        _train(replace(config, **{name: other}))


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]
)
def test_every_file_of_a_tokenizer(name: str, place: Path, tmp_path: Path) -> None:
    """Each of them changes the ids of words, with the same vocabulary beside it or without one."""
    config = _config(place, SFSRConfig, tokenizer=tmp_path)
    for alone in (True, False):
        if not alone:
            (tmp_path / "vocab.json").write_text("{}")
        found = set[object]()
        for text in ("{}", '{"pad_token": "!"}'):
            (tmp_path / name).write_text(text)
            found.add(config.shaping["tokenizer"])
        (tmp_path / name).unlink()
        assert len(found | {config.shaping["tokenizer"]}) == 3 and "" not in found


@pytest.mark.parametrize("kind", KINDS)
def test_places_may_change(kind: type[TrainerConfig], place: Path, tmp_path: Path) -> None:
    """The same base and data set elsewhere."""
    config = _config(place, kind)
    (tmp_path / "faces").symlink_to(config.dataset)
    (tmp_path / "b.safetensors").symlink_to(config.base)
    elsewhere = {"dataset": tmp_path / "faces", "base": tmp_path / "b.safetensors"}
    _train(replace(config, out=tmp_path / "out", **elsewhere))

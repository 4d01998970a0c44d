"""``denseface express`` and ``generate`` with a base of one's own and published adapters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_dense_face.pipelines.images import open_rgb, tensor_of
from comfyui_dense_face.pipelines.ldm import UNET_PREFIX
from comfyui_dense_face.pipelines.real.samplers import SAMPLERS
from comfyui_dense_face.pipelines.single_file import KEYS
from comfyui_dense_face.storage import read_weights, write_weights
from PIL import Image
from real_files import Command


def test_a_person_with_an_expression(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = []
    for changes in (
        {},
        {},
        {"expression_adapter": "fineface.bin", "word": "sadness"},
        {"identity_adapter": None, "identity": None},
        {"lora_strength": 0},
        {"balance": 1},
        {"balance": -1},
        {"prompt": "a person with red hair"},
        {"identity_adapter": "portrait.bin"},
    ):
        assert command.express(**changes) == 0
        drawn.append(command.image)
    assert drawn[0].shape == (1, 3, 128, 128) and torch.equal(drawn[0], drawn[1])
    assert all(not torch.equal(drawn[0], other) for other in drawn[2:])
    with Image.open(command.out) as image:
        about = json.loads(image.info["denseface"])
    assert about["identity_adapter"] == "portrait.bin" and about["sampler"] == "ddim"
    assert "warning" not in capsys.readouterr().err
    assert command.express(word="rage") == 0
    assert "warning: " in (said := capsys.readouterr().err)
    assert "AU7, AU10, AU23 and AU27 are lost" in said


@pytest.mark.parametrize("base", ["base.safetensors", "inpainting.safetensors"])
def test_a_face_in_a_scene(command: Command, files: Path, base: str) -> None:
    assert command.express(base=base, scene="scene.png", mask="mask.png") == 0
    scene = tensor_of(open_rgb(files / "scene.png"))
    mask = tensor_of(open_rgb(files / "mask.png"))
    made = command.image
    assert made.shape == scene.shape and not torch.equal(made, scene)
    changed = (made != scene).any(1)[0]
    # The mask goes through the crop and back: its edge is soft by two pixels.
    near = torch.nn.functional.max_pool2d(mask[:, :1], 5, 1, 2)[0, 0] > 0
    assert not bool((changed & ~near).any()) and int(changed.sum()) > 1000


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers(command: Command, sampler: str) -> None:
    assert command.express(sampler=sampler, scene="scene.png", mask="mask.png", steps=3) == 0
    assert bool(command.image.isfinite().all())


def test_an_own_adapter_draws_both(command: Command) -> None:
    own = {"identity_adapter": "sfsr.safetensors", "identity": "tiny.safetensors"}
    drawn = []
    for changes in ({"expression_adapter": None}, {"expression_adapter": None, "word": "sadness"}):
        assert command.express(**own, **changes, scene="scene.png", mask="mask.png") == 0
        drawn.append(command.image)
    assert not torch.equal(*drawn)
    assert command.express(**own) == 0  # its identity beside FineFace


def test_dense_face_turns_the_head(command: Command) -> None:
    usual: dict[str, Any] = {
        "base": "base.safetensors",
        "reference": "tiny.safetensors",
        "dense_face": "dense.safetensors",
        "prompt": "a photo of *",
    }
    drawn = []
    for changes in ({}, {"yaw": 40}, {"reference": "person.safetensors", "prompt": "a photo"}):
        assert command("generate", **{**usual, **changes}) == 0
        drawn.append(command.image)
    assert not torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    both = {"reference": "person.safetensors", "identity_adapter": "faceid.bin", "yaw": 40}
    assert command("generate", **{**usual, **both}) == 0


@pytest.fixture(scope="module")
def other_bases(files: Path) -> None:
    """Weights that tell them apart; SDXL has no attention in its first blocks."""
    first = {f"{UNET_PREFIX}input_blocks.0.0.weight": torch.zeros(320, 4, 3, 3)}
    keys = KEYS.replace("input_blocks.1", "input_blocks.4")
    sd2 = {UNET_PREFIX + KEYS: torch.zeros(320, 1024)}
    sdxl = {UNET_PREFIX + keys: torch.zeros(640, 2048), "conditioner.embedders.0.x": torch.zeros(1)}
    write_weights(files / "sd2.safetensors", first | sd2, {})
    write_weights(files / "sdxl.safetensors", first | sdxl, {})


BAD: list[tuple[dict[str, Any], str]] = [
    (
        {"base": "sd2.safetensors"},
        "not a Stable Diffusion 1.5 checkpoint: it is Stable Diffusion 2",
    ),
    ({"base": "sdxl.safetensors"}, "the base is SDXL, and expressions are drawn on Stable"),
    ({"base": "nowhere.safetensors"}, "nowhere.safetensors"),
    ({"base": "inpainting.safetensors"}, "this is an inpainting base, and no scene is given"),
    ({"identity_adapter": "other.bin"}, "other.bin"),
    ({"identity_adapter": "sdxl.safetensors"}, "this is a checkpoint of SDXL and no adapter"),
    ({"expression_adapter": "sd2.safetensors"}, "this is a checkpoint of Stable Diffusion 2 and"),
    ({"identity_adapter": "fineface.bin"}, "FineFace draws expressions and no identity"),
    ({"expression_adapter": "faceid.bin"}, "knows identities and no expressions"),
    ({"expression_adapter": None}, "no adapter draws the expression"),
    ({"identity": "stranger.safetensors"}, "measured by insightface/glintr100"),
    ({"identity": None}, "an identity adapter is given, and no person"),
    ({"identity": "scene.png"}, "nothing is given that measures the person"),
    ({"scene": "scene.png"}, "nothing is given that finds the face"),
    ({"word": None, "expression": "scene.png"}, "nothing is given that measures the expression"),
    ({"sampler": "magic"}, "the sampler 'magic' is unknown"),
    ({"steps": 0}, "--steps is out of range (0)"),
    ({"size": 100}, "images of 100 px"),
    ({"guidance": 0}, "guidance is 0"),
    ({"controlnet": "dense.safetensors"}, "a pose branch needs"),
    ({"vae": "faceid.bin"}, "244 weights are missing, the first is first_stage_model"),
    ({"base": None}, "the tiny world has no use for this option"),
]


@pytest.mark.usefixtures("other_bases")
@pytest.mark.parametrize(("changes", "message"), BAD, ids=[says for _, says in BAD])
def test_bad_input_is_refused_before_sampling(
    command: Command,
    changes: dict[str, Any],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command.refused(monkeypatch, **changes)
    said = capsys.readouterr()
    assert message in said.err and len(said.err.strip().splitlines()) == 1


def test_an_expression_adapter_without_an_expression(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"base": "base.safetensors", "reference": "person.safetensors"}
    assert command("generate", **given, expression_adapter="fineface.bin") == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "an expression adapter is given, and no expression. Choose a word" in said
    assert not command.out.exists()


@pytest.mark.parametrize("part", ["first_stage_model.decoder", "model.diffusion_model"])
def test_a_broken_base_is_one_sentence(
    command: Command, files: Path, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, about = read_weights(files / "base.safetensors")
    name = next(name for name in weights if name.startswith(part) and name.endswith(".bias"))
    weights[name] = torch.full_like(weights[name], float("nan"))
    write_weights(files / "broken.safetensors", weights, about)
    assert command.express(base="broken.safetensors") == 2
    assert "values that are not numbers" in capsys.readouterr().err
    assert not command.out.exists()

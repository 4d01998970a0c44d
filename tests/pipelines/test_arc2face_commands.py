"""``denseface generate`` and ``express`` with ``--arc2face``: a small one of random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from comfyui_dense_face.faces.identity import Identity
from comfyui_dense_face.faces.identity_file import save_identities
from comfyui_dense_face.pipelines.base import TINY_TEXT, new_text_encoder, new_unet
from random_published import published_tensors
from real_files import Command
from safetensors.torch import save_file

FILES = ("arc2face/diffusion_pytorch_model.safetensors", "encoder/pytorch_model.bin")


@pytest.fixture(scope="module")
def arc2face(files: Path) -> Path:
    """Arc2Face's folder, identities of 64 numbers, and an expression."""
    folder = files / "arc2face_files"
    for name in FILES:
        (folder / name).parent.mkdir(parents=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        unet = new_unet()
        text = new_text_encoder({**TINY_TEXT, "vocab_size": 49408, "num_attention_heads": 2})
    save_file(unet.state_dict(), folder / FILES[0])
    weights = {
        f"text_model.{name.removeprefix('text_model.')}": tensor.half()
        for name, tensor in text.state_dict().items()
    }
    torch.save(weights, folder / FILES[1])
    torch.save(published_tensors("ARC2FACE_EXPRESSION", scale=0.1), files / "exp_adapter.bin")
    chance = torch.Generator().manual_seed(5)
    one, two = F.normalize(torch.randn(2, 64, generator=chance))
    for name, vectors, encoder in (
        ("arc_one", [one], "arc2face/arcface"),
        ("arc_two", [two], "arc2face/arcface"),
        ("arc_both", [one, two], "arc2face/arcface"),
        ("glint", [one], "insightface/glintr100"),
    ):
        people = [Identity(vector, encoder) for vector in vectors]
        save_identities(files / f"{name}.safetensors", people)
    (files / "smile.txt").write_text("1.5 " * 50)
    return folder


def usual(folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "base": "base.safetensors",
        "arc2face": folder,
        "reference": "arc_one.safetensors",
        **changes,
    }


def test_a_person_is_drawn(command: Command, arc2face: Path) -> None:
    drawn = []
    for changes in (
        {},
        {},
        {"base": "inpainting.safetensors"},
        {"reference": "arc_two.safetensors"},
        {"reference": "arc_both.safetensors"},
        {"expression_adapter": "exp_adapter.bin", "flame": "smile.txt"},
    ):
        assert command("generate", **usual(arc2face, **changes)) == 0
        drawn.append(command.image)
    assert torch.equal(drawn[0], drawn[1])
    others = drawn[2:]  # the inpainting base's own autoencoder is another
    assert all(not torch.equal(drawn[0], other) for other in others)


def test_an_expression_in_a_scene(command: Command, arc2face: Path) -> None:
    choices = {"scene": "scene.png", "mask": "mask.png", "expression_adapter": "exp_adapter.bin"}
    given = usual(arc2face, **choices, flame="smile.txt")
    given["identity"] = given.pop("reference")
    assert command("express", **given) == 0
    assert bool(command.image.isfinite().all())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"reference": "glint.safetensors"}, "reads vectors of its own arcface.onnx"),
        ({"prompt": "a man"}, "Arc2Face reads no prompts"),
        ({"negative": "blue"}, "Arc2Face reads no prompts"),
        ({"identity_adapter": "faceid.bin"}, "nothing else may draw one"),
        ({"dense_face": "dense.safetensors"}, "nothing else may draw one"),
        ({"word": "joy", "expression_adapter": "exp_adapter.bin"}, "and no FLAME numbers"),
        ({"flame": "smile.txt", "expression_adapter": "fineface.bin"}, "and no blendshapes"),
        ({"flame": "gone.txt", "expression_adapter": "exp_adapter.bin"}, "cannot be read"),
        ({"arc2face": "scene.png"}, "pytorch_model.bin"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input(
    command: Command,
    arc2face: Path,
    changes: dict[str, Any],
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command("generate", **usual(arc2face, **changes)) == 2
    message = capsys.readouterr().err
    assert says in message and message.count("\n") == 1


def test_another_unet(
    command: Command, arc2face: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in FILES:
        (tmp_path / name).parent.mkdir()
    (tmp_path / FILES[1]).write_bytes((arc2face / FILES[1]).read_bytes())
    save_file({"weight": torch.zeros(1)}, tmp_path / FILES[0])
    assert command("generate", **usual(tmp_path)) == 2
    assert "no UNet of Stable Diffusion 1.5" in capsys.readouterr().err


def test_the_tiny_world_refuses_them(
    command: Command, arc2face: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("generate", **usual(arc2face, base=None)) == 2
    assert "--arc2face" in capsys.readouterr().err

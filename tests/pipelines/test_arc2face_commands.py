"""``denseface generate`` and ``express`` with ``--arc2face``: a small one of random weights."""

from __future__ import annotations

from argparse import Namespace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from comfyui_dense_face.commands.real import loading
from comfyui_dense_face.commands.real.image import read_reference_image
from comfyui_dense_face.faces.blendshapes import ARKIT_NAMES
from comfyui_dense_face.faces.face import Face
from comfyui_dense_face.faces.identity import Identity
from comfyui_dense_face.faces.identity_file import save_identities
from comfyui_dense_face.pipelines.arc2face import load_arc2face, ordinary_parts
from comfyui_dense_face.pipelines.base import TINY_TEXT, load_base, new_text_encoder, new_unet
from comfyui_dense_face.pipelines.images import open_rgb, read_about, tensor_of, to_pil
from comfyui_dense_face.sfsr.arc2face.flame import flame_expression
from comfyui_dense_face.sfsr.arc2face.flame_map import FlameMap, save_flame_map
from comfyui_dense_face.sfsr.expression_file import save_expressions
from random_published import published_tensors, reference_tensors
from real_files import Command
from safetensors.torch import save_file
from torch import Tensor

FILES = (
    "arc2face/diffusion_pytorch_model.safetensors",
    "encoder/pytorch_model.bin",
    "ref_adapter/pytorch_lora_weights.safetensors",
)


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
    save_file(reference_tensors(), folder / FILES[2])
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


def test_the_look_of_a_photo(command: Command, arc2face: Path) -> None:
    drawn = {}
    cases: dict[str, dict[str, Any]] = {
        "none": {},
        "photo": {"reference_image": "scene.png"},
        "again": {"reference_image": "scene.png"},
        "another": {"reference_image": "mask.png"},
        "weaker": {"reference_image": "scene.png", "reference_strength": 0.2},
        "unguided": {"reference_image": "scene.png", "guidance": 1},
        "smiling": {
            "reference_image": "scene.png",
            "expression_adapter": "exp_adapter.bin",
            "flame": "smile.txt",
        },
        "in a scene": {"reference_image": "mask.png", "scene": "scene.png", "mask": "mask.png"},
    }
    for name, changes in cases.items():
        assert command("generate", **usual(arc2face, **changes)) == 0
        drawn[name] = command.image
        about = read_about(command.out)
        assert about is not None and about["reference_image"] == changes.get("reference_image")
    assert torch.equal(drawn.pop("again"), drawn["photo"])
    for one, other in combinations(drawn.values(), 2):
        assert not torch.equal(one, other)


def test_the_reference_is_framed_by_its_face(tmp_path: Path) -> None:
    small = torch.rand(1, 3, 9, 12, generator=torch.Generator().manual_seed(3))
    path, five = tmp_path / "photo.png", [[40.0, 35], [60, 35], [50, 45], [43, 55], [57, 55]]
    to_pil(F.interpolate(small, (90, 120), mode="bilinear")).save(path)

    class Finder:
        name = "test"

        def find(self, image: Tensor) -> list[Face]:
            points = torch.tensor(five)
            return [Face((120, 90), (30, 20, 70, 70), 0.9, points, "five", "test", five=points)]

    args = Namespace(reference_image=path, size=80)
    found = read_reference_image(args, Finder())
    # FFHQ's square here: 80 px, upright, around (50, 37).
    whole = F.pad(tensor_of(open_rgb(path)), (0, 0, 3, 0))
    assert found is not None and found.shape == (1, 3, 80, 80)
    assert torch.allclose(found[..., 3:, :], whole[..., 3:80, 10:90], atol=0.02)
    square = read_reference_image(args, None)
    assert square is not None and not torch.allclose(square, found, atol=0.02)
    assert read_reference_image(Namespace(reference_image=None), None) is None


def test_a_folder_without_the_reference_adapter(
    command: Command, arc2face: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in FILES[:2]:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).symlink_to(arc2face / name)
    assert command("generate", **usual(tmp_path, reference_image="scene.png")) == 2
    assert "ref_adapter" in capsys.readouterr().err
    ordinary = {"arc2face": None, "reference": "person.safetensors"}
    assert command("generate", **usual(tmp_path, reference_image="scene.png", **ordinary)) == 2
    assert "nothing reads the reference image" in capsys.readouterr().err


@pytest.mark.parametrize(("factor", "own"), [(1.0, True), (1.0004, True), (1.02, False)])
def test_the_bases_own_networks_are_named(
    command: Command,
    arc2face: Path,
    files: Path,
    tmp_path: Path,
    factor: float,
    own: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = load_base(files / "base.safetensors")
    for name in FILES[:2]:
        (tmp_path / name).parent.mkdir()
    (tmp_path / FILES[0]).symlink_to(arc2face / FILES[0])
    text = {
        f"text_model.{name.removeprefix('text_model.')}": factor * tensor
        for name, tensor in base.text_encoder.state_dict().items()
    }
    torch.save(text, tmp_path / FILES[1])
    named = ["the UNet", "the text encoder"] if own else []
    assert ordinary_parts(base, load_arc2face(tmp_path, base)) == named[1:]
    (tmp_path / FILES[0]).unlink()
    unet = {name: factor * tensor for name, tensor in base.unet.state_dict().items()}
    save_file(unet, tmp_path / FILES[0])
    assert ordinary_parts(base, load_arc2face(tmp_path, base)) == named
    assert ordinary_parts(base, load_arc2face(arc2face, base)) == []
    (tmp_path / FILES[1]).unlink()
    (tmp_path / FILES[1]).symlink_to(arc2face / FILES[1])
    assert command("generate", **usual(tmp_path)) == 0
    assert ("warning: the UNet in" in capsys.readouterr().err) == own
    assert command("generate", **usual(arc2face)) == 0
    assert "warning" not in capsys.readouterr().err


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
        ({"flame": "gone.txt", "expression_adapter": "exp_adapter.bin"}, "missing (--flame"),
        ({"arc2face": "scene.png"}, "pytorch_model.bin"),
        ({"reference_image": "gone.png"}, "missing (--reference-image"),
        ({"reference_image": "scene.png", "reference_strength": 3}, "reference strength is 3"),
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
    for name in FILES[:2]:
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


# ---- expressions of photos and words ------------------------------------------------------------


class OneFace:
    """Finds one face in every image, smiling."""

    name = "test"

    def find(self, image: Tensor) -> list[Face]:
        size = image.shape[-1], image.shape[-2]
        smile = {name: 0.8 if "Smile" in name else 0.0 for name in ARKIT_NAMES}
        box = (20.0, 20.0, 200.0, 200.0)
        return [Face(size, box, 1.0, torch.zeros(0, 2), "none", "test", blendshapes=smile)]


@pytest.fixture
def finder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_finder", lambda args: OneFace())


@pytest.fixture(scope="module")
def smirk(arc2face: Path, files: Path) -> None:
    """SMIRK's file and a map."""
    pytest.importorskip("timm")
    from random_smirk import write_smirk

    write_smirk(files / "smirk.pt")
    smile = flame_expression(torch.full((50,), 1.5))
    save_expressions(files / "smile.safetensors", [smile])
    save_expressions(files / "two.safetensors", [smile, smile])
    chance = torch.Generator().manual_seed(6)
    save_flame_map(
        files / "map.safetensors",
        FlameMap(torch.randn(51, 53, generator=chance), torch.zeros(53)),
    )


def test_expressions_of_photos_and_words(
    command: Command, arc2face: Path, smirk: None, finder: None
) -> None:
    """Both spellings of a photo are the same expression; words and photos go through a map."""
    adapter = {"expression_adapter": "exp_adapter.bin"}
    photo = {**adapter, "smirk": "smirk.pt"}
    drawn = []
    for changes in (
        adapter | {"flame": "smile.safetensors"},
        photo | {"flame": "scene.png"},
        photo | {"flame": "scene.png", "smirk_order": "BGR"},
        adapter | {"word": "joy", "flame_map": "map.safetensors"},
    ):
        assert command("generate", **usual(arc2face, **changes)) == 0
        drawn.append(command.image)
    given = usual(arc2face)
    given["identity"] = given.pop("reference")
    for changes in (
        photo | {"expression": "scene.png"},
        adapter | {"expression": "scene.png", "flame_map": "map.safetensors"},
    ):
        assert command("express", **given, **changes) == 0
        drawn.append(command.image)
    assert torch.equal(drawn[4], drawn[1])
    del drawn[4]
    different = [(a, b) for a in range(5) for b in range(a) if torch.equal(drawn[a], drawn[b])]
    assert not different


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"flame": "scene.png"}, "Give SMIRK_em1.pt with --smirk"),
        ({"flame": "smile.txt", "flame_map": "map.safetensors"}, "needs no map"),
        ({"flame": "scene.png", "smirk": "exp_adapter.bin"}, "an adapter for attention layers"),
        ({"flame": "scene.png", "smirk": "gone.pt"}, "gone.pt"),
        ({"flame": "two.safetensors"}, "holds 2 expressions"),
        ({"word": "joy", "flame_map": "sfsr.safetensors"}, "denseface fit-flame"),
        ({"word": "joy"}, "--flame-map"),
        ({"word": "joy", "flame_map": "map.safetensors", "expression_adapter": "fineface.bin"},
         "and no blendshapes"),
        ({"base": None, "arc2face": None, "expression_adapter": None, "flame_map": "map"},
         "the tiny world has no use for this option"),
    ],
)  # fmt: skip
def test_bad_expressions(
    command: Command,
    arc2face: Path,
    smirk: None,
    finder: None,
    changes: dict[str, Any],
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    changes = {"expression_adapter": "exp_adapter.bin", **changes}
    assert command("generate", **usual(arc2face, **changes)) == 2
    message = capsys.readouterr().err
    assert says in message and message.count("\n") == 1

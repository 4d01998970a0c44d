"""``denseface generate`` on an SDXL base: the person works, what is for SD 1.5 is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_dense_face.pipelines.images import open_rgb, tensor_of
from comfyui_dense_face.pipelines.real import base_file, pipeline
from comfyui_dense_face.sfsr.ip_adapter.places import Target
from PIL import Image
from random_published import published_tensors
from real_files import Command, write_clip_vision, write_photos
from small_sdxl_file import write_small_sdxl


@pytest.fixture(scope="module")
def sdxl(files: Path) -> Path:
    write_small_sdxl(files)
    of_sd15 = Target({"input_blocks.1": 64, "middle_block": 128}, 768)
    for kind in ("FACEID", "FINEFACE"):
        torch.save(published_tensors(kind, target=of_sd15), files / f"{kind.lower()}_sd15.bin")
    return files


@pytest.fixture
def generate(sdxl: Path, command: Command) -> Any:
    """The command on the small base; options override."""

    def called(**options: Any) -> int:
        usual: dict[str, Any] = {
            "base": "sdxl.safetensors",
            "tokenizer": "tokenizer",
            "reference": "person.safetensors",
            "identity_adapter": "faceid_sdxl.bin",
            "prompt": "a red coat",
            "size": 64,
        }
        return command("generate", **{**usual, **options})

    return called


def test_a_person_in_words(generate: Any, command: Command) -> None:
    drawn = []
    for changes in (
        {},
        {},
        {"negative": "blurry"},
        {"lora_strength": 0},
        {"identity_adapter": None},
        {"identity_adapter": "portrait_sdxl.bin"},
    ):
        assert generate(**changes) == 0
        drawn.append(command.image)
    assert drawn[0].shape == (1, 3, 64, 64) and torch.equal(drawn[0], drawn[1])
    assert all(not torch.equal(drawn[0], other) for other in drawn[2:])
    with Image.open(command.out) as image:
        about = json.loads(image.info["denseface"])
    assert about["base"] == "sdxl.safetensors" and about["size"] == 64


def test_a_face_in_a_scene(generate: Any, command: Command, files: Path) -> None:
    assert generate(scene="scene.png", mask="mask.png", size=128) == 0
    scene, mask = (tensor_of(open_rgb(files / f"{name}.png")) for name in ("scene", "mask"))
    changed = (command.image != scene).any(1)[0]
    near = torch.nn.functional.max_pool2d(mask[:, :1], 5, 1, 2)[0, 0] > 0
    assert int(changed.sum()) > 1000 and not bool((changed & ~near).any())


def test_plus_v2_of_a_photo(generate: Any, command: Command, sdxl: Path) -> None:
    pytest.importorskip("insightface")
    pytest.importorskip("onnx")
    if not (sdxl / "buffalo").exists():
        write_photos(sdxl)
    write_clip_vision(sdxl / "clip_sdxl.safetensors")
    drawn = []
    for changes in ({}, {"s_scale": 0.2}, {"plus_version": "plus"}):
        photo = {"reference": "photo.png", "insightface": "buffalo"}
        plus = {"identity_adapter": "plus_sdxl.bin", "clip_vision": "clip_sdxl.safetensors"}
        assert generate(**photo, **plus, **{"plus_version": "plusv2", **changes}) == 0
        drawn.append(command.image)
    assert all(not torch.equal(drawn[0], other) for other in drawn[1:])


def test_the_usual_size_is_that_of_the_base(
    generate: Any, sdxl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def keep(self: Any, inputs: Any, seed: int, *, size: int, **_: Any) -> torch.Tensor:
        sizes.append(size)
        return torch.zeros(1, 3, 8, 8)

    monkeypatch.setattr(pipeline.RealPipeline, "draw", keep)
    for base in ("sdxl.safetensors", "base.safetensors"):
        without = {"identity_adapter": None, "tokenizer": None, "prompt": None}
        assert generate(base=base, size=None, **without) == 0
    assert sizes == [1024, 512]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"expression_adapter": "fineface.bin"}, "expressions are drawn on Stable Diffusion 1.5 only"),
    ({"word": "joy"}, "expressions are drawn on Stable Diffusion 1.5 only (--word)"),
    ({"dense_face": "dense.safetensors"}, "Dense-Face works on Stable Diffusion 1.5 only"),
    ({"arc2face": "arc2face"}, "Arc2Face works on Stable Diffusion 1.5 only"),
    ({"controlnet": "control.safetensors"}, "ControlNets work on Stable Diffusion 1.5 only"),
    ({"face_mesh": True}, "ControlNets work on Stable Diffusion 1.5 only"),
    ({"yaw": 10}, "heads are turned on Stable Diffusion 1.5 only"),
    ({"identity_adapter": "faceid_sd15.bin"}, "this IP-Adapter is for Stable Diffusion 1.5, whose"),
    ({"identity_adapter": "fineface_sd15.bin"}, "this FineFace is for Stable Diffusion 1.5, whose"),
    ({"identity_adapter": "sfsr.safetensors"}, "the adapter was made for another base"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[says for _, says in BAD])
def test_what_is_for_sd15_is_refused_before_the_base_is_loaded(
    generate: Any,
    command: Command,
    sdxl: Path,
    changes: dict[str, Any],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(base_file, "load_sdxl", lambda path: pytest.fail("it loads the base"))
    arc2face = (
        "arc2face/arc2face/diffusion_pytorch_model.safetensors",
        "arc2face/encoder/pytorch_model.bin",
    )
    for name in ("control.safetensors", *arc2face):
        (sdxl / name).parent.mkdir(parents=True, exist_ok=True)
        (sdxl / name).touch()
    assert generate(**changes) == 2 and not command.out.exists()
    said = capsys.readouterr().err
    assert message in said and len(said.strip().splitlines()) == 1
    assert "ip-adapter-faceid_sdxl, -plusv2_sdxl and -portrait_sdxl" in said


def test_an_adapter_for_sdxl_on_a_base_of_sd15(
    generate: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(base="base.safetensors", tokenizer=None) == 2
    assert "faceid_sdxl.bin" in capsys.readouterr().err

"""``denseface express`` and ``generate`` with a base of one's own and published adapters."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_dense_face import cli
from comfyui_dense_face.faces.identity import Identity
from comfyui_dense_face.faces.identity_file import save_identities
from comfyui_dense_face.pipelines.base import (
    TINY_UNET,
    new_text_encoder,
    new_unet,
    new_vae,
    save_base,
)
from comfyui_dense_face.pipelines.images import open_rgb, tensor_of, to_pil
from comfyui_dense_face.pipelines.ldm import UNET_PREFIX
from comfyui_dense_face.pipelines.real.samplers import SAMPLERS
from comfyui_dense_face.pipelines.single_file import KEYS
from comfyui_dense_face.storage import write_weights
from PIL import Image
from random_published import published_tensors, small_target
from tiny_random import write_adapter, write_base, write_sfsr

ENCODER = "insightface/w600k_r50"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bases, adapters, an identity, a scene of 300 x 240 px and a mask in it."""
    folder = tmp_path_factory.mktemp("real")
    write_base(folder / "base.safetensors")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        nine = new_unet(replace(TINY_UNET, in_channels=9))
        parts = nine, new_vae(), new_text_encoder()
        save_base(folder / "inpainting.safetensors", *parts, {})
    kinds: dict[str, dict[str, Any]] = {
        "FACEID": {"rank": 2},
        "FINEFACE": {},
        "PORTRAIT": {"tokens": 16},
        "PLUS": {},
    }
    for kind, sizes in kinds.items():
        torch.save(published_tensors(kind, scale=0.1, **sizes), folder / f"{kind.lower()}.bin")
    write_sfsr(folder / "sfsr.safetensors")
    write_adapter(folder / "dense.safetensors")
    unit = torch.nn.functional.normalize(torch.ones(512), dim=0)
    save_identities(folder / "person.safetensors", [Identity(unit, ENCODER)])
    save_identities(folder / "stranger.safetensors", [Identity(unit, "insightface/glintr100")])
    save_identities(folder / "tiny.safetensors", [Identity(unit, "tiny-world")])
    chance = torch.Generator().manual_seed(1)
    small = torch.rand(1, 3, 15, 19, generator=chance)
    to_pil(torch.nn.functional.interpolate(small, (240, 300))).save(folder / "scene.png")
    mask = torch.zeros(1, 3, 240, 300)
    mask[..., 80:160, 110:180] = 1
    to_pil(mask).save(folder / "mask.png")
    other = target_of_other_base()
    torch.save(published_tensors("FACEID", target=other), folder / "other.bin")
    return folder


def target_of_other_base() -> Any:
    target = small_target()
    return replace(target, layers={"input_blocks.1": 32, "middle_block": 64})


class Command:
    def __init__(self, files: Path, out: Path) -> None:
        self.files, self.out = files, out

    def __call__(self, command: str, **options: Any) -> int:
        usual: dict[str, Any] = {"out": self.out, "steps": 2, "size": 128, "guidance": 3}
        words = [command]
        for name, value in {**usual, **options}.items():
            known = self.files / str(value)
            if value is not None:
                words += [f"--{name.replace('_', '-')}", str(known if known.exists() else value)]
        return cli.main(words)

    def express(self, **options: Any) -> int:
        usual: dict[str, Any] = {
            "base": "base.safetensors",
            "identity": "person.safetensors",
            "identity_adapter": "faceid.bin",
            "expression_adapter": "fineface.bin",
            "word": "joy",
        }
        return self("express", **{**usual, **options})

    @property
    def image(self) -> torch.Tensor:
        return tensor_of(open_rgb(self.out))


@pytest.fixture
def command(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.delenv("DENSEFACE_TASK_FILE", raising=False)
    return Command(files, tmp_path / "x.png")


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
    first = torch.zeros(320, 4, 3, 3)
    for name, width, more in (("sd2", 1024, {}), ("sdxl", 2048, {"conditioner.embedders.0.x": 1})):
        tensors = {f"{UNET_PREFIX}input_blocks.0.0.weight": first}
        tensors[UNET_PREFIX + KEYS] = torch.zeros(320, width)
        tensors |= {key: torch.zeros(1) for key in more}
        write_weights(files / f"{name}.safetensors", tensors, {})


BAD: list[tuple[dict[str, Any], str]] = [
    (
        {"base": "sd2.safetensors"},
        "not a Stable Diffusion 1.5 checkpoint: it is Stable Diffusion 2",
    ),
    ({"base": "sdxl.safetensors"}, "not a Stable Diffusion 1.5 checkpoint: it is SDXL"),
    ({"base": "nowhere.safetensors"}, "nowhere.safetensors"),
    ({"base": "inpainting.safetensors"}, "this is an inpainting base, and no scene is given"),
    ({"identity_adapter": "other.bin"}, "other.bin"),
    ({"identity_adapter": "fineface.bin"}, "FineFace draws expressions and no identity"),
    ({"identity_adapter": "plus.bin"}, "also reads CLIP vision"),
    ({"expression_adapter": "faceid.bin"}, "knows identities and no expressions"),
    ({"expression_adapter": None}, "no adapter draws the expression"),
    ({"identity": "stranger.safetensors"}, "measured by insightface/glintr100"),
    ({"identity": None}, "an identity adapter is given, and no person"),
    ({"identity": "scene.png"}, "nothing is given that measures the person"),
    ({"scene": "scene.png"}, "nothing is given that finds the face"),
    ({"word": None, "expression": "scene.png"}, "nothing is given that measures the expression"),
    ({"sampler": "magic"}, "the sampler 'magic' is unknown"),
    ({"steps": 0}, "0 steps"),
    ({"size": 100}, "images of 100 px"),
    ({"guidance": 0}, "guidance is 0"),
    ({"controlnet": "dense.safetensors"}, "a pose branch needs"),
    ({"vae": "faceid.bin"}, "180 weights are missing, the first is first_stage_model"),
    ({"base": None}, "the tiny world has no use for this option"),
]


@pytest.mark.usefixtures("other_bases")
@pytest.mark.parametrize(("changes", "message"), BAD, ids=[says for _, says in BAD])
def test_bad_input_is_told_before_sampling(
    command: Command,
    changes: dict[str, Any],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from comfyui_dense_face.pipelines.real import pipeline

    monkeypatch.setattr(pipeline, "run_sampler", lambda *_: pytest.fail("it samples"))
    assert command.express(**changes) == 2
    said = capsys.readouterr()
    assert message in said.err and len(said.err.strip().splitlines()) == 1
    assert not command.out.exists()

"""An ordinary ControlNet beside a base of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_dense_face.dense_face.checkpoints.adapter_file import load_adapter, save_adapter
from comfyui_dense_face.errors import FacePackError
from comfyui_dense_face.pipelines.base import load_base
from comfyui_dense_face.pipelines.guided import guided_model, posed_residuals
from comfyui_dense_face.pipelines.real.controlnet import control_image, controlled, load_control
from diffusers import ControlNetModel
from real_files import Command, write_controlnets
from safetensors.torch import load_file, save_file

CONTROL = {"controlnet": "control.safetensors", "control_image": "square.png"}


@pytest.fixture(scope="module", autouse=True)
def network(files: Path) -> ControlNetModel:
    from comfyui_dense_face.pipelines.images import to_pil

    chance = torch.Generator().manual_seed(11)
    to_pil(torch.rand(1, 3, 128, 128, generator=chance)).save(files / "square.png")
    to_pil(torch.rand(1, 3, 240, 300, generator=chance)).save(files / "of_scene.png")
    save_file({"lora_controlnet": torch.zeros(1)}, files / "control_lora.safetensors")
    dense = load_adapter(files / "dense.safetensors")
    branch = {name: tensor.clone() for name, tensor in dense.pose_branch.state_dict().items()}
    save_file(branch, files / "branch.safetensors")
    from dataclasses import replace

    save_adapter(files / "no_branch.safetensors", replace(dense, pose_branch=None))
    return write_controlnets(files)


def test_both_namings_are_read(files: Path, network: ControlNetModel) -> None:
    base = load_base(files / "base.safetensors")
    wanted = network.state_dict()
    for name in ("control.safetensors", "control.pth"):
        found = load_control(files / name, base)
        assert isinstance(found, ControlNetModel)
        state = found.state_dict()
        assert state.keys() == wanted.keys()
        assert all(torch.equal(tensor, wanted[key]) for key, tensor in state.items())


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_it_acts_in_both_halves_beside_the_pose(
    files: Path, network: ControlNetModel, guidance: float
) -> None:
    """As two plain calls of diffusers, one for each half."""
    base = load_base(files / "base.safetensors")
    branch = load_adapter(files / "dense.safetensors").pose_branch
    assert branch is not None
    chance = torch.Generator().manual_seed(12)
    x, hint = (torch.randn(1, *of, generator=chance) for of in ((4, 16, 16), (3, 128, 128)))
    contexts = torch.randn(2, 48, 128, generator=chance)
    pose, t = torch.rand(1, 3, 128, 128, generator=chance), torch.tensor(500)
    control = controlled(network, hint, 0.7)
    model = guided_model(base, contexts, guidance, posed_residuals(branch, pose), control)
    halves = []
    with torch.no_grad():
        found = model(x, t)
        posed = branch(x, pose, t[None])
        for half, context in enumerate(contexts.split(1)):
            down, middle = network(x, t, context, hint, conditioning_scale=0.7, return_dict=False)
            added = [*down, middle]
            if half == 1:
                added = [one + other for one, other in zip(added, posed, strict=True)]
            halves.append(
                base.unet(
                    x,
                    t,
                    context,
                    down_block_additional_residuals=tuple(added[:-1]),
                    mid_block_additional_residual=added[-1],
                ).sample
            )
    wanted = halves[0] + guidance * (halves[1] - halves[0])
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    assert (halves[0] - halves[1]).abs().max() > 1e-2


def test_the_command(command: Command) -> None:
    drawn = {}
    for name, changes in {
        "without": {"controlnet": None, "control_image": None},
        "with": {},
        "original layout": {"controlnet": "control.pth"},
        "at zero": {"control_strength": 0},
        "weaker": {"control_strength": 0.5},
    }.items():
        assert command.express(**{**CONTROL, **changes}) == 0
        drawn[name] = command.image
    assert torch.equal(drawn["with"], drawn["original layout"])
    assert torch.equal(drawn["without"], drawn["at zero"])
    assert not torch.equal(drawn["with"], drawn["without"])
    assert not torch.equal(drawn["with"], drawn["weaker"])


@pytest.mark.parametrize("base", ["base.safetensors", "inpainting.safetensors"])
def test_in_a_scene(command: Command, base: str) -> None:
    drawn = []
    for changes in ({}, {**CONTROL, "control_image": "of_scene.png"}):
        assert command.express(base=base, scene="scene.png", mask="mask.png", **changes) == 0
        drawn.append(command.image)
    assert drawn[0].shape == drawn[1].shape == (1, 3, 240, 300)
    assert not torch.equal(*drawn)


def test_beside_dense_face(command: Command) -> None:
    usual: dict[str, Any] = {
        "base": "base.safetensors",
        "reference": "tiny.safetensors",
        "dense_face": "dense.safetensors",
        "prompt": "a photo of *",
        "yaw": 30,
    }
    drawn = []
    for changes in ({}, CONTROL, {**CONTROL, "yaw": -30}, {"controlnet": "dense.safetensors"}):
        assert command("generate", **{**usual, **changes}) == 0
        drawn.append(command.image)
    assert not torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[1], drawn[2])
    assert torch.equal(drawn[0], drawn[3])  # the same pose branch


def test_the_image_without_a_scene_is_its_central_square() -> None:
    image = torch.zeros(3, 100, 200)
    image[:, :, 50:150] = 1
    assert control_image(image, 64, None, "").min() > 0.999


BAD: list[tuple[dict[str, Any], str]] = [
    ({"control_image": None}, "an ordinary ControlNet, and no image for it is given"),
    ({"controlnet": None}, "nothing reads the control image"),
    (
        {"controlnet": None, "control_image": None, "control_strength": 0.5},
        "nothing reads the control image or its strength",
    ),
    ({"controlnet": "control_sdxl.safetensors"}, "this ControlNet is for SDXL"),
    ({"controlnet": "control_sd2.safetensors"}, "this ControlNet is for Stable Diffusion 2"),
    ({"controlnet": "control_lora.safetensors"}, "this is a Control-LoRA"),
    ({"controlnet": "base.safetensors"}, "the file holds no ControlNet"),
    ({"controlnet": "nowhere.safetensors"}, "to read is missing (--controlnet"),
    ({"controlnet": "branch.safetensors"}, "a pose branch without its Dense-Face file"),
    ({"controlnet": "no_branch.safetensors"}, "contains no pose branch"),
    (
        {"controlnet": "dense.safetensors", "dense_face": "dense.safetensors"},
        "a pose branch draws its own image from the angles",
    ),
    ({"control_image": "nowhere.png"}, "to read is missing (--control-image"),
    ({"scene": "scene.png", "mask": "mask.png"}, "another size than the scene"),
    ({"control_strength": -1}, "--control-strength is out of range (-1)"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[says for _, says in BAD])
def test_bad_input_is_refused_before_sampling(
    command: Command,
    changes: dict[str, Any],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command.refused(monkeypatch, **{**CONTROL, **changes})
    said = capsys.readouterr().err.strip()
    assert message in said and len(said.splitlines()) == 1


def test_incomplete_files(files: Path, tmp_path: Path) -> None:
    base = load_base(files / "base.safetensors")
    weights = load_file(files / "control.safetensors")
    for name in ("mid_block.resnets.0.conv1.weight", "controlnet_cond_embedding.conv_in.weight"):
        save_file({k: v for k, v in weights.items() if k != name}, tmp_path / "x.safetensors")
        with pytest.raises(FacePackError, match=f"the first is {name}"):
            load_control(tmp_path / "x.safetensors", base)
    save_file({**weights, "difference": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(FacePackError, match="saved as a difference"):
        load_control(tmp_path / "x.safetensors", base)

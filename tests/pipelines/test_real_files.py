"""Bases and autoencoders in the forms in which they are published."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_dense_face.pipelines import single_file
from comfyui_dense_face.pipelines.base import TINY_TEXT, TINY_UNET, TINY_VAE, load_base, new_vae
from comfyui_dense_face.pipelines.ldm import VAE_PREFIX, vae_to_ldm
from comfyui_dense_face.storage import read_weights
from real_files import Command
from safetensors.torch import save_file
from torch import Tensor

LIGHTNING = "with Lightning's objects"
FORMS = ("safetensors", "bare zip", "legacy", LIGHTNING, f"{LIGHTNING}, legacy")


class ModelCheckpoint:
    """Stands for what Lightning stores beside the weights of published checkpoints."""

    best = 0.5


ModelCheckpoint.__module__ = "pytorch_lightning"


@pytest.fixture
def small_sd15(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files without sizes in their metadata are of the small world's sizes."""
    monkeypatch.setattr(single_file, "SD15_UNET", TINY_UNET)
    monkeypatch.setattr(single_file, "SD15_TEXT", TINY_TEXT)
    monkeypatch.setattr(single_file, "VAELayout", lambda: TINY_VAE)
    first = f"{single_file.UNET_PREFIX}{single_file.FIRST}"
    # Lightning's objects are pickled by name: the module has to be there while a file is written.
    module = types.ModuleType(ModelCheckpoint.__module__)
    module.__dict__["ModelCheckpoint"] = ModelCheckpoint
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(single_file, "_channels", lambda tensors, _: tensors[first].shape[1])


def write(tensors: dict[str, Tensor], path: Path, form: str) -> None:
    if form == "safetensors":
        save_file(tensors, path)
    elif form == "legacy":
        torch.save({"state_dict": tensors}, path, _use_new_zipfile_serialization=False)
    elif form == "bare zip":
        torch.save(tensors, path)
    else:
        beside = {"global_step": 3, "callbacks": {ModelCheckpoint: ModelCheckpoint()}}
        legacy = form == f"{LIGHTNING}, legacy"
        content = {**beside, "state_dict": tensors}
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)


@pytest.mark.usefixtures("small_sd15")
@pytest.mark.parametrize("base", ["base.safetensors", "inpainting.safetensors"])
def test_every_form_of_a_base_draws_the_same(command: Command, files: Path, base: str) -> None:
    tensors, _ = read_weights(files / base)
    scene = {"scene": "scene.png", "mask": "mask.png"}
    assert command.express(base=base, **scene) == 0
    wanted = command.image
    for form in FORMS:
        end = "safetensors" if form == "safetensors" else "ckpt"
        path = files / f"{form.replace(' ', '_')}_{base.split('.')[0]}.{end}"
        write(tensors, path, form)
        assert command.express(base=path, **scene) == 0
        assert torch.equal(command.image, wanted), form


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("touched"),)


@pytest.mark.parametrize("form", ["zip", "legacy", "truncated", "text"])
def test_bad_checkpoints(
    command: Command, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.ckpt"
    inner = {"state_dict": {"a": torch.zeros(3)}, "more": Hostile()}
    torch.save(inner, path, _use_new_zipfile_serialization=form != "legacy")
    if form == "truncated":
        path.write_bytes(path.read_bytes()[:300])
    if form == "text":
        path.write_text("no checkpoint")
    assert command.express(base=path) == 2
    said = capsys.readouterr().err.strip()
    assert str(path) in said and len(said.splitlines()) == 1
    assert not Path("touched").exists() and not command.out.exists()


@pytest.fixture(scope="module")
def other_vae(files: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20)
        vae = new_vae()
    original = vae_to_ldm(vae)
    bare = {name.removeprefix(VAE_PREFIX): tensor for name, tensor in original.items()}
    save_file(bare, files / "vae.safetensors")
    save_file(original, files / "vae_with_prefix.safetensors")
    save_file(vae.state_dict(), files / "vae_diffusers.safetensors")
    torch.save({"state_dict": bare}, files / "vae.pt")


@pytest.mark.usefixtures("other_vae")
def test_another_autoencoder(command: Command, files: Path) -> None:
    drawn = []
    names = ("vae.safetensors", "vae_with_prefix.safetensors", "vae_diffusers.safetensors")
    for vae in (None, *names, "vae.pt"):
        assert command.express(vae=vae) == 0
        drawn.append(command.image)
    assert not torch.equal(drawn[0], drawn[1])
    assert all(torch.equal(drawn[1], other) for other in drawn[2:])
    base = load_base(files / "base.safetensors")
    unet = single_file.load_vae(files / "vae.pt", base).unet
    assert unet is base.unet

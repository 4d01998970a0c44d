"""IR-SE50: names and shapes of the release, and agreement with a second implementation."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
import torch
from comfyui_dense_face.errors import IncompatibleError, InputError, ModelFileError
from comfyui_dense_face.faces.encoders.ir_se50 import IRSE50, RELEASE_PREFIX, Unit, load_ir_se50
from comfyui_dense_face.storage import write_weights
from locate_host import PARITY
from random_ir_se50 import randomised
from torch import Tensor, nn
from torch.nn import functional as F

LAYOUT = PARITY / "sd15_layout.json"


def meta_net() -> IRSE50:
    with torch.device("meta"):
        return IRSE50()


def test_names_and_shapes_are_those_of_the_release() -> None:
    layout = json.loads(LAYOUT.read_text())
    expected = {
        name.removeprefix(RELEASE_PREFIX): (shape, dtype)
        for name, (shape, dtype, _) in layout.items()
        if name.startswith(RELEASE_PREFIX)
    }
    found = {
        name: (list(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        for name, tensor in meta_net().state_dict().items()
    }
    assert found == expected and len(found) == 397
    assert sum(t.numel() for t in meta_net().state_dict().values()) == 43_824_118


def normed(w: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    shape = (1, -1) + (1,) * (x.ndim - 2)
    mean, var, scale, shift = (
        w[f"{name}.{kind}"].reshape(shape)
        for kind in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * scale + shift


def reference_unit(w: dict[str, Tensor], x: Tensor, stride: int) -> Tensor:
    """A unit written from its weights alone."""
    short = x[:, :, ::stride, ::stride]
    if "shortcut_layer.0.weight" in w:
        short = normed(w, "shortcut_layer.1", F.conv2d(short, w["shortcut_layer.0.weight"]))
    h = F.conv2d(normed(w, "res_layer.0", x), w["res_layer.1.weight"], padding=1)
    h = torch.where(h > 0, h, h * w["res_layer.2.weight"][:, None, None])
    h = F.conv2d(h, w["res_layer.3.weight"], padding=1)[:, :, ::stride, ::stride]
    h = normed(w, "res_layer.4", h)
    gate = h.mean((2, 3)) @ w["res_layer.5.fc1.weight"][:, :, 0, 0].T
    gate = gate.clamp(min=0) @ w["res_layer.5.fc2.weight"][:, :, 0, 0].T
    return short + h / (1 + (-gate).exp())[:, :, None, None]


@pytest.mark.parametrize(("width_out", "stride"), [(32, 1), (32, 2), (48, 2)])
@torch.no_grad()
def test_unit_matches_a_reference(width_out: int, stride: int) -> None:
    unit = randomised(Unit(32, width_out, stride))
    x = torch.randn(2, 32, 8, 8)
    assert torch.allclose(unit(x), reference_unit(unit.state_dict(), x, stride), atol=1e-4)


@pytest.mark.slow
@torch.no_grad()
def test_whole_network_and_its_file(tmp_path: Path) -> None:
    net = randomised(IRSE50())
    write_weights(tmp_path / "ir_se50.safetensors", net.state_dict(), {})
    loaded = load_ir_se50(tmp_path / "ir_se50.safetensors")
    faces = torch.rand(2, 3, 112, 112) * 2 - 1
    found = loaded(faces)
    assert not any(p.requires_grad for p in loaded.parameters()) and not loaded.training
    assert torch.allclose(found.norm(dim=1), torch.ones(2)) and not torch.equal(found[0], found[1])

    w = net.state_dict()
    x = normed(w, "input_layer.1", F.conv2d(faces, w["input_layer.0.weight"], padding=1))
    x = torch.where(x > 0, x, x * w["input_layer.2.weight"][:, None, None])
    for i in range(24):
        own = {k.removeprefix(f"body.{i}."): t for k, t in w.items() if k.startswith(f"body.{i}.")}
        x = reference_unit(own, x, stride=2 if i in (0, 3, 7, 21) else 1)
    x = normed(w, "output_layer.0", x).flatten(1)
    x = x @ w["output_layer.3.weight"].T + w["output_layer.3.bias"]
    x = normed(w, "output_layer.4", x)
    assert torch.allclose(found, x / x.norm(dim=1, keepdim=True), atol=1e-4)


@pytest.mark.parametrize("prefix", ["", "module.", RELEASE_PREFIX])
def test_public_files_have_the_same_names(
    tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A PyTorch file, bare or with the prefixes of trainers and of the release."""
    seen: list[set[str]] = []
    module = importlib.import_module("comfyui_dense_face.faces.encoders.ir_se50")

    def check(net: nn.Module, tensors: dict[str, Tensor], what: str) -> None:
        seen.append(set(tensors))
        raise IncompatibleError(what)

    monkeypatch.setattr(module, "check_state_dict", check)
    names = meta_net().state_dict()
    torch.save({prefix + name: torch.zeros(1) for name in names}, tmp_path / "model_ir_se50.pth")
    with pytest.raises(IncompatibleError, match=r"IR-SE50 in model_ir_se50\.pth"):
        load_ir_se50(tmp_path / "model_ir_se50.pth")
    assert seen == [set(names)]


def test_code_in_pytorch_files_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "model_ir_se50.pth"
    torch.save({"a": breakpoint}, path)
    with pytest.raises(ModelFileError, match=r"not a weight file: .*breakpoint.*malicious"):
        load_ir_se50(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelFileError, match="damaged"):
        load_ir_se50(path)
    torch.save({"epoch": 3}, path)
    with pytest.raises(ModelFileError, match="holds no weights of IR-SE50"):
        load_ir_se50(path)


def test_invalid_files_and_images_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "ir_se50.safetensors"
    # One number stands for every tensor: names are checked before shapes, shapes before values.
    tensors = {name: torch.zeros(1) for name in meta_net().state_dict()}
    write_weights(path, tensors, {})
    with pytest.raises(IncompatibleError, match=r"IR-SE50 in .* has a weight .* of shape \[1\]"):
        load_ir_se50(path)
    del tensors["body.3.res_layer.2.weight"]
    write_weights(path, tensors, {})
    with pytest.raises(ModelFileError, match=r"IR-SE50 .* lacks .*body\.3\.res_layer\.2\.weight"):
        load_ir_se50(path)
    with pytest.raises(InputError, match=r"\[B, 3, 112, 112\], got \[1, 3, 128, 128\]"):
        meta_net()(torch.zeros(1, 3, 128, 128))

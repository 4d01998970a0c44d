"""Files of the exact published layouts at full size, and a full-size SD1.5 with them.

All values are random: it is proven that everything fits and runs, nothing about images.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from in_host import Tiny
from peak_memory import clear_peak, peak_memory
from published_bench import layout_json
from released_file import full_shapes
from safetensors.torch import save_file
from torch import Tensor

pytestmark = [pytest.mark.full_size, pytest.mark.timeout(900)]
Tensors = dict[str, Tensor]
UNET, POSE = "model.diffusion_model.", "control_model."
ADAPTER_MAPS = ("per_q", "per_k", "per_v", "feat_to_q")
FACEID = "faceid/layout_ip-adapter-faceid_sd15.json"
PLUS = "faceid/layout_ip-adapter-faceid-plus_sd15.json"
PORTRAIT = "faceid/layout_ip-adapter-faceid-portrait_sd15.json"
PROCESSORS = "fineface/layout_sd15_attn_processors.json"
UNITS = "fineface/layout_sd15_au_encoder.json"
SIDE = 256
MEMORY = 9e9


class Noise:
    """Random tensors of any size, cut out of one block: drawing each would take minutes."""

    def __init__(self) -> None:
        self._block = torch.randn(1 << 22, generator=torch.Generator().manual_seed(0))
        self._start = 0

    def tensor(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Values at which every weight matters and nothing explodes."""
        count, self._start = torch.Size(shape).numel(), (self._start + 7919) % 100_003
        flat = self._block[self._start :]
        flat = flat.repeat(-(-count // len(flat)))[:count].view(shape)
        if len(shape) > 1:
            return (flat * (0.7 / flat[0].numel() ** 0.5)).to(dtype)
        return (flat * 0.05 + (1.0 if name.endswith("weight") else 0.0)).to(dtype)

    def tensors(self, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype) -> Tensors:
        return {name: self.tensor(name, shape, dtype) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def noise() -> Noise:
    return Noise()


def legacy(found: Any, path: Path) -> None:
    torch.save(found, path, _use_new_zipfile_serialization=False)


def nested(flat: Tensors) -> dict[str, Any]:
    parts: dict[str, Any] = {"image_proj": {}, "ip_adapter": {}}
    for name, tensor in flat.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    return parts


def write_fineface(folder: Path, noise: Noise, write: Callable[[Any, Path], None]) -> str:
    for half, layout in (("attn_processors", PROCESSORS), ("au_encoder", UNITS)):
        tensors = noise.tensors(layout_json(layout), torch.float32)
        write(tensors, folder / f"sd15_{half}.ckpt")
    return "sd15_attn_processors.ckpt"


@pytest.mark.slow
@pytest.mark.parametrize("form", ["legacy", "zip", "safetensors"])
@pytest.mark.parametrize(
    ("name", "layout", "title"),
    [
        ("ip-adapter-faceid_sd15", FACEID, "IP-Adapter-FaceID "),
        ("ip-adapter-faceid-plus_sd15", PLUS, "IP-Adapter-FaceID-Plus "),
        ("ip-adapter-faceid-plusv2_sd15", PLUS, "IP-Adapter-FaceID-Plus v2 "),
        ("ip-adapter-faceid-portrait-v11_sd15", PORTRAIT, "IP-Adapter-FaceID-Portrait "),
    ],
    ids=lambda value: value.removeprefix("ip-adapter-"),
)
def test_identity_files(
    tiny: Tiny, ip_adapters: Path, noise: Noise, name: str, layout: str, title: str, form: str
) -> None:
    tensors = noise.tensors(layout_json(layout), torch.float16)
    path = ip_adapters / f"{name}.{'safetensors' if form == 'safetensors' else 'bin'}"
    if form == "safetensors":
        save_file(tensors, path)
    else:
        (legacy if form == "legacy" else torch.save)(nested(tensors), path)
    assert f"ipadapter/{path.name}" in tiny.module("nodes.sfsr.load_adapter").adapter_names()
    loaded = tiny.run("LoadSFSRAdapter", f"ipadapter/{path.name}")
    assert loaded.tokens.title.startswith(title)
    path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["legacy", "zip"])
def test_fineface_files(tiny: Tiny, ip_adapters: Path, noise: Noise, form: str) -> None:
    name = write_fineface(ip_adapters, noise, legacy if form == "legacy" else torch.save)
    loaded = tiny.run("LoadSFSRAdapter", f"ipadapter/{name}")
    assert loaded.tokens.title.startswith("FineFace ")


def base(noise: Noise, channels: int) -> Any:
    """MODEL of a full-size SD1.5, by the host's own loader; 9 channels: an inpainting one."""
    import comfy.sd

    shapes = {
        name.removeprefix(UNET): shape
        for name, (shape, _) in full_shapes().items()
        if name.startswith(UNET) and name.split(".")[-2] not in ADAPTER_MAPS
    }
    shapes["input_blocks.0.0.weight"] = (320, channels, 3, 3)
    with torch.inference_mode():
        model = comfy.sd.load_diffusion_model_state_dict(noise.tensors(shapes, torch.float16))
    assert type(model.model.model_config).__name__ == "SD15"
    return model


def pose_branch(tiny: Tiny, noise: Noise) -> Any:
    """CONTROL_NET of the pose branch as a converted release holds it."""
    shapes = {
        name.removeprefix(POSE): shape
        for name, (shape, _) in full_shapes().items()
        if name.startswith(POSE)
    }
    with torch.inference_mode():
        branch = noise.tensors(shapes, torch.float16)
        return tiny.module("nodes.host.dense_face.control").pose_control(branch)


def person(tiny: Tiny, noise: Noise) -> Any:
    """DENSEFACE_IDENTITY with the states of CLIP vision ViT-H."""
    who = tiny.people(encoder="insightface/w600k_r50").identities
    states = noise.tensor("", (1, 257, 1280), torch.float32) * 50
    return tiny.module("nodes.sockets").People(who, None, (states,), states.flip(1))


def test_plus_v2_fineface_and_pose_on_full_size_models(
    tiny: Tiny, ip_adapters: Path, noise: Noise, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two steps at 256 px on four channels, and on nine with a scene; prints time and memory."""
    import comfy.model_management as mm

    import nodes

    if psutil.virtual_memory().available < MEMORY:
        pytest.skip("less than 9 GB of memory are free")
    name = "ip-adapter-faceid-plusv2_sd15.bin"
    legacy(nested(noise.tensors(layout_json(PLUS), torch.float16)), ip_adapters / name)
    units = write_fineface(ip_adapters, noise, torch.save)
    began = time.perf_counter()
    faceid, fineface = (tiny.run("LoadSFSRAdapter", f"ipadapter/{each}") for each in (name, units))
    lines = [f"both adapters loaded in {time.perf_counter() - began:.1f} s"]
    who, control = person(tiny, noise), pose_branch(tiny, noise)
    face = tiny.run("ExpressionFromWord", "joy", 1.0, 0, 0.0)
    texts = [[[noise.tensor("", (1, 77, 768), torch.float32) * 20, {}]] for _ in range(2)]
    hint = torch.zeros(1, SIDE, SIDE, 3)
    hint[:, 100:110, 60:200, 0] = 1
    image, mask = torch.rand(1, SIDE, SIDE, 3), torch.zeros(1, SIDE, SIDE)
    mask[:, 60:200, 50:180] = 1
    place, latent, _ = tiny.run("Background", image, mask, tiny.vae, 0.04, "mask first")
    inputs: dict[str, Any] = {
        "balance": 0.0,
        "identity_weight": 1.0,
        "expression_weight": 1.0,
        "identity_start_percent": 0.0,
        "identity_end_percent": 1.0,
        "expression_start_percent": 0.0,
        "expression_end_percent": 1.0,
        "keep_identity_out": False,
        "expression_adapter": fineface,
        "identity": who,
    }
    for channels in (4, 9):
        model = base(noise, channels)
        scene: dict[str, Any] = {"background": place} if channels == 9 else {}
        options: dict[str, Any] = {"cfg": 7.5, "steps": 2, "size": SIDE // 8}
        if channels == 9:
            options |= {"latent": latent["samples"], "noise_mask": latent["noise_mask"]}
        clear_peak()
        began = time.perf_counter()
        applied, report = tiny.run("ApplySFSR", model, faceid, expression=face, **inputs, **scene)
        prepared = time.perf_counter() - began
        conds = nodes.ControlNetApplyAdvanced().apply_controlnet(
            *texts, control, hint, 1.0, 0.0, 1.0
        )
        began = time.perf_counter()
        drawn = tiny.sample(applied, *conds, **options)
        lines.append(
            f"{channels} channels: applied in {prepared:.1f} s, 2 steps in "
            f"{time.perf_counter() - began:.1f} s, peak {peak_memory() / 1e9:.1f} GB"
        )
        assert "IP-Adapter-FaceID-Plus v2" in report and "FineFace" in report
        assert drawn.shape == (1, 4, 32, 32) and bool(drawn.isfinite().all())
        if channels == 9:
            small = torch.nn.functional.interpolate(latent["noise_mask"], (32, 32), mode="bilinear")
            kept = (small == 0).expand_as(drawn)
            assert torch.allclose(drawn[kept], latent["samples"][kept], atol=1e-4)
        del model, applied
        mm.unload_all_models()
    with capsys.disabled():
        print("\n" + "\n".join(lines))

"""A fixture folder of any configuration, with goldens of our own making.

It cannot prove parity; it proves that reading a fixture assumes no size of the shipped one.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from comfyui_dense_face.dense_face.adapter import PCAdapter
from comfyui_dense_face.dense_face.identity_token import IdentityToken
from comfyui_dense_face.dense_face.pose_branch import PoseBranch, PoseBranchConfig
from comfyui_dense_face.evaluation.parity.fixture import Fixture
from comfyui_dense_face.evaluation.parity.golden_outputs import outputs
from comfyui_dense_face.evaluation.parity.release_mask import release_mask
from comfyui_dense_face.pipelines.attention import layers_for
from comfyui_dense_face.pipelines.layout import UNetLayout
from comfyui_dense_face.pipelines.ldm import UNET_PREFIX, unet_to_ldm
from diffusers import UNet2DConditionModel
from locate_host import PARITY
from parity_fixture import parity
from safetensors.torch import save_file
from torch import Tensor


def write_own_fixture(
    folder: Path, net: dict[str, Any], width: int, size: int, steps: int, id_dim: int = 512
) -> None:
    """Write a fixture with random weights; ``width`` is that of the block tested alone, ``size``
    that of the latents outside the sampler runs."""
    folder.mkdir()
    for name in ("ddim50_eta1.json", "sd15_layout.json", "pose_angles.json", "mask_512.png"):
        shutil.copy(PARITY / name, folder / name)
    for image in PARITY.glob("pose_*.png"):
        shutil.copy(image, folder / image.name)
    config = {"net": net, "delta": [0.02, 0.9], "reference_delta": 0.1, "placeholder_id": 3}
    (folder / "config.json").write_text(json.dumps(config))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights, token = _weights(UNetLayout.from_ldm(net), id_dim)
        forward = _forward_inputs(net, width, size, id_dim) | token
        sampler = _sampler_inputs(net, 32, steps, id_dim)  # the pose images are 256 px
    _save(folder, weights, forward, sampler)
    with torch.no_grad():
        for name, tensor in outputs(Fixture.read(folder)):
            tensor = tensor.contiguous().clone()
            if name.startswith(("attn.", "eps.", "pose.", "tok.")):
                forward[name] = tensor
            elif name.startswith(("ref.", "d1.", "eta0.", "in.")):
                sampler[name] = tensor
    _save(folder, weights, forward, sampler)


def _save(
    folder: Path, weights: dict[str, Tensor], forward: dict[str, Tensor], sampler: dict[str, Tensor]
) -> None:
    save_file(
        {k: t.half().contiguous() for k, t in weights.items()}, folder / "weights_fp16.safetensors"
    )
    save_file(forward, folder / "forward.safetensors")
    save_file(sampler, folder / "sampler.safetensors")


def _weights(layout: UNetLayout, id_dim: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    unet = UNet2DConditionModel(**layout.diffusers_kwargs())
    branch = PoseBranch(
        PoseBranchConfig(
            layout.model_channels, layout.channel_mult, layout.num_res_blocks, layout.in_channels
        )
    )
    adapter = PCAdapter(layers_for(unet), id_dim=id_dim)
    token = IdentityToken(24, id_dim=id_dim)
    for module in (branch, adapter, token):
        for parameter in module.parameters():
            parameter.data.normal_(std=0.05)
    weights = unet_to_ldm(unet)
    weights |= {UNET_PREFIX + k: t for k, t in adapter.state_dict().items()}
    weights |= {f"control_model.{k}": t for k, t in branch.state_dict().items()}
    stored = {f"tok.w.embedding_manager.{k}": t.clone() for k, t in token.state_dict().items()}
    return weights, stored


def _forward_inputs(net: dict[str, Any], width: int, size: int, id_dim: int) -> dict[str, Tensor]:
    side = 8 * size
    return {
        "in.x": torch.randn(2, net["in_channels"], size, size),
        "in.t": torch.tensor([700, 20]),
        "in.context": torch.randn(2, 9, net["context_dim"]),
        "in.id": torch.nn.functional.normalize(torch.randn(2, id_dim)),
        "in.hint_rgb_u8": torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8),
        "attn.in.h": torch.randn(2, 5, width),
        "tok.embeds_in": torch.randn(2, 6, 24),
        "tok.ids": torch.tensor([[1, 3, 4, 0, 0, 0], [1, 3, 3, 2, 0, 0]]),
    }


def _sampler_inputs(net: dict[str, Any], size: int, steps: int, id_dim: int) -> dict[str, Tensor]:
    shape = (1, net["in_channels"], size, size)
    inputs = {f"noise.{i:02d}": torch.randn(shape) for i in range(2 + 2 * steps)}
    inputs |= {
        "in.x0_before_scale": torch.randn(shape),
        "in.mask": release_mask(parity().mask() / 255, size, size),
        "in.id": torch.nn.functional.normalize(torch.randn(1, id_dim)),
        "in.context": torch.randn(1, 9, net["context_dim"]),
        "in.uncond_context": torch.randn(1, 9, net["context_dim"]),
        "in.hint_index": torch.tensor([1]),
    }
    return inputs | {f"{run}.timesteps": torch.zeros(steps).long() for run in ("ref", "d1", "eta0")}

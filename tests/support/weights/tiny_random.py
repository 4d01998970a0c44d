"""Files of the tiny world's exact layout with random weights: small, quick, the same each time.

They prove that the parts fit and compute the same; only trained weights draw heads.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from comfyui_dense_face.demo.networks.analyzer import TinyAnalyzer
from comfyui_dense_face.dense_face.adapter import PCAdapter
from comfyui_dense_face.dense_face.attention_layers import AttentionLayer, layers_of_block
from comfyui_dense_face.dense_face.checkpoints.adapter_file import DenseFaceAdapter, save_adapter
from comfyui_dense_face.dense_face.identity_token import IdentityToken
from comfyui_dense_face.dense_face.pose_branch import PoseBranch, PoseBranchConfig
from comfyui_dense_face.pipelines.base import new_text_encoder, new_unet, new_vae, save_base
from comfyui_dense_face.sfsr.adapter import SFSRAdapter
from comfyui_dense_face.sfsr.compound_inputs import CompoundLayout
from comfyui_dense_face.storage import write_weights
from torch import nn

BLOCKS = {
    "input_blocks.1": 64,
    "input_blocks.3": 128,
    "middle_block": 128,
    "output_blocks.0": 128,
    "output_blocks.1": 128,
    "output_blocks.2": 64,
    "output_blocks.3": 64,
}
CONTEXT = 128
Net = TypeVar("Net", bound=nn.Module)
ENCODER = "tiny-world"


def write_base(path: Path, seed: int = 0) -> Path:
    """A base model (UNet, VAE, text encoder)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet, vae, text = new_unet(), new_vae(), new_text_encoder()
        save_base(path, unet, vae, text, {"trained": "no"})
    return path


def write_adapter(path: Path, seed: int = 1, *, delta: float = 1.0, encoder: str = ENCODER) -> Path:
    """A Dense-Face adapter with all three parts, strong enough to matter in every output."""
    generator = torch.Generator().manual_seed(seed)
    layers: list[AttentionLayer] = []
    for block, width in BLOCKS.items():
        layers += layers_of_block(block, width, CONTEXT)
    adapter = fill(PCAdapter(layers, delta=delta), generator)
    for attention in adapter.attentions():
        # The numbers of a unit vector are small: without this nobody would see whom it shows.
        attention.feat_to_q.weight.data.mul_(20)
    config = PoseBranchConfig(
        model_channels=64,
        channel_mult=(1, 2),
        num_res_blocks=1,
        hint_widths=(8, 8, 16, 16, 32, 32, 64),
    )
    branch = fill(PoseBranch(config), generator)
    for name, parameter in branch.input_hint_block.named_parameters():
        # Eight layers in a row: a pose would fade on its way through them.
        parameter.data.mul_(4 if name.endswith("weight") else 1)
    token = fill(IdentityToken(CONTEXT, reference_delta=0.1), generator)
    metadata = {"encoder": encoder, "base_model": "tiny-random"}
    save_adapter(path, DenseFaceAdapter(adapter, branch, token, metadata), dtype=torch.float32)
    return path


def write_analyzer(path: Path, seed: int = 2) -> Path:
    """An analyzer that sees a face in every image."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = TinyAnalyzer().eval()
        net.face.weight.data.zero_()
        net.face.bias.data.fill_(3.0)
    write_weights(path, net.state_dict(), {"encoder": ENCODER})
    return path


def write_sfsr(path: Path, seed: int = 5) -> Path:
    """An SFSR adapter with background hint, strong enough to matter in every output."""
    layout = CompoundLayout({ENCODER: 512}, tokens=4, width=CONTEXT, hidden=32)
    adapter = fill(SFSRAdapter(layout, BLOCKS, 64), torch.Generator().manual_seed(seed))
    adapter.save(path, {"base_model": "tiny-random"})
    return path


def write_world(folder: Path) -> Path:
    """Base, adapter and analyzer under the names that the pack looks for."""
    folder.mkdir(parents=True, exist_ok=True)
    write_base(folder / "tiny_base.safetensors")
    write_adapter(folder / "tiny_dense_face.safetensors")
    write_analyzer(folder / "tiny_analyzer.safetensors")
    return folder


def fill(module: Net, generator: torch.Generator) -> Net:
    """Random values of a size at which every layer matters, in every parameter."""
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        scale = 0.5 / max(1, parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.05
        centre = 1.0 if parameter.ndim == 1 and name.endswith("weight") else 0.0
        parameter.data.copy_(centre + scale * noise)
    return module

"""A small network of SDXL's shape, in the host and in diffusers, and FaceID files for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CONTEXT, POOLED, CLIP_STATE = 128, 16, 160
DEPTHS = (2, 3)
"""Transformers in a block: of the middle level, and of the lowest and the middle block."""
TIME = 6 * 256
"""Numbers of the sizes in SDXL's additional embedding."""


def small_layers() -> dict[str, int]:
    """Layer to width, in the files' order; spelled out here and not taken from the pack."""
    two, three = DEPTHS
    blocks = (
        *((f"input_blocks.{n}", two, 64) for n in (4, 5)),
        *((f"input_blocks.{n}", three, 128) for n in (7, 8)),
        *((f"output_blocks.{n}", three, 128) for n in (0, 1, 2)),
        *((f"output_blocks.{n}", two, 64) for n in (3, 4, 5)),
        ("middle_block", three, 128),
    )
    return {
        f"{block}.transformer_blocks.{i}": width for block, n, width in blocks for i in range(n)
    }


def host_model(seed: int = 3) -> Any:
    """MODEL of the host's own SDXL class, with random weights."""
    import comfy.model_base
    import comfy.model_patcher
    import comfy.supported_models

    two, three = DEPTHS
    config = comfy.supported_models.SDXL(
        {
            "image_size": 32,
            "in_channels": 4,
            "out_channels": 4,
            "model_channels": 32,
            "num_res_blocks": [2, 2, 2],
            "channel_mult": [1, 2, 4],
            "transformer_depth": [0, 0, two, two, three, three],
            "transformer_depth_middle": three,
            "transformer_depth_output": [0, 0, 0, two, two, two, three, three, three],
            "num_head_channels": 64,
            "context_dim": CONTEXT,
            "num_classes": "sequential",
            "adm_in_channels": POOLED + TIME,
            "use_linear_in_transformer": True,
            "use_spatial_transformer": True,
            "use_temporal_attention": False,
            "use_temporal_resblock": False,
            "legacy": False,
            "dtype": torch.float32,
        }
    )
    cpu, chance = torch.device("cpu"), torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        net = comfy.model_base.SDXL(config)
        for name, parameter in net.diffusion_model.named_parameters():
            if parameter.ndim > 1:
                size = parameter[0].numel() ** -0.5
                parameter.copy_(size * torch.randn(parameter.shape, generator=chance))
            else:  # of norms, which the host leaves without values
                parameter.fill_(1.0 if name.endswith(".weight") else 0.0)
    return comfy.model_patcher.ModelPatcher(net, load_device=cpu, offload_device=cpu)


def unet_sizes() -> dict[str, Any]:
    """Arguments of diffusers' public class for the same network."""
    two, three = DEPTHS
    cross = "CrossAttnDownBlock2D"
    return dict(
        block_out_channels=(32, 64, 128),
        down_block_types=("DownBlock2D", cross, cross),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, two, three),
        attention_head_dim=(1, 1, 2),  # heads
        cross_attention_dim=CONTEXT,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=POOLED + TIME,
    )


def diffusers_unet(model: Any) -> Any:
    """The same network and weights as diffusers' public class."""
    import comfy.utils
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel(**unet_sizes())
    names = comfy.utils.unet_to_diffusers(model.model.model_config.unet_config)
    weights = model.model.diffusion_model.state_dict()
    found = {
        theirs: weights[ours]
        for theirs, ours in names.items()
        if ours in weights and not theirs.startswith("class_embedding.")  # a second name
    }
    unet.load_state_dict(found)
    return unet.eval().requires_grad_(False)


def faceid_tensors(module: Any, kind: str, rank: int = 0, seed: int = 6) -> dict[str, Tensor]:
    """A file of a kind for the small network, in the sizes that the public classes fix."""
    kinds, layout = module("sfsr.ip_adapter.kinds"), module("sfsr.ip_adapter.layout")
    found = getattr(kinds, kind)
    clip = (CLIP_STATE, 4, 4 * CONTEXT) if found.needs_clip else (0, 0, 0)
    tokens = layout.PORTRAIT_TOKENS if kind == "PORTRAIT" else 4
    made = layout.IdentityLayout(found, small_target(module), 512, 1024, tokens, rank, *clip)
    shapes = module("sfsr.ip_adapter.expected").expected_shapes(made)
    chance = torch.Generator().manual_seed(seed)
    return {
        name: shape[-1] ** -0.5 * torch.randn(shape, generator=chance)
        for name, shape in shapes.items()
    }


def small_target(module: Any) -> Any:
    """The small network as a target."""
    return module("sfsr.ip_adapter.places").Target(small_layers(), CONTEXT)


def prompt(seed: int) -> Any:
    """CONDITIONING of a prompt: text and pooled text."""
    chance = torch.Generator().manual_seed(seed)
    text = torch.randn(1, 7, CONTEXT, generator=chance)
    return [[text, {"pooled_output": torch.randn(1, POOLED, generator=chance)}]]

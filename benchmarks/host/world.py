"""A UNet of Stable Diffusion 1.5's layout with random weights as a MODEL of ComfyUI.

Speed does not depend on the weights' values; they are scaled so that nothing overflows.
"""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...pipelines.layout import UNetLayout
from .published import (
    FLAME_NUMBERS,
    random_faceid,
    random_fineface,
    random_flame,
    random_reference_lora,
    target_of,
)

if TYPE_CHECKING:
    from ...dense_face.adapter import PCAdapter
    from ...dense_face.pose_branch import PoseBranch
    from ...nodes.sfsr.sockets import LoadedSFSR, SceneBackground
    from ...nodes.sockets import Expressions, LoadedAdapter, People
    from ...sfsr.ip_adapter.places import Target

CFG = 4.0
IDENTITY = 512
ENCODER = "ir-se50"


def start_host() -> bool:
    """Make ComfyUI importable, from COMFYUI_PATH or ~/ComfyUI; False if there is none."""
    path = Path(os.environ.get("COMFYUI_PATH") or Path.home() / "ComfyUI").expanduser()
    if not (path / "main.py").is_file():
        return False
    if str(path) not in sys.path:
        sys.path.insert(0, str(path))
    from comfy.cli_args import args

    # Before anything imports comfy.model_management, which reads it once.
    args.cpu = not torch.cuda.is_available()
    return True


@dataclass(frozen=True)
class Size:
    """The size of the network and the side of its latents."""

    layout: UNetLayout
    side: int
    tokens: int = 77

    def unet_config(self) -> dict[str, Any]:
        """The host's arguments for the UNet."""
        layout = self.layout
        depths = [layout.transformer_depth * attends for attends in layout.attention]
        blocks = layout.num_res_blocks
        return {
            "image_size": layout.image_size,
            "in_channels": layout.in_channels,
            "out_channels": layout.out_channels,
            "model_channels": layout.model_channels,
            "num_res_blocks": [blocks] * len(depths),
            "channel_mult": layout.channel_mult,
            "transformer_depth": [d for d in depths for _ in range(blocks)],
            "transformer_depth_output": [d for d in depths for _ in range(blocks + 1)],
            "transformer_depth_middle": layout.transformer_depth,
            "context_dim": layout.context_dim,
            "num_heads": layout.heads,
            "num_head_channels": -1,
            "use_linear_in_transformer": False,
            "use_spatial_transformer": True,
            "legacy": False,
            "adm_in_channels": None,
            "use_temporal_attention": False,
            "use_temporal_resblock": False,
        }


FULL = Size(UNetLayout(), 32)
SMALL = Size(UNetLayout(32, (1, 2), 1, (True, True), 4, 64), 16)
"""For a dry run."""


class World:
    """The objects that are compared, created on first access.

    Args:
        fill: Initialise the weights; without it nothing can be computed with them.
    """

    def __init__(self, size: Size, fill: bool = True) -> None:
        self.size = size
        self.fill = fill

    @cached_property
    def model(self) -> Any:
        """The bare MODEL."""
        import comfy.model_base
        import comfy.model_management as mm
        import comfy.model_patcher
        import comfy.supported_models

        config = comfy.supported_models.SD15(self.size.unet_config())
        supported = config.supported_inference_dtypes
        dtype = mm.unet_dtype(model_params=10**9, supported_dtypes=supported)
        config.set_inference_dtype(dtype, mm.unet_manual_cast(dtype, mm.get_torch_device()))
        net = comfy.model_base.BaseModel(config, device=mm.unet_offload_device())
        if self.fill:
            randomise(net.diffusion_model)
        devices = {"load_device": mm.get_torch_device(), "offload_device": mm.unet_offload_device()}
        return comfy.model_patcher.ModelPatcher(net, **devices)

    @cached_property
    def adapter(self) -> PCAdapter:
        """A PC-adapter in the release's unfused form."""
        from ...dense_face.adapter import PCAdapter
        from ...dense_face.attention_layers import layers_of_block

        layers = []
        for name, module in self.model.model.diffusion_model.named_modules():
            block, found, _ = name.partition(".1.transformer_blocks.0.attn2.to_k")
            if found:
                layers += layers_of_block(block, module.out_features, module.in_features)
        return randomise(PCAdapter(layers, id_dim=IDENTITY)).requires_grad_(False)

    @cached_property
    def loaded(self) -> LoadedAdapter:
        """The fused adapter in half precision, as in a converted file."""
        from dataclasses import replace

        from ...nodes.sockets import LoadedAdapter

        fused = self.adapter.fuse()
        half = {name: weight.half() for name, weight in fused.weights.items()}
        return LoadedAdapter("random", replace(fused, weights=half), None, ENCODER)

    @cached_property
    def sfsr(self) -> LoadedSFSR:
        """An SFSR adapter with four tokens per source and a background hint."""
        from ...nodes.sfsr.sockets import LoadedSFSR
        from ...sfsr.adapter import SFSRAdapter
        from ...sfsr.compound_inputs import CompoundLayout

        sizes = self.size.layout
        layout = CompoundLayout({ENCODER: IDENTITY}, width=sizes.context_dim)
        adapter = SFSRAdapter(layout, self.cross_attentions, sizes.model_channels)
        return LoadedSFSR("random", randomise(adapter).requires_grad_(False))

    @cached_property
    def cross_attentions(self) -> dict[str, int]:
        """Block to width of the UNet's cross-attentions."""
        layers = {}
        for name, module in self.model.model.diffusion_model.named_modules():
            block, found, _ = name.partition(".1.transformer_blocks.0.attn2.to_q")
            if found:
                layers[block] = module.out_features
        return layers

    @cached_property
    def target(self) -> Target:
        """The UNet as a target of published adapters."""
        return target_of(self.cross_attentions, self.size.layout.context_dim)

    @cached_property
    def faceid(self) -> LoadedSFSR:
        """IP-Adapter-FaceID with its LoRA."""
        return random_faceid(self.target)

    @cached_property
    def fineface(self) -> LoadedSFSR:
        """FineFace."""
        return random_fineface(self.target)

    def with_published(self, *, identity: bool = True) -> Any:
        """The MODEL with FineFace on it, and FaceID too with ``identity``."""
        from ...nodes.sfsr.apply import ApplySFSR

        numbers = (0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, False)
        more: dict[str, Any] = {"expression": self.expression}
        if not identity:
            return ApplySFSR.execute(self.model, self.fineface, *numbers, **more).result[0]
        more |= {"identity": self.measured, "expression_adapter": self.fineface}
        return ApplySFSR.execute(self.model, self.faceid, *numbers, **more).result[0]

    @cached_property
    def flame(self) -> LoadedSFSR:
        """Arc2Face's expression adapter."""
        return random_flame(self.target)

    def with_flame(self) -> Any:
        """The MODEL with Arc2Face's expression adapter on it."""
        from ...nodes.sfsr.apply import ApplySFSR
        from ...nodes.sockets import Expressions
        from ...sfsr.arc2face.flame import flame_expression

        face = Expressions((flame_expression(torch.full((FLAME_NUMBERS,), 0.1)),))
        numbers = (0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, False)
        return ApplySFSR.execute(self.model, self.flame, *numbers, expression=face).result[0]

    def with_reference(self) -> Any:
        """The MODEL with Arc2Face's reference adapter; the reference is as large as the image."""
        from ...nodes.host.sfsr.reference import apply_reference, reference_bank
        from ...sfsr.arc2face.reference_lora import STRENGTH

        latent = torch.randn(1, 4, self.size.side, self.size.side)
        bank = reference_bank(self.model, self.target, latent, self.text[0])
        return apply_reference(self.model, bank, random_reference_lora(self.target), STRENGTH)

    @cached_property
    def scene(self) -> SceneBackground:
        """A scene with a face in the middle."""
        from ...nodes.sfsr.sockets import SceneBackground

        side = self.size.side
        mask = torch.zeros(1, 1, 8 * side, 8 * side)
        mask[..., 2 * side : 6 * side, 2 * side : 6 * side] = 1
        return SceneBackground(mask, torch.randn(1, 4, side, side), "mask first")

    def with_sfsr(self, *, scene: bool = False) -> Any:
        """The MODEL with Apply SFSR, identity and expression."""
        from ...nodes.sfsr.apply import ApplySFSR

        numbers = (0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, False)
        background = self.scene if scene else None
        more = {"identity": self.people, "expression": self.expression, "background": background}
        return ApplySFSR.execute(self.model, self.sfsr, *numbers, **more).result[0]

    @cached_property
    def expression(self) -> Expressions:
        """A smile."""
        from ...nodes.sockets import Expressions
        from ...sfsr.words import expression_of_word

        return Expressions((expression_of_word("joy"),))

    @cached_property
    def people(self) -> People:
        """One person."""
        from ...faces.identity import Identity
        from ...nodes.sockets import People

        return People((Identity(nn.functional.normalize(torch.randn(IDENTITY), dim=0), ENCODER),))

    @cached_property
    def measured(self) -> People:
        """The same person as InsightFace's recogniser would measure them."""
        from dataclasses import replace

        from ...faces.encoders.names import W600K_R50
        from ...nodes.sockets import People

        return People(tuple(replace(one, encoder=W600K_R50) for one in self.people.identities))

    @cached_property
    def text(self) -> tuple[Any, Any]:
        """Positive and negative conditioning."""
        shape = (1, self.size.tokens, self.size.layout.context_dim)
        return [[torch.randn(shape), {}]], [[torch.randn(shape), {}]]

    @cached_property
    def pose_image(self) -> Tensor:
        """Pose image, 8 pixels per latent cell."""
        from ...dense_face.pose_image import pose_image

        image = pose_image(20.0, 5.0, 0.0, size=8 * self.size.side)
        return torch.from_numpy(image).float()[None] / 255


def with_control(conds: tuple[Any, Any], control: Any, image: Tensor) -> tuple[Any, Any]:
    """Both conditionings with a control net, applied by the host's node."""
    host_nodes: Any = importlib.import_module("nodes")
    apply = host_nodes.ControlNetApplyAdvanced().apply_controlnet
    return apply(*conds, control, image, 1.0, 0.0, 1.0)


def guider(model: Any, conds: tuple[Any, Any]) -> Any:
    """A guider of the host with classifier-free guidance."""
    import comfy.samplers

    made = comfy.samplers.CFGGuider(model)
    made.set_conds(*conds)
    made.set_cfg(CFG)
    return made


def random_pose_branch(size: Size) -> PoseBranch:
    """A pose branch for the UNet, with random weights."""
    from ...dense_face.pose_branch import PoseBranch, PoseBranchConfig

    layout = size.layout
    config = PoseBranchConfig(layout.model_channels, layout.channel_mult, layout.num_res_blocks)
    return randomise(PoseBranch(config))


def randomise(module: Any) -> Any:
    """Initialise all parameters; the host leaves them uninitialised."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1:
                bound = parameter[0].numel() ** -0.5
                parameter.uniform_(-bound, bound)
            else:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
    return module

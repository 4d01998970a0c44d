"""The variants whose steps are timed, as host guiders at CFG 4 (both halves in one batch)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch

from .world import Size, World, guider, random_pose_branch, randomise, with_control

BARE = "bare UNet"
WEIGHTS = "+ adapter, in the weights"
RUNTIME = "+ adapter, at run time"
POSE = "+ pose branch"
BOTH = "+ adapter (weights) + pose branch"
BOTH_RUNTIME = "+ adapter (run time) + pose branch"
CONTROLNET = "core ControlNet of the SD1.5 layout"
FEW = "IP-Adapter-like, 4 tokens"
MANY = "IP-Adapter-like, 16 tokens"
HEAD = "+ annotation head, reading"
IDLE = "+ annotation head, idle"
SFSR = "+ SFSR adapter, 8 tokens"
SFSR_SCENE = "+ SFSR adapter, 8 tokens, and scene"
PUBLISHED = "+ FaceID, 4 tokens and LoRA, and FineFace"
FINEFACE = "+ FineFace"
FLAME = "+ Arc2Face's expression adapter"
REFERENCE = "+ Arc2Face's reference adapter"
AUTHORS = "the authors' way: adapter + pose branch"

TARGETS = {
    WEIGHTS: 1.01,
    RUNTIME: 1.08,
    BOTH: 1.10,
    HEAD: 1.03,
    IDLE: 1.01,
    SFSR: 1.05,
    PUBLISHED: 1.03,
    FINEFACE: 1.005,
    FLAME: 1.02,
}
"""Targets, as multiples of the bare step; an idle head costs nothing, within 1 %."""
COUNTED = (REFERENCE,)
"""Variants whose arithmetic is counted beside the time."""
BLENDED_TIME, BLENDED_MEMORY = 0.70, 0.5
"""A step of blended generation, relative to the authors' way."""


class Variants:
    """Name -> guider, created on first access."""

    def __init__(self, size: Size) -> None:
        self.world = World(size)
        self.makers: dict[str, Callable[[], tuple[Any, tuple[Any, Any]]]] = {
            BARE: lambda: (self.world.model, self.world.text),
            WEIGHTS: lambda: (self._adapted("weights"), self.world.text),
            RUNTIME: lambda: (self._adapted("runtime"), self.world.text),
            POSE: lambda: (self.world.model, self._posed),
            BOTH: lambda: (self._adapted("weights"), self._posed),
            BOTH_RUNTIME: lambda: (self._adapted("runtime"), self._posed),
            CONTROLNET: lambda: (self.world.model, self._with(self._controlnet)),
            FEW: lambda: (self._tokens(4), self.world.text),
            MANY: lambda: (self._tokens(16), self.world.text),
            HEAD: lambda: (self._captured(reads=True), self.world.text),
            IDLE: lambda: (self._captured(reads=False), self.world.text),
            SFSR: lambda: (self.world.with_sfsr(), self.world.text),
            SFSR_SCENE: lambda: (self.world.with_sfsr(scene=True), self.world.text),
            PUBLISHED: lambda: (self.world.with_published(), self.world.text),
            FINEFACE: lambda: (self.world.with_published(identity=False), self.world.text),
            FLAME: lambda: (self.world.with_flame(), self._person),
            REFERENCE: lambda: (self.world.with_reference(), self._person),
            AUTHORS: self._authors,
        }
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            with torch.inference_mode():
                self._made[name] = guider(*self.makers[name]())
        return self._made[name]

    def _adapted(self, mode: str) -> Any:
        from ...nodes.dense_face.adapter import ApplyAdapter

        world = self.world
        arguments = (world.model, world.loaded, world.people, 1.0, 0.0, 1.0, mode)
        return ApplyAdapter.execute(*arguments).result[0]

    def _captured(self, *, reads: bool) -> Any:
        """The model with a full-size head that reads every step, or none."""
        from comfy.patcher_extension import WrappersMP

        from ...dense_face.annotation.head import AnnotationHead, HeadConfig
        from ...nodes.host.dense_face.annotation import KEY, FeatureCapture, Window, stage_modules
        from ...nodes.host.memory import managed

        modules, widths = stage_modules(self.world.model, "benchmark")
        head = managed(AnnotationHead(HeadConfig(widths)))
        window = Window(0.0, float("inf"), mean=True) if reads else Window(1.0, 0.0, mean=True)
        model = self.world.model.clone()
        model.add_wrapper_with_key(
            WrappersMP.DIFFUSION_MODEL, KEY, FeatureCapture(modules, head, window, None)
        )
        model.set_additional_models(KEY, [head])
        return model

    def _tokens(self, count: int) -> Any:
        from .rivals import with_extra_tokens

        return with_extra_tokens(self.world.model, self.world.adapter, count)

    def _authors(self) -> tuple[Any, tuple[Any, Any]]:
        from .rivals import authors_model, authors_pose

        world = self.world
        model = authors_model(world.model, world.adapter, world.people.vectors)
        return model, self._with(authors_pose(self._pose))

    def _with(self, control: Any) -> tuple[Any, Any]:
        return with_control(self.world.text, control, self.world.pose_image)

    @cached_property
    def _person(self) -> tuple[Any, Any]:
        """The prompts, as if Encode Arc2Face Identity had made them."""
        from ...nodes.host.sfsr.arc2face_checks import mark_prompt

        positive, negative = self.world.text
        return mark_prompt(positive), negative

    @cached_property
    def _posed(self) -> tuple[Any, Any]:
        return self._with(self._pose)

    @cached_property
    def _pose(self) -> Any:
        from ...nodes.host.dense_face.control import pose_control

        return pose_control(random_pose_branch(self.world.size).state_dict())

    @cached_property
    def _controlnet(self) -> Any:
        import comfy.cldm.cldm
        import comfy.controlnet
        import comfy.model_management as mm
        import comfy.ops

        config = self.world.size.unet_config()
        net = comfy.cldm.cldm.ControlNet(
            hint_channels=3, operations=comfy.ops.disable_weight_init, **config
        )
        randomise(net.requires_grad_(False).eval())
        return comfy.controlnet.ControlNet(net, load_device=mm.get_torch_device())

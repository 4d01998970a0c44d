"""The whole workflow in one node, for a first try: it expands into the nodes that do the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io
from torch import Tensor

from ...faces.angles import ANGLE_LIMITS
from ..analysis.identity import ONE_PERSON
from ..analysis.masks import HEAD
from ..dense_face.pose import drawn
from ..host.folders import BUNDLED
from ..inputs import ANGLES, YAW, angle, between, output
from ..sockets import HeadPoses

if TYPE_CHECKING:
    from comfy_execution.graph_utils import GraphBuilder
SIDE = 128
STEPS, GUIDANCE = 20, 3.0
MARGIN, FEATHER = 0.12, 4.0


class QuickPortrait(io.ComfyNode):
    """Reference portrait + prompt + angles -> a new image of the person."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_QuickPortrait",
            display_name="Quick Portrait (Tiny World)",
            category="face/demo",
            description="Draws a new image of the person in a reference portrait, in the bundled "
            "tiny world. Three nodes are enough: Tiny-World Portrait, this one, Preview Image. The "
            "workflow 01 First portrait shows the nodes it expands into.",
            search_aliases=[
                "easy",
                "start here",
                "all in one",
                "demo",
                "dense-face",
                "headshot",
                "avatar",
                "first image",
            ],
            enable_expand=True,
            inputs=[
                io.Image.Input("reference", tooltip="Portraits of one tiny-world person."),
                io.String.Input(
                    "text",
                    multiline=True,
                    default="a close-up photo of *, smiling, on a blue plain background",
                    tooltip="The prompt; * stands for the person.",
                ),
                *(
                    angle(name, 25.0 if name == YAW else 0.0, limit)
                    for name, limit in zip(ANGLES, ANGLE_LIMITS, strict=True)
                ),
                io.Int.Input(
                    "seed",
                    **between(0, 2**63 - 1, default=0),
                    control_after_generate=io.ControlAfterGenerate.fixed,
                    tooltip="Seed of the initial noise.",
                ),
                io.Image.Input(
                    "scene",
                    optional=True,
                    tooltip="An image whose head is replaced and whose rest is kept. Without it "
                    "the whole image comes from the prompt.",
                ),
            ],
            outputs=[
                output(io.Image, "image", "The new image."),
            ],
        )

    @classmethod
    def execute(
        cls,
        reference: Tensor,
        text: str,
        yaw: float,
        pitch: float,
        roll: float,
        seed: int,
        scene: Tensor | None = None,
    ) -> io.NodeOutput:
        from comfy_execution.graph_utils import GraphBuilder

        graph = GraphBuilder()
        scene = None if scene is None else _fitted(graph, scene)
        world = graph.node("DenseFace_LoadTinyWorld")
        files = graph.node("DenseFace_LoadAdapter", adapter_name=BUNDLED)
        analyzer = graph.node("DenseFace_LoadTinyAnalyzer").out(0)
        identity = graph.node(
            "DenseFace_EncodeIdentity",
            analyzer=analyzer,
            image=reference,
            pictures_show=ONE_PERSON,
        ).out(0)
        person = {"adapter": files.out(0), "identity": identity}
        prompt = graph.node("DenseFace_EncodePrompt", clip=world.out(1), text=text, **person)
        negative = graph.node("CLIPTextEncode", clip=world.out(1), text="").out(0)
        posed = graph.node(
            "ControlNetApplyAdvanced",
            positive=prompt.out(0),
            negative=negative,
            control_net=files.out(1),
            # Not by Head Pose from Angles, which would show the axes in this node.
            image=drawn(HeadPoses(((yaw, pitch, roll),)), SIDE),
            strength=1.0,
            start_percent=0.0,
            end_percent=1.0,
        )
        model = graph.node(
            "DenseFace_ApplyAdapter",
            model=world.out(0),
            weight=1.0,
            start_percent=0.0,
            end_percent=1.0,
            mode="auto",
            **person,
        ).out(0)
        mask = None if scene is None else _head(graph, analyzer, scene)
        latents = graph.node(
            "KSampler",
            model=model,
            positive=posed.out(0),
            negative=negative,  # without the pose: guidance then strengthens it
            latent_image=_start(graph, world.out(2), scene, mask),
            seed=seed,
            steps=STEPS,
            cfg=GUIDANCE,
            sampler_name="euler",
            scheduler="ddim_uniform",
            denoise=1.0,
        ).out(0)
        image = graph.node("VAEDecode", vae=world.out(2), samples=latents).out(0)
        if mask is not None:
            image = graph.node(
                "DenseFace_Composite", scene=scene, generated=image, mask=mask, feather=FEATHER
            ).out(0)
        graph.node("PreviewImage", images=image)
        return io.NodeOutput(image, expand=graph.finalize())


def _fitted(graph: GraphBuilder, scene: Tensor) -> Any:
    """The scene at the tiny world's own size."""
    if scene.shape[1:3] == (SIDE, SIDE):
        return scene
    sizes = {"width": SIDE, "height": SIDE, "crop": "center", "upscale_method": "area"}
    return graph.node("ImageScale", image=scene, **sizes).out(0)


def _head(graph: GraphBuilder, analyzer: Any, scene: Any) -> Any:
    return graph.node(
        "DenseFace_FaceMask",
        analyzer=analyzer,
        image=scene,
        region=HEAD,
        grow=MARGIN,
        feather=0.0,
    ).out(0)


def _start(graph: GraphBuilder, vae: Any, scene: Any, mask: Any) -> Any:
    """The initial latent: empty, or the scene with its noise mask."""
    if scene is None:
        return graph.node("EmptyLatentImage", width=SIDE, height=SIDE, batch_size=1).out(0)
    encoded = graph.node("VAEEncode", pixels=scene, vae=vae).out(0)
    return graph.node("SetLatentNoiseMask", samples=encoded, mask=mask).out(0)

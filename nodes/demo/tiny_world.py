"""The bundled tiny world: a small model and rendered people, to try everything in seconds."""

from __future__ import annotations

from comfy_api.latest import io

from ...demo.bundled import ANALYZER_FILE, BASE_FILE, EVALUATOR_FILE, WEIGHTS
from ...faces.angles import ANGLE_LIMITS
from ..host.folders import file_mark
from ..images import channels_last, preview_image
from ..inputs import ANGLES, angle, between, output
from ..sockets import AnalyzerSocket, HeadPoses, LoadedAnalyzer, PoseSocket

CATEGORY = "face/demo"
MAX_NUMBER = 2**20 - 1
"""Of people and scenes: each kind has this many held-out seeds (``demo.seeds``)."""


class LoadTinyWorld(io.ComfyNode):
    """The bundled base model as MODEL, CLIP and VAE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_LoadTinyWorld",
            display_name="Load Tiny World",
            category=CATEGORY,
            description="A demonstration model with Stable Diffusion's architecture, trained only "
            "on rendered heads: 128 px, a few megabytes, seconds on a CPU. For real images use "
            "your own Stable Diffusion 1.5 checkpoint.",
            search_aliases=["demo model", "tiny model", "toy checkpoint"],
            inputs=[],
            outputs=[
                output(io.Model, "model", "Draws 128 px images of heads."),
                output(io.Clip, "clip", "Knows about 200 words; the help lists them."),
                output(io.Vae, "vae", "Its latents are 8 times smaller than the image."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls) -> str:
        return file_mark(WEIGHTS / BASE_FILE)

    @classmethod
    def execute(cls) -> io.NodeOutput:
        from ..host.tiny.tiny_sd import load_tiny_sd

        return io.NodeOutput(*load_tiny_sd(WEIGHTS / BASE_FILE))


class LoadTinyAnalyzer(io.ComfyNode):
    """The bundled face analyzer."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_LoadTinyAnalyzer",
            display_name="Load Tiny-World Analyzer",
            category=CATEGORY,
            description="Analyses heads of the tiny world: identity, pose, expression, face parts. "
            "It does not work on photographs.",
            search_aliases=["face analysis", "face encoder", "demo analyzer"],
            inputs=[],
            outputs=[
                output(
                    AnalyzerSocket,
                    "analyzer",
                    "For Encode Identity, Face Mask and Head Pose from Image.",
                )
            ],
        )

    @classmethod
    def fingerprint_inputs(cls) -> str:
        return file_mark(WEIGHTS / ANALYZER_FILE)

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(load_bundled_analyzer())


def load_bundled_analyzer() -> LoadedAnalyzer:
    """The tiny world's analyzer; raises ModelFileError when its file is missing or corrupt."""
    from ..host.tiny.analyzer import load_analyzer

    patcher, encoder = load_analyzer(WEIGHTS / ANALYZER_FILE)
    return LoadedAnalyzer(patcher, encoder)


class LoadTinyEvaluator(io.ComfyNode):
    """The bundled evaluator: a recogniser that conditions nothing, for grading."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_LoadTinyJudge",
            display_name="Load Tiny-World Evaluator",
            category=CATEGORY,
            description="A second, independently trained recogniser of the tiny world's people. It "
            "conditions no image, so it can grade them: for the independent input of Measure "
            "Likeness.",
            search_aliases=[
                "independent recogniser",
                "second face encoder",
                "grade likeness",
                "load tiny-world judge",
            ],
            inputs=[],
            outputs=[
                output(
                    AnalyzerSocket,
                    "analyzer",
                    "For Measure Likeness. No adapter accepts its identities.",
                )
            ],
        )

    @classmethod
    def fingerprint_inputs(cls) -> str:
        return file_mark(WEIGHTS / EVALUATOR_FILE)

    @classmethod
    def execute(cls) -> io.NodeOutput:
        from ..host.tiny.analyzer import load_evaluator

        recogniser = load_evaluator(WEIGHTS / EVALUATOR_FILE)
        finder = load_bundled_analyzer()
        return io.NodeOutput(LoadedAnalyzer(finder.patcher, recogniser.encoder, None, recogniser))


class TinyPortrait(io.ComfyNode):
    """A rendered portrait of a made-up person."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_TinyPortrait",
            display_name="Tiny-World Portrait",
            category=CATEGORY,
            description="Renders a made-up person of the tiny world, so that every example runs "
            "without images of your own.",
            search_aliases=[
                "sample portrait",
                "reference image",
                "render head",
                "headshot",
                "avatar",
                "example face",
                "random face",
            ],
            is_output_node=True,
            inputs=[
                io.Int.Input(
                    "person",
                    **between(0, MAX_NUMBER, default=2),
                    control_after_generate=io.ControlAfterGenerate.fixed,
                    tooltip="Number of the person; the same number always gives the same person.",
                ),
                io.Int.Input(
                    "scene",
                    **between(0, MAX_NUMBER, default=3),
                    tooltip="Number of the scene: lighting, background, clothes, expression.",
                ),
                *(
                    angle(name, limit=limit)
                    for name, limit in zip(ANGLES, ANGLE_LIMITS, strict=True)
                ),
                io.Int.Input(
                    "size",
                    **between(64, 1024, step=8, default=128),
                    tooltip="Side of the image in pixels; the tiny world's own size is 128.",
                ),
            ],
            outputs=[
                output(io.Image, "image", "The portrait."),
                output(
                    io.String, "caption", "A caption in words that the tiny text encoder knows."
                ),
                output(PoseSocket, "pose", "The three angles, for the pose nodes."),
            ],
        )

    @classmethod
    def execute(
        cls, person: int, scene: int, yaw: float, pitch: float, roll: float, size: int
    ) -> io.NodeOutput:
        from ...demo.expression_heads import portrait

        rendered, caption = portrait(person, scene, (yaw, pitch, roll), size)
        image = channels_last(rendered)
        poses = HeadPoses(((yaw, pitch, roll),))
        return io.NodeOutput(image, caption, poses, ui=preview_image(image, cls))

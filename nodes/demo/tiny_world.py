"""The bundled tiny world: a small model and rendered people, to try everything in seconds."""

from __future__ import annotations

from comfy_api.latest import io, ui

from ...demo.bundled import ANALYZER_FILE, BASE_FILE, WEIGHTS
from ...faces.angles import ANGLE_LIMITS
from ..host.folders import file_mark
from ..images import channels_last
from ..sockets import AnalyzerSocket, HeadPoses, LoadedAnalyzer, PoseSocket

CATEGORY = "face/demo"
MOST_NUMBER = 2**20 - 1
"""Of people and scenes: as many as there are held-out seeds of a kind (``demo.seeds``)."""


class LoadTinyWorld(io.ComfyNode):
    """The bundled base model as MODEL, CLIP and VAE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_LoadTinyWorld",
            display_name="Load Tiny World",
            category=CATEGORY,
            description="A demonstration model of Stable Diffusion's architecture that knows only "
            "rendered heads: 128 px, a few megabytes, seconds on a CPU. For real images use your "
            "own Stable Diffusion 1.5 checkpoint.",
            search_aliases=["demo model", "tiny model", "toy checkpoint"],
            inputs=[],
            outputs=[
                io.Model.Output(
                    "model", display_name="model", tooltip="Draws 128 px images of heads."
                ),
                io.Clip.Output(
                    "clip", display_name="clip", tooltip="Knows about 200 words; see the help."
                ),
                io.Vae.Output("vae", display_name="vae", tooltip="Eight times smaller latents."),
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
            description="Measures heads of the tiny world: identity, pose, parts of the face. It "
            "does not understand photographs.",
            search_aliases=["face analysis", "face encoder", "demo analyzer"],
            inputs=[],
            outputs=[
                AnalyzerSocket.Output(
                    "analyzer",
                    display_name="analyzer",
                    tooltip="For Encode Identity, Face Mask and Head Pose from Image.",
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
    """The tiny world's analyzer; raises ModelFileError when its file is missing or altered."""
    from ..host.tiny.analyzer import load_analyzer

    patcher, encoder = load_analyzer(WEIGHTS / ANALYZER_FILE)
    return LoadedAnalyzer(patcher, encoder)


class TinyPortrait(io.ComfyNode):
    """A rendered portrait of a made-up person."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        yaw, pitch, roll = ANGLE_LIMITS
        return io.Schema(
            node_id="DenseFace_TinyPortrait",
            display_name="Tiny-World Portrait",
            category=CATEGORY,
            description="Renders a person of the tiny world, so that every example runs without a "
            "image of your own. Nobody real is shown.",
            search_aliases=["sample portrait", "reference image", "render head"],
            inputs=[
                io.Int.Input(
                    "person",
                    default=2,
                    min=0,
                    max=MOST_NUMBER,
                    control_after_generate=True,
                    tooltip="Number of the person: the same number is always the same person.",
                ),
                io.Int.Input(
                    "scene",
                    default=3,
                    min=0,
                    max=MOST_NUMBER,
                    tooltip="Number of the scene: light, background, clothes, expression.",
                ),
                io.Float.Input(
                    "yaw",
                    default=0.0,
                    min=-yaw,
                    max=yaw,
                    step=0.5,
                    tooltip="Degrees; above 0 turns the nose to the left of the image.",
                ),
                io.Float.Input(
                    "pitch",
                    default=0.0,
                    min=-pitch,
                    max=pitch,
                    step=0.5,
                    tooltip="Degrees; above 0 lifts the nose.",
                ),
                io.Float.Input(
                    "roll",
                    default=0.0,
                    min=-roll,
                    max=roll,
                    step=0.5,
                    tooltip="Degrees; above 0 turns the head clockwise as you see it.",
                ),
                io.Int.Input(
                    "size",
                    default=128,
                    min=64,
                    max=1024,
                    step=8,
                    tooltip="Side in pixels; the tiny world itself works at 128.",
                ),
            ],
            outputs=[
                io.Image.Output("image", display_name="image", tooltip="The portrait."),
                io.String.Output(
                    "caption",
                    display_name="caption",
                    tooltip="The portrait in words that the tiny text encoder knows.",
                ),
                PoseSocket.Output("pose", display_name="pose", tooltip="The angles above."),
            ],
        )

    @classmethod
    def execute(
        cls, person: int, scene: int, yaw: float, pitch: float, roll: float, size: int
    ) -> io.NodeOutput:
        from ...demo.portrait import portrait

        rendered, caption = portrait(person, scene, (yaw, pitch, roll), size)
        image = channels_last(rendered)
        poses = HeadPoses(((yaw, pitch, roll),))
        return io.NodeOutput(image, caption, poses, ui=ui.PreviewImage(image, cls=cls))

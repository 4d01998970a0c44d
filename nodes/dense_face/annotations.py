"""Depth, face parts and landmarks out of the model itself: of an image, or while sampling."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ...demo.bundled import ANNOTATION_FILE, WEIGHTS
from ...errors import InputError
from ..host.folders import BUNDLED, file_mark, full_path, list_files
from ..images import channels_first
from ..sockets import AnnotationHeadSocket, AnnotationsSocket, ImageAnnotations, LoadedHead

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = "dense_face"
CATEGORY = "face/dense_face"
TINY_HEAD = WEIGHTS / ANNOTATION_FILE
LAST, MEAN = "last step", "mean of all steps"
HEAD_TIP = "From Load Annotation Head; made for the same kind of model."
ANNOTATIONS_TIP = "For Annotation Images, Part Mask and Save Annotations."


def head_path(name: str) -> Path:
    """The file behind an entry of the list of heads."""
    return TINY_HEAD if name == BUNDLED else full_path(FOLDER, name, "annotation head")


class LoadAnnotationHead(io.ComfyNode):
    """File -> annotation head."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_LoadAnnotationHead",
            display_name="Load Annotation Head",
            category=CATEGORY,
            description="Loads the small network that reads depth, face parts and landmarks out "
            "of the features of a Stable Diffusion UNet, so that no detector is needed.",
            search_aliases=["depth", "segmentation", "landmarks", "dense annotation", "face parts"],
            inputs=[
                io.Combo.Input(
                    "head_name",
                    options=list_files(FOLDER, bundled=True),
                    tooltip="A file in models/dense_face, or the one that comes with the pack for "
                    "its own tiny world of rendered heads.",
                )
            ],
            outputs=[
                AnnotationHeadSocket.Output(
                    "head",
                    display_name="head",
                    tooltip="For Annotate Image and Sample with Annotations.",
                )
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, head_name: str) -> str:
        return file_mark(head_path(head_name))

    @classmethod
    def execute(cls, head_name: str) -> io.NodeOutput:
        from ..host.dense_face.annotation import load_head

        return io.NodeOutput(LoadedHead(head_name, load_head(head_path(head_name))))


class AnnotateImage(io.ComfyNode):
    """IMAGE -> its annotations, by one pass of the model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_AnnotatePicture",
            display_name="Annotate Image",
            category=CATEGORY,
            description="Reads depth, face parts and landmarks of finished images: encodes them, "
            "adds a little noise, runs the model once and reads its features.",
            search_aliases=["depth from image", "face parsing", "landmarks from image"],
            inputs=[
                io.Model.Input("model", tooltip="The base model that the head was made for."),
                io.Vae.Input("vae", tooltip="Of the same base model."),
                io.Conditioning.Input(
                    "positive", tooltip="What the images show; an empty prompt will do."
                ),
                AnnotationHeadSocket.Input("head", tooltip=HEAD_TIP),
                io.Image.Input("image", tooltip="One face an image; sides in multiples of 8 px."),
                io.Int.Input(
                    "timestep",
                    default=1,
                    min=0,
                    max=999,
                    tooltip="How much noise is added: 0 none, 999 nothing but noise. A little "
                    "makes the model look at shapes.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**64 - 1,
                    control_after_generate=True,
                    tooltip="Of the noise that is added.",
                ),
            ],
            outputs=[
                AnnotationsSocket.Output(
                    "annotations", display_name="annotations", tooltip=ANNOTATIONS_TIP
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        vae: Any,
        positive: Any,
        head: LoadedHead,
        image: Tensor,
        timestep: int,
        seed: int,
    ) -> io.NodeOutput:
        from ..host.dense_face.annotation import annotate_latent

        where = "Annotate Image"
        images = channels_first(image, where)
        height, width = images.shape[-2:]
        if height % 8 or width % 8:
            raise InputError(
                f"the image has {width}x{height} px",
                where=where,
                fix="Scale or crop it to sides that are multiples of 8",
            )
        latent = vae.encode(images.movedim(1, -1))
        seen = annotate_latent(model, positive, latent, head.patcher, timestep, seed, where)
        return io.NodeOutput(ImageAnnotations(seen, (width, height)))


class SampleAnnotated(io.ComfyNode):
    """GUIDER and SAMPLER -> LATENT, and what the model saw on the way."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_SampleAnnotated",
            display_name="Sample with Annotations",
            category=CATEGORY,
            description="As the core SamplerCustomAdvanced, to the last bit; beside the latent it "
            "gives depth, face parts and landmarks that the head read from the model's features "
            "while it sampled. No detector, no second pass.",
            search_aliases=["sampler", "depth while sampling", "mask while sampling"],
            inputs=[
                io.Noise.Input("noise", tooltip="From RandomNoise."),
                io.Guider.Input(
                    "guider",
                    tooltip="From CFGGuider, BasicGuider or another one of a Stable "
                    "Diffusion 1.x model.",
                ),
                io.Sampler.Input("sampler", tooltip="Any."),
                io.Sigmas.Input("sigmas", tooltip="Any."),
                io.Latent.Input("latent_image", tooltip="To start from, with or without a mask."),
                AnnotationHeadSocket.Input("head", tooltip=HEAD_TIP),
                io.Float.Input(
                    "start_percent",
                    default=0.6,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Share of the denoising from which on steps are read.",
                ),
                io.Float.Input(
                    "end_percent",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Share of the denoising up to which steps are read.",
                ),
                io.Combo.Input(
                    "take",
                    options=[LAST, MEAN],
                    default=LAST,
                    tooltip="last step: only the last step of the range is read, which costs next "
                    "to nothing. mean of all steps: every step of the range.",
                ),
            ],
            outputs=[
                io.Latent.Output("output", display_name="output", tooltip="The result."),
                io.Latent.Output(
                    "denoised_output",
                    display_name="denoised_output",
                    tooltip="The clean latent that the last step predicted.",
                ),
                AnnotationsSocket.Output(
                    "annotations", display_name="annotations", tooltip=ANNOTATIONS_TIP
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        noise: Any,
        guider: Any,
        sampler: Any,
        sigmas: Tensor,
        latent_image: dict[str, Any],
        head: LoadedHead,
        start_percent: float,
        end_percent: float,
        take: str,
    ) -> io.NodeOutput:
        from comfy_extras.nodes_custom_sampler import SamplerCustomAdvanced

        from ..host.dense_face.annotation import sample_annotated

        def run(listening: Any) -> tuple[Any, ...]:
            done = SamplerCustomAdvanced.execute(noise, listening, sampler, sigmas, latent_image)
            return done.result

        height, width = latent_image["samples"].shape[-2:]
        levels = (start_percent, end_percent, take == MEAN)
        size, where = (height, width), "Sample with Annotations"
        (output, denoised), seen = sample_annotated(
            guider, head.patcher, run, sigmas, size, levels, where
        )
        shown = ImageAnnotations(seen, (8 * width, 8 * height))
        return io.NodeOutput(output, denoised, shown)

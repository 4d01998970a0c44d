"""Depth, face parts and landmarks from the model's features: of an image, or while sampling."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io
from torch import Tensor

from ...demo.bundled import ANNOTATION_FILE, WEIGHTS
from ...errors import InputError
from ..host.folders import BUNDLED, file_mark, full_path, list_files
from ..host.missing_files import found
from ..images import channels_first
from ..inputs import between, choice, output
from ..sockets import AnnotationHeadSocket, AnnotationsSocket, ImageAnnotations, LoadedHead

if TYPE_CHECKING:
    from ...dense_face.annotation.annotations import Annotations

FOLDER = "dense_face"
CATEGORY = "face/dense_face"
TINY_HEAD = WEIGHTS / ANNOTATION_FILE
LAST, MEAN = "last step", "mean of all steps"
HEAD_TIP = "From Load Annotation Head; trained for the same base model."
ANNOTATIONS_TIP = "For Annotation Images, Part Mask and Save Annotations."


def head_path(name: str) -> Path:
    """The file of an entry in the list of heads; raises ModelFileError."""
    return TINY_HEAD if name == BUNDLED else full_path(FOLDER, name, "annotation head")


class LoadAnnotationHead(io.ComfyNode):
    """File -> annotation head."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_LoadAnnotationHead",
            display_name="Load Annotation Head",
            category=CATEGORY,
            description="Loads the small network that predicts depth, face parts and landmarks "
            "from the features of a Stable Diffusion UNet, without a face detector.",
            search_aliases=["depth", "segmentation", "landmarks", "dense annotation", "face parts"],
            inputs=[
                io.Combo.Input(
                    "head_name",
                    options=list_files(FOLDER, bundled=True),
                    tooltip="A file in models/dense_face, or the bundled one for the tiny world.",
                )
            ],
            outputs=[
                output(
                    AnnotationHeadSocket,
                    "head",
                    "For Annotate Image, Sample with Annotations and Joint Guider with "
                    "Predicted Mask.",
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, head_name: str | None = None) -> bool | str:
        return found(head_path, head_name)

    @classmethod
    def fingerprint_inputs(cls, head_name: str) -> str:
        return file_mark(head_path(head_name))

    @classmethod
    def execute(cls, head_name: str) -> io.NodeOutput:
        from ..host.dense_face.annotation import load_head

        return io.NodeOutput(LoadedHead(head_name, load_head(head_path(head_name))))


class AnnotateImage(io.ComfyNode):
    """IMAGE -> its annotations, by two forward passes of the model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_AnnotatePicture",
            display_name="Annotate Image",
            category=CATEGORY,
            description="Predicts depth, face parts and landmarks of existing images: encodes "
            "each and its mirror image, adds a little noise, runs the model once on each and "
            "averages what it reads from the features.",
            search_aliases=[
                "depth from image",
                "face parsing",
                "landmarks from image",
                "annotate picture",
                "depth map",
            ],
            inputs=[
                io.Model.Input("model", tooltip="The base model that the head was trained for."),
                io.Vae.Input("vae", tooltip="The VAE of the same base model."),
                io.Conditioning.Input(
                    "positive", tooltip="A description of the images; an empty prompt works too."
                ),
                AnnotationHeadSocket.Input("head", tooltip=HEAD_TIP),
                io.Image.Input("image", tooltip="One face per image; sides in multiples of 8 px."),
                io.Int.Input(
                    "timestep",
                    **between(0, 999, default=1),
                    tooltip="Diffusion timestep of the added noise, 0 to 999: 0 hardly any, 999 "
                    "pure noise.",
                ),
                io.Int.Input(
                    "seed",
                    **between(0, 2**64 - 1, default=0),
                    control_after_generate=io.ControlAfterGenerate.fixed,
                    tooltip="Seed of the added noise.",
                ),
            ],
            outputs=[output(AnnotationsSocket, "annotations", ANNOTATIONS_TIP)],
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
        from ...dense_face.annotation.annotations import mean_annotations, mirrored
        from ..host.dense_face.annotation import annotate_latent
        from ..host.execution import steps
        from ..host.finite import check_finite

        where, step = "Annotate Image", steps(4)
        images = channels_first(image, where)
        height, width = images.shape[-2:]
        if height % 8 or width % 8:
            raise InputError(
                f"the image has {width}x{height} px",
                where=where,
                fix="Scale or crop it to sides that are multiples of 8",
            )

        def annotated(some: Tensor) -> Annotations:
            latent = vae.encode(some.movedim(1, -1))
            check_finite(latent, "the VAE encoded the image as", where)
            step()
            seen = annotate_latent(model, positive, latent, head.patcher, timestep, seed, where)
            step()
            return seen

        both = [annotated(images), mirrored(annotated(images.flip(-1)))]
        return io.NodeOutput(ImageAnnotations(mean_annotations(both), (width, height)))


class SampleAnnotated(io.ComfyNode):
    """GUIDER and SAMPLER -> LATENT, and annotations read during sampling."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_SampleAnnotated",
            display_name="Sample with Annotations",
            category=CATEGORY,
            description="Samples exactly like the core SamplerCustomAdvanced, and also gives "
            "depth, face parts and landmarks, predicted from the model's features during sampling. "
            "No detector, no second pass.",
            search_aliases=["sampler", "depth while sampling", "mask while sampling"],
            inputs=[
                io.Noise.Input("noise", tooltip="From RandomNoise."),
                io.Guider.Input(
                    "guider",
                    tooltip="From CFG Guider, Basic Guider or another guider of a Stable "
                    "Diffusion 1.x model.",
                ),
                io.Sampler.Input("sampler", tooltip="Any sampler, as from KSamplerSelect."),
                io.Sigmas.Input("sigmas", tooltip="Any schedule, as from BasicScheduler."),
                io.Latent.Input(
                    "latent_image", tooltip="The initial latent, with or without a noise mask."
                ),
                AnnotationHeadSocket.Input("head", tooltip=HEAD_TIP),
                io.Float.Input(
                    "start_percent",
                    **between(0.0, 1.0, step=0.01, default=0.6),
                    tooltip="Fraction of the denoising after which steps are read.",
                ),
                io.Float.Input(
                    "end_percent",
                    **between(0.0, 1.0, step=0.01, default=1.0),
                    tooltip="Fraction of the denoising up to which steps are read.",
                ),
                choice(
                    "take",
                    [LAST, MEAN],
                    "last step: reads only the last step of the range, at almost no cost. "
                    "mean of all steps: averages over every step of the range.",
                ),
            ],
            outputs=[
                output(io.Latent, "output", "The sampled latent."),
                output(
                    io.Latent, "denoised_output", "The clean latent predicted in the last step."
                ),
                output(AnnotationsSocket, "annotations", ANNOTATIONS_TIP),
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
        from ..host.finite import check_finite

        def run(listening: Any) -> tuple[Any, ...]:
            done = SamplerCustomAdvanced.execute(noise, listening, sampler, sigmas, latent_image)
            return done.result

        height, width = latent_image["samples"].shape[-2:]
        levels = (start_percent, end_percent, take == MEAN)
        size, where = (height, width), "Sample with Annotations"
        (output, denoised), seen = sample_annotated(
            guider, head.patcher, run, sigmas, size, levels, where
        )
        check_finite(output["samples"], "the sampling ended in", where)
        shown = ImageAnnotations(seen, (8 * width, 8 * height))
        return io.NodeOutput(output, denoised, shown)

"""Training a face adapter in the graph, and saving one."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui
from torch import Tensor

from ...errors import InputError
from ..host.folders import TRAINED_FOLDER, new_file, usable_name
from ..images import as_rgb, preview_image
from ..inputs import ANALYZER_TIP, between, choice, output
from ..sockets import AdapterSocket, AnalyzerSocket, LoadedAdapter, LoadedAnalyzer
from .adapter import CATEGORY

TRAIN, SAVE = "Train Face Adapter", "Save Dense-Face Adapter"
LossMap = io.Custom("LOSS_MAP")
"""The host's type, for its Plot Loss Graph."""
_CELL = 8
"""Pixels of an image that one cell of a latent stands for."""


class TrainAdapter(io.ComfyNode):
    """Photos + MODEL, CLIP, VAE -> adapter."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_TrainAdapter",
            display_name=TRAIN,
            category=CATEGORY,
            description="Trains an adapter and its identity token on a few photos, for the "
            "connected model: a new one, or an adapter that you give. The model itself stays as "
            "it is. For many photos use denseface train.",
            search_aliases=[
                "train lora",
                "dreambooth",
                "fine-tune",
                "finetune face",
                "textual inversion",
                "train identity",
                "custom face",
                "teach face",
            ],
            is_input_list=True,
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="A Stable Diffusion 1.x model in fp16, bf16 or fp32. A LoRA on it is "
                    "trained with; attention patches are not.",
                ),
                io.Clip.Input("clip", tooltip="Of the same checkpoint."),
                io.Vae.Input("vae", tooltip="Of the same checkpoint."),
                AnalyzerSocket.Input("analyzer", tooltip=ANALYZER_TIP),
                io.Image.Input(
                    "image",
                    tooltip="Photos of one person, five or more in different light and pose; "
                    "several people are told apart. A batch, or a list from Load Image "
                    "(from Folder).",
                ),
                io.String.Input(
                    "captions",
                    multiline=True,
                    default="a photo of *",
                    tooltip="What is on the photos, with * for the person: one line for all, or "
                    "one line for each.",
                ),
                io.Int.Input(
                    "batch_size",
                    **between(1, 64, default=1),
                    tooltip="Photos per pass. More needs more memory.",
                ),
                io.Int.Input(
                    "grad_accumulation_steps",
                    **between(1, 1024, default=1),
                    tooltip="Passes per step: as good as a larger batch, and no more memory.",
                ),
                io.Int.Input(
                    "steps",
                    **between(1, 100_000, default=300),
                    tooltip="Updates of the weights. Watch the samples: too many copy the photos.",
                ),
                io.Float.Input(
                    "learning_rate",
                    **between(0.0000001, 1.0, step=0.0000001, default=0.00005),
                    tooltip="How far one step goes. Lower it if the samples break; the tiny world "
                    "takes 0.001.",
                ),
                io.Int.Input(
                    "seed",
                    **between(0, 0xFFFFFFFFFFFFFFFF, default=0),
                    control_after_generate=io.ControlAfterGenerate.fixed,
                    tooltip="Of the noise and the choice of photos. The same inputs give the same "
                    "adapter.",
                ),
                choice(
                    "training_dtype",
                    ["bf16", "fp32"],
                    "Of the frozen model. bf16: half the memory. fp32: for processors, and for "
                    "cards older than NVIDIA's 30 series. What is trained is always fp32.",
                ),
                io.Boolean.Input(
                    "gradient_checkpointing",
                    default=True,
                    tooltip="Much less memory, a third slower; the adapter is the same.",
                ),
                io.Int.Input(
                    "size",
                    **between(64, 1024, step=_CELL, default=512),
                    tooltip="Side in pixels of the squares around the faces that are trained on: "
                    "the model's own size, 512, or 128 in the tiny world.",
                ),
                io.Int.Input(
                    "sample_every",
                    **between(0, 100_000, default=50),
                    tooltip="Steps between previews with an image by the adapter so far; 0: none.",
                ),
                AdapterSocket.Input(
                    "adapter",
                    optional=True,
                    tooltip="An adapter for this model to go on from, with its own face encoder "
                    "as analyzer. Without it a new one is trained.",
                ),
            ],
            outputs=[
                output(
                    AdapterSocket,
                    "adapter",
                    "For Apply Dense-Face Adapter, Encode Prompt with Identity and Save "
                    "Dense-Face Adapter.",
                ),
                output(LossMap, "loss_map", "The loss of each step, for Plot Loss Graph."),
                output(io.Int, "steps", "Steps that were trained."),
                output(io.String, "report", "Which photos were used, and what they lack."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        model: list[Any],
        clip: list[Any],
        vae: list[Any],
        analyzer: list[LoadedAnalyzer],
        image: list[Tensor],
        captions: list[str],
        batch_size: list[int],
        grad_accumulation_steps: list[int],
        steps: list[int],
        learning_rate: list[float],
        seed: list[int],
        training_dtype: list[str],
        gradient_checkpointing: list[bool],
        size: list[int],
        sample_every: list[int],
        adapter: list[LoadedAdapter] | None = None,
    ) -> io.NodeOutput:
        import torch

        from ..host.training.loop import TrainingSettings
        from ..host.training.network import trainable_layers
        from ..host.training.photos import training_photos
        from ..host.training.run import AdapterRun

        for what, part in (("MODEL", model[0]), ("CLIP", clip[0]), ("VAE", vae[0])):
            if part is None:
                raise InputError(
                    f"the checkpoint has no {what}",
                    where=TRAIN,
                    fix=f"Load a {what} by a node of its own and connect it",
                )
        if size[0] % _CELL:
            raise InputError(
                f"the size is {size[0]}", where=TRAIN, fix=f"Give a multiple of {_CELL}"
            )
        trainable_layers(model[0], clip[0], TRAIN)  # before the photos, which take longer
        images = [as_rgb(batch, TRAIN).movedim(1, -1) for batch in image]
        photos = training_photos(images, captions, analyzer[0], vae[0], size[0], TRAIN)
        run = AdapterRun(
            model[0],
            clip[0],
            vae[0],
            photos,
            adapter[0] if adapter else None,
            TrainingSettings(
                steps[0], batch_size[0], grad_accumulation_steps[0], learning_rate[0], seed[0]
            ),
            {"bf16": torch.bfloat16, "fp32": torch.float32}[training_dtype[0]],
            gradient_checkpointing[0],
            sample_every[0],
            TRAIN,
        )
        trained = run.train()
        loss_map = {"loss": trained.losses}
        shown = preview_image(trained.image, cls)
        return io.NodeOutput(
            trained.adapter, loss_map, len(trained.losses), photos.report, ui=shown
        )


class SaveAdapter(io.ComfyNode):
    """Adapter -> file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_SaveAdapter",
            display_name=SAVE,
            category=CATEGORY,
            description="Saves an adapter to a safetensors file in output/dense_face, where Load "
            "Dense-Face Adapter finds it. It knows the face it was trained on: keep it as "
            "carefully as the photos.",
            search_aliases=["save lora", "export adapter", "save face model"],
            inputs=[
                AdapterSocket.Input("adapter", tooltip="From Train Face Adapter."),
                io.String.Input(
                    "name",
                    default="adapter",
                    tooltip="Start of the file's name; a number is added, so nothing is "
                    "overwritten.",
                ),
            ],
            outputs=[output(io.String, "file", "The file's name in Load Dense-Face Adapter.")],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, name: str | None = None) -> bool | str:
        return usable_name(TRAINED_FOLDER, name, SAVE)

    @classmethod
    def execute(cls, adapter: LoadedAdapter, name: str) -> io.NodeOutput:
        from ..host.training.run import write_adapter

        path, file = new_file(TRAINED_FOLDER, name, SAVE)
        write_adapter(path, adapter, {})
        return io.NodeOutput(file, ui=ui.PreviewText(f"Saved as {file}"))

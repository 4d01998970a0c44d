"""Keep the look of a reference image, by Arc2Face's reference adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ...errors import InputError, ModelFileError
from ...published_files import BY_KEY
from ..host.folders import IP_ADAPTERS, IP_ENDINGS, file_mark, full_path, list_files, places
from ..host.missing_files import found
from ..images import channels_first, channels_last
from ..inputs import between, output
from .load_adapter import NONE_YET
from .sockets import CATEGORY

NAME = "Apply Arc2Face Reference"
FILE = BY_KEY["arc2face-reference"]
STRENGTH, MOST_STRENGTH = 0.8, 2.0
"""As in ``sfsr.arc2face.reference_lora``, which is imported when the node runs."""
SMALLEST, MOST_PIXELS = 64, 1024**2


def reference_names() -> list[str]:
    """Entries of the list of files, those of the published name first."""
    names = list_files(IP_ADAPTERS, suffixes=IP_ENDINGS)
    published = {file.name for file in FILE.files}
    return sorted(names, key=lambda name: Path(name).name not in published) or [NONE_YET]


def reference_path(name: str) -> Path:
    """The file behind an entry; raises ModelFileError."""
    if name == NONE_YET:
        raise ModelFileError(
            "there is no reference adapter yet",
            where=places(IP_ADAPTERS),
            fix=f"Put {FILE.where_to_get} there and reload the lists",
        )
    return full_path(IP_ADAPTERS, name, "reference adapter")


class ApplyArc2FaceReference(io.ComfyNode):
    """MODEL + file + image -> MODEL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SFSR_ApplyArc2FaceReference",
            display_name=NAME,
            category=CATEGORY,
            description="Keeps the look of a reference image in Arc2Face's images, to an extent: "
            "hair, clothes, light and background. The model runs once over the image, and its "
            "self-attention reads what it saw there. Before or after Apply SFSR.",
            search_aliases=[
                "arc2face",
                "reference only",
                "reference adapter",
                "reference attention",
                "keep appearance",
                "consistent background",
            ],
            inputs=[
                io.Model.Input(
                    "model", tooltip="Arc2Face's UNet (Load Diffusion Model), also with Apply SFSR."
                ),
                io.Combo.Input(
                    "adapter_name",
                    options=reference_names(),
                    tooltip="Arc2Face's ref_adapter/pytorch_lora_weights.safetensors, in "
                    "models/ipadapter.",
                ),
                io.Conditioning.Input(
                    "positive",
                    tooltip="From Encode Arc2Face Identity: the same that the sampler gets.",
                ),
                io.Vae.Input("vae", tooltip="The VAE of Stable Diffusion 1.5."),
                io.Image.Input(
                    "image",
                    tooltip="The reference image: a face cropped square at about 512 px (Crop "
                    "Face, padding 0). One for all images of the batch, or one for each.",
                ),
                io.Float.Input(
                    "lora_strength",
                    **between(0.0, MOST_STRENGTH, default=STRENGTH, step=0.05),
                    tooltip="Strength of the adapter's LoRA. 0.8 = as published; at 1 the "
                    "reference is copied and the expression suffers. At 0 the image is still "
                    "read; bypass the node to switch it off.",
                ),
            ],
            outputs=[
                output(io.Model, "model", "The model with the reference."),
                output(
                    io.String,
                    "report",
                    "The adapter and its licence, and the size of the reference; warns if the "
                    "model or the prompt is not Arc2Face's.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, adapter_name: str | None = None) -> bool | str:
        return found(reference_path, adapter_name)

    @classmethod
    def fingerprint_inputs(cls, adapter_name: str, **_: Any) -> str:
        try:
            return file_mark(reference_path(adapter_name))
        except ModelFileError:
            return ""  # the error is raised when the node runs

    @classmethod
    def execute(
        cls,
        model: Any,
        adapter_name: str,
        positive: Any,
        vae: Any,
        image: Tensor,
        lora_strength: float,
    ) -> io.NodeOutput:
        from ...sfsr.arc2face.reference_lora import load_reference_lora
        from ..host.execution import steps
        from ..host.sfsr.arc2face_checks import model_warnings, prompt_warnings, warn, watch_prompts
        from ..host.sfsr.reference import TARGET, apply_reference, reference_bank, require_model

        images, step = _checked(image), steps(2)
        lora = load_reference_lora(reference_path(adapter_name), TARGET)
        require_model(model, TARGET)
        latent = vae.encode(channels_last(images))
        step()
        bank = reference_bank(model, TARGET, latent, positive)
        step()
        patched = apply_reference(model, bank, lora, lora_strength)
        watch_prompts(patched, NAME, adapter=True)
        height, width = images.shape[-2:]
        lines = [
            f"Arc2Face's reference adapter ({adapter_name}), licence: {FILE.licence}",
            f"reference: {len(images)} of {width}x{height} px",
            *model_warnings(model, "Arc2Face's reference adapter"),
            *prompt_warnings(options for _, options in positive),
        ]
        warn(NAME, lines)
        return io.NodeOutput(patched, "\n".join(lines))


def _checked(image: Tensor) -> Tensor:
    """[B, 3, H, W]; raises InputError."""
    images = channels_first(image, NAME)
    height, width = images.shape[-2:]
    if min(height, width) < SMALLEST or height * width > MOST_PIXELS:
        raise InputError(
            f"the reference image has {width}x{height} px",
            where=NAME,
            fix="Crop the face to about 512x512 px with Crop Face",
        )
    return images

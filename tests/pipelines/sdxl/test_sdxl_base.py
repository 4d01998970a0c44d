"""SDXL from one file draws what diffusers' own pipeline draws with the same networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_dense_face.errors import FacePackError
from comfyui_dense_face.pipelines.layout import VAELayout
from comfyui_dense_face.pipelines.real.base_file import base_file
from comfyui_dense_face.pipelines.real.pipeline import RealInputs, RealPipeline
from comfyui_dense_face.pipelines.real.samplers import scheduler_of
from comfyui_dense_face.pipelines.sampling import seeded_noise
from comfyui_dense_face.pipelines.sdxl.conditions import sdxl_conditions
from comfyui_dense_face.pipelines.sdxl.load import load_sdxl
from comfyui_dense_face.pipelines.sdxl.sizes import (
    text_2_config,
    text_config,
    unet_config,
    vae_layout,
)
from comfyui_dense_face.pipelines.single_file import load_checkpoint, tokenizer_for
from comfyui_dense_face.pipelines.source_attention import layers_of
from comfyui_dense_face.sfsr.ip_adapter.places import SDXL, in_file_order
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from small_sdxl import small_layers
from small_sdxl_file import FIRST, Networks, checkpoint, full_networks, write_small_sdxl
from torch import Tensor
from transformers import CLIPTokenizer

CLOSE = 1e-4
PROMPT, NEGATIVE, SIZE, SEED = "a red coat", "blurry, dark", 128, 7
UNET = "model.diffusion_model."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sdxl")


@pytest.fixture(scope="module")
def parts(folder: Path) -> Networks:
    return write_small_sdxl(folder)


@pytest.fixture(scope="module")
def theirs(parts: Networks, folder: Path) -> Any:
    first, second = (CLIPTokenizer.from_pretrained(folder / "tokenizer") for _ in range(2))
    for tokenizer in (first, second):
        tokenizer.model_max_length = 77
    second.pad_token = "!"  # noqa: S105 (CLIP's token 0)
    return StableDiffusionXLPipeline(
        parts.vae, parts.text_encoder, parts.text_encoder_2, first, second, parts.unet,
        scheduler_of("ddim", 1), add_watermarker=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def pipeline(parts: Networks, folder: Path) -> RealPipeline:
    base = load_sdxl(folder / "sdxl.safetensors")
    return RealPipeline(base, tokenizer_for(base, folder / "tokenizer"))


def test_both_text_encoders(theirs: Any, pipeline: RealPipeline) -> None:
    with torch.no_grad():
        wanted = theirs.encode_prompt(PROMPT, negative_prompt=NEGATIVE)
    base: Any = pipeline.base
    found = sdxl_conditions(base, pipeline.tokenize([NEGATIVE, PROMPT]), SIZE)
    contexts, pooled = torch.cat([wanted[1], wanted[0]]), torch.cat([wanted[3], wanted[2]])
    assert (found.contexts - contexts).abs().max() < CLOSE
    assert (found.pooled - pooled).abs().max() < CLOSE
    assert (contexts[0] - contexts[1]).abs().max() > 100 * CLOSE
    assert found.time_ids.tolist() == 2 * [[SIZE, SIZE, 0, 0, SIZE, SIZE]]


@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_a_whole_image(theirs: Any, pipeline: RealPipeline, guidance: float) -> None:
    theirs.set_progress_bar_config(disable=True)
    wanted: Tensor = theirs(
        PROMPT,
        negative_prompt=NEGATIVE,
        height=SIZE,
        width=SIZE,
        num_inference_steps=3,
        guidance_scale=guidance,
        latents=seeded_noise([SEED], (4, SIZE // 8, SIZE // 8)),
        output_type="pt",
    ).images
    inputs = RealInputs(PROMPT, NEGATIVE)
    found = pipeline.draw(inputs, SEED, size=SIZE, steps=3, guidance=guidance)
    assert (found - wanted).abs().max() < CLOSE
    assert wanted.std() > 0.01
    other = pipeline.draw(RealInputs("sea"), SEED, size=SIZE, steps=3, guidance=guidance)
    assert (found - other).abs().max() > 10 * CLOSE


def test_the_file_says_what_adapters_have_to_fit(parts: Networks, folder: Path) -> None:
    found = base_file(folder / "sdxl.safetensors")
    assert found.sdxl and dict(found.target.layers) == small_layers() and found.target.width == 128


def test_sizes_of_the_published_network() -> None:
    """Read from names and shapes alone; the layers are those of the published adapters."""
    tensors = checkpoint(full_networks())
    with torch.device("meta"):
        unet = UNet2DConditionModel(**unet_config(tensors))
    assert in_file_order(layers_of(unet)) == SDXL.layers
    assert unet.config["cross_attention_dim"] == SDXL.width
    assert sum(each.numel() for each in unet.parameters()) == 2_567_463_684
    assert vae_layout(tensors) == VAELayout()
    first, second = text_config(tensors), text_2_config(tensors)
    assert (first["hidden_size"], first["num_hidden_layers"]) == (768, 12)
    assert (second["hidden_size"], second["num_hidden_layers"]) == (1280, 32)
    assert second["projection_dim"] == 1280 and second["num_attention_heads"] == 20


def test_a_ckpt(parts: Networks, folder: Path, tmp_path: Path) -> None:
    """As training frameworks write it."""
    tensors = load_file(folder / "sdxl.safetensors")
    torch.save({"state_dict": tensors}, tmp_path / "sdxl.ckpt")
    found = load_sdxl(tmp_path / "sdxl.ckpt")
    wanted = parts.unet.state_dict()
    assert all(torch.equal(t, wanted[name]) for name, t in found.unet.state_dict().items())


def changed(tensors: dict[str, Tensor], what: str) -> dict[str, Tensor]:
    first = f"{UNET}input_blocks.0.0.weight"
    block = f"{UNET}output_blocks.0.1.transformer_blocks"
    match what:
        case "v-prediction":
            return {**tensors, "v_pred": torch.zeros(0)}
        case "inpainting":
            return {**tensors, first: torch.zeros(32, 9, 3, 3)}
        case "more transformers":
            inside = {n: t.clone() for n, t in tensors.items() if n.startswith(f"{block}.2.")}
            return {**tensors, **{n.replace(".2.", ".3.", 1): t for n, t in inside.items()}}
        case "fewer transformers":
            return {n: t for n, t in tensors.items() if not n.startswith(f"{block}.2.")}
        case "no sizes":
            return {n: t for n, t in tensors.items() if "label_emb" not in n}
        case "no text":
            return {n: t for n, t in tensors.items() if not n.startswith(FIRST)}
        case "no autoencoder":
            return {n: t for n, t in tensors.items() if not n.startswith("first_stage_model.")}
    raise ValueError(what)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("v-prediction", "does not predict noise: it has the mark v_pred"),
        ("inpainting", "its UNet has 9 input channels"),
        ("more transformers", "its UNet also has .*output_blocks.0.1.transformer_blocks.3"),
        ("fewer transformers", "its UNet lacks .*output_blocks.0.1.transformer_blocks.2"),
        ("no sizes", "it lacks .*label_emb"),
        ("no text", "text encoders or autoencoder are incomplete"),
        ("no autoencoder", "text encoders or autoencoder are incomplete"),
    ],
)
def test_other_files_are_refused(
    parts: Networks, folder: Path, tmp_path: Path, what: str, message: str
) -> None:
    path = tmp_path / "other.safetensors"
    save_file(changed(load_file(folder / "sdxl.safetensors"), what), path)
    with pytest.raises(FacePackError, match=message):
        base_file(path).load()


def test_training_takes_stable_diffusion_15_only(parts: Networks, folder: Path) -> None:
    with pytest.raises(FacePackError, match=r"not a Stable Diffusion 1\.5 checkpoint: it is SDXL"):
        load_checkpoint(folder / "sdxl.safetensors")

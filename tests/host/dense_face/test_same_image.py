"""One seed gives one image in the host and on the command line (docs/architecture.md)."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from comfyui_dense_face.faces.angles import Angles
from comfyui_dense_face.faces.identity import Identity
from comfyui_dense_face.pipelines.tiny.dense_face import DenseFacePipeline
from in_host import Tiny
from torch import Tensor

AGREE = 1e-4
STEPS, GUIDANCE, SEED = 4, 3.0, 5
PROMPT = "a close-up photo of *, smiling, in a forest"
SCENE = "a close-up photo of a person with red hair, by a window"
ANGLES: Angles = (25.0, 5.0, -5.0)


@pytest.fixture(scope="module")
def pipeline(tiny: Tiny) -> DenseFacePipeline:
    return DenseFacePipeline.load(tiny.folder)


def who(tiny: Tiny) -> Identity:
    """The person of ``tiny.people()`` for our side."""
    return Identity(tiny.people().identities[0].vector, "tiny-world")


def sampled(tiny: Tiny, model: object, conds: tuple[object, object], **options: object) -> Tensor:
    """The host's KSampler with euler and ddim_uniform."""
    import comfy.sample

    latent = options.pop("latent", torch.zeros(1, 4, 16, 16))
    with torch.inference_mode():
        noise = comfy.sample.prepare_noise(latent, SEED)
        return comfy.sample.sample(
            model, noise, STEPS, GUIDANCE, "euler", "ddim_uniform", *conds, latent,
            seed=SEED, disable_pbar=True, **options,
        )  # fmt: skip


def decoded(tiny: Tiny, latents: Tensor) -> Tensor:
    with torch.inference_mode():
        return tiny.vae.decode(latents).movedim(-1, 1)


def face(tiny: Tiny) -> tuple[object, tuple[object, object]]:
    """MODEL and both CONDITIONINGs of face-generation mode."""
    nodes: Any = importlib.import_module("nodes")
    prompt = tiny.run("EncodePrompt", tiny.clip, tiny.adapter, PROMPT, tiny.people())
    image = tiny.run("PoseFromAngles", *ANGLES, 128)[1]
    apply = nodes.ControlNetApplyAdvanced().apply_controlnet
    negative = tiny.prompt("")
    posed, _ = apply(prompt, negative, tiny.control, image, 1.0, 0.0, 1.0)
    return tiny.apply(), (posed, negative)


def test_text_editing(tiny: Tiny, pipeline: DenseFacePipeline) -> None:
    host = decoded(tiny, sampled(tiny, tiny.model, (tiny.prompt(SCENE), tiny.prompt(""))))
    ours = pipeline.text_image(SCENE, SEED, steps=STEPS, guidance=GUIDANCE)
    assert (host - ours).abs().mean() < AGREE


def test_face_generation(tiny: Tiny, pipeline: DenseFacePipeline) -> None:
    host = decoded(tiny, sampled(tiny, *face(tiny)))
    ours = pipeline.face_image(who(tiny), PROMPT, ANGLES, SEED, steps=STEPS, guidance=GUIDANCE)
    assert (host - ours).abs().mean() < AGREE
    assert ours.std() > 0.01


def test_blending(tiny: Tiny, pipeline: DenseFacePipeline) -> None:
    """Scene encoded, soft noise mask, composite: as Quick Portrait and generate --scene do."""
    scene = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    scene = torch.nn.functional.interpolate(scene, (128, 128), mode="bilinear")
    mask = torch.zeros(1, 128, 128)
    mask[:, 30:101, 25:90] = 1  # not along the cells of the latent: the small mask is soft
    image = scene.movedim(1, -1)
    with torch.inference_mode():
        latent = tiny.vae.encode(image)
    drawn = sampled(tiny, *face(tiny), latent=latent, noise_mask=mask)
    generated = decoded(tiny, drawn).movedim(1, -1)
    host = tiny.run("Composite", image, generated, mask, 4.0).movedim(-1, 1)
    ours = pipeline.personalise(
        scene, who(tiny), PROMPT, ANGLES, SEED, mask, steps=STEPS, guidance=GUIDANCE
    )
    assert (generated.movedim(-1, 1) - ours.generated).abs().mean() < AGREE
    assert (host - ours.image).abs().mean() < AGREE


def test_quick_portrait_has_the_defaults_of_the_command_line(tiny: Tiny) -> None:
    from comfyui_dense_face.pipelines.tiny.scenes import FEATHER, GROW

    quick = tiny.module("nodes.demo.quick")
    assert (quick.MARGIN, quick.FEATHER) == (GROW, FEATHER)
    assert (quick.STEPS, quick.GUIDANCE) == (20, 3.0)

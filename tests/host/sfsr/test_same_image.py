"""One seed gives one image of SFSR in the host and on the command line."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from comfyui_dense_face.faces.identity import Identity
from comfyui_dense_face.pipelines.tiny.dense_face import DenseFacePipeline
from comfyui_dense_face.pipelines.tiny.sfsr import SFSRPipeline
from comfyui_dense_face.sfsr.adapter import SFSRAdapter
from comfyui_dense_face.sfsr.expression import from_values
from in_host import Tiny
from sfsr_in_host import apply, face_mask, random_adapter, scene

AGREE = 1e-4
STEPS, GUIDANCE, SEED = 4, 3.0, 5
PROMPT = "a close-up photo of a person in a forest"
ANGLES = (25.0, 5.0, -5.0)


def test_person_expression_scene_and_pose(tiny: Tiny) -> None:
    import comfy.sample

    nodes: Any = importlib.import_module("nodes")
    adapter = random_adapter(tiny)
    place, latent, _ = tiny.run("Background", scene(), face_mask(), tiny.vae, 0.0, "mask first")
    hint = tiny.run("PoseFromAngles", *ANGLES, 128)[1]
    negative = tiny.prompt("")
    posed, _ = nodes.ControlNetApplyAdvanced().apply_controlnet(
        tiny.prompt(PROMPT), negative, tiny.control, hint, 1.0, 0.0, 1.0
    )
    settings = {"expression_weight": 1.2, "expression_start_percent": 0.3, "balance": 0.2}
    model = apply(tiny, adapter, background=place, **settings)
    with torch.inference_mode():
        noise = comfy.sample.prepare_noise(latent["samples"], SEED)
        drawn = comfy.sample.sample(
            model, noise, STEPS, GUIDANCE, "euler", "ddim_uniform", posed, negative,
            latent["samples"], seed=SEED, disable_pbar=True, noise_mask=latent["noise_mask"],
        )  # fmt: skip
        host = tiny.vae.decode(drawn).movedim(-1, 1)

    ours = SFSRAdapter(adapter.adapter.layout, adapter.adapter.layers, 64)
    ours.load_state_dict(adapter.adapter.state_dict())
    pipeline = SFSRPipeline(DenseFacePipeline.load(tiny.folder), ours.requires_grad_(False))
    made = pipeline.express(
        scene().movedim(-1, 1),
        Identity(tiny.people().identities[0].vector, "tiny-world"),
        from_values({"jawOpen": 1.0}),
        PROMPT,
        SEED,
        angles=ANGLES,
        mask=face_mask(),
        balance=0.2,
        weights=(1.0, 1.2),
        starts=(0.0, 0.3),
        away=0.0,
        steps=STEPS,
        guidance=GUIDANCE,
    )
    assert (host - made.generated).abs().mean() < AGREE
    assert made.generated.std() > 0.01

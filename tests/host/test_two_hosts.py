"""One seed, two hosts: the nodes and the command line draw the same picture."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from in_host import Tiny
from torch import Tensor

SEED, STEPS, GUIDANCE = 11, 6, 3.0
PROMPT = "a close-up photo of *, smiling, on a blue plain background"
ANGLES = (25.0, -5.0, 4.0)
CLOSE = 1e-3


@pytest.fixture(scope="module")
def pipeline(tiny: Tiny) -> Any:
    from comfyui_dense_face.pipelines.dense_face import DenseFacePipeline

    return DenseFacePipeline.load(tiny.folder)


@pytest.fixture(scope="module")
def reference(tiny: Tiny) -> Tensor:
    return tiny.run("TinyPortrait", 3, 1, 0.0, 0.0, 0.0, 128)[0]


@pytest.fixture(scope="module")
def scene(tiny: Tiny) -> Tensor:
    return tiny.run("TinyPortrait", 5, 2, 10.0, 0.0, 0.0, 128)[0]


class Graph:
    """The steps of the workflow first_portrait, run one by one in this process."""

    def __init__(self, tiny: Tiny, reference: Tensor) -> None:
        self.tiny = tiny
        loaded = tiny.module("nodes.host.analyzer").load_analyzer
        patcher, encoder = loaded(tiny.folder / "tiny_analyzer.safetensors")
        self.analyzer = tiny.module("nodes.sockets").LoadedAnalyzer(patcher, encoder)
        people, _ = tiny.run("EncodeIdentity", self.analyzer, reference, "one person")
        self.model = tiny.apply(people=people)
        positive = tiny.run("EncodePrompt", tiny.clip, tiny.adapter, PROMPT, people)
        _, pose = tiny.run("PoseFromAngles", *ANGLES, 128)
        import nodes

        self.conds = nodes.ControlNetApplyAdvanced().apply_controlnet(
            positive, tiny.prompt(""), tiny.control, pose, 1.0, 0.0, 1.0
        )

    def draw(self, latent: Tensor, model: Any = None, conds: Any = None, **mask: Tensor) -> Tensor:
        """KSampler and VAEDecode."""
        import comfy.sample

        positive, negative = conds or self.conds
        with torch.inference_mode():
            noise = comfy.sample.prepare_noise(latent, SEED)
            made = comfy.sample.sample(
                model or self.model, noise, STEPS, GUIDANCE, "euler", "ddim_uniform", positive,
                negative, latent, seed=SEED, disable_pbar=True, **mask,
            )  # fmt: skip
            return self.tiny.vae.decode(made)

    def into(self, scene: Tensor, mask: Tensor) -> Tensor:
        """Noise mask, sampling, composite."""
        with torch.inference_mode():
            latent = self.tiny.vae.encode(scene)
        drawn = self.draw(latent, noise_mask=mask[:, None])
        return self.tiny.run("Composite", scene, drawn, mask, 4.0)


@pytest.fixture(scope="module")
def graph(tiny: Tiny, reference: Tensor) -> Graph:
    return Graph(tiny, reference)


def mean_difference(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs.movedim(1, -1)).abs().mean())


def test_text_editing_mode(tiny: Tiny, pipeline: Any, graph: Graph) -> None:
    text = "a close-up photo of a person, smiling"
    conds = tiny.prompt(text), tiny.prompt("")
    ours = graph.draw(torch.zeros(1, 4, 16, 16), tiny.model, conds)
    theirs = pipeline.text_picture(text, SEED, steps=STEPS, guidance=GUIDANCE)
    assert mean_difference(ours, theirs) < CLOSE


def test_face_generation_mode(pipeline: Any, graph: Graph, reference: Tensor) -> None:
    who = pipeline.identity(reference.movedim(-1, 1))
    theirs = pipeline.face_picture(who, PROMPT, ANGLES, SEED, steps=STEPS, guidance=GUIDANCE)
    ours = graph.draw(torch.zeros(1, 4, 16, 16))
    assert mean_difference(ours, theirs) < CLOSE


def test_blended_into_a_scene(
    pipeline: Any, graph: Graph, reference: Tensor, scene: Tensor
) -> None:
    """Under a mask with a soft edge: random weights see no head whose mask could be taken."""
    who = pipeline.identity(reference.movedim(-1, 1))
    row = torch.linspace(-1, 1, 128)
    mask = (3 - 4 * (row[:, None] ** 2 + row**2).sqrt()).clamp(0, 1)[None]
    made = pipeline.personalise(
        scene.movedim(-1, 1), who, PROMPT, ANGLES, SEED, mask, steps=STEPS, guidance=GUIDANCE
    )
    ours = graph.into(scene, mask)
    assert mean_difference(ours, made.picture) < CLOSE
    kept = mask[0] == 0
    assert torch.equal(ours[:, kept], scene[:, kept])


def test_mask_of_the_head(tiny: Tiny, pipeline: Any, graph: Graph, scene: Tensor) -> None:
    for net in (pipeline.analyzer, graph.analyzer.patcher.model):
        net.part_out[-1].bias.data[-1] = 0.05  # about the middle of what random weights say
    ours = tiny.run("FaceMask", graph.analyzer, scene, "head with hair", 0.12, 0.0)
    assert torch.allclose(ours, pipeline.scene_mask(scene.movedim(-1, 1)), atol=1e-6)

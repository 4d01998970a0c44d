"""Whole samplings on a pretended GPU: the numbers of the CPU, and no mixture of devices or dtypes.

The host's own memory management loads models there, wholly or in part; what it leaves on the CPU it
casts in use, and weight patches with it (``--lowvram``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest
import torch
from comfyui_dense_face.sfsr.ip_adapter.state_dict import flat_state_dict
from in_host import Tiny, difference
from pretended_card import CARD, CardTensor, pretended_card
from random_head import random_head
from random_published import reference_tensors, small_target
from sfsr_in_host import apply, background, expressions, face_mask, random_adapter
from sfsr_in_host import random_published as published
from torch import Tensor

CLOSE = 1e-5
HALF = torch.zeros(1, 128, 128)
HALF[:, :, :64] = 1


class Parts(NamedTuple):
    """What a graph loads for one run; conditionings and scenes are made on the CPU as ever."""

    model: Any
    adapter: Any
    control: Any
    head: Any


Scenario = Callable[[Tiny, Parts], Tensor]


def conds(tiny: Tiny, control: Any = None) -> tuple[Any, Any]:
    import nodes

    pair = tiny.prompt("a close-up photo of a person"), tiny.prompt("")
    if control is None:
        return pair
    image = tiny.run("PoseFromAngles", 30.0, 0.0, 0.0, 128)[1]
    return nodes.ControlNetApplyAdvanced().apply_controlnet(*pair, control, image, 1.0, 0.0, 1.0)


def drawn(tiny: Tiny, guider: Any, sampler: Any = None, batch: int = 2, mask: Any = None) -> Tensor:
    """What SamplerCustomAdvanced does, in two steps."""
    import comfy.samplers

    chance = torch.Generator().manual_seed(1)
    latent, noise = (torch.randn(batch, 4, 16, 16, generator=chance) for _ in range(2))
    sampler = sampler or comfy.samplers.sampler_object("euler")
    sigmas = torch.tensor([14.6, 2.0, 0.0])
    with torch.inference_mode():
        out = guider.sample(noise, latent, sampler, sigmas, mask, disable_pbar=True, seed=1)
        return out.cpu()


def guider(tiny: Tiny, model: Any, *pair: Any) -> Any:
    import comfy.samplers

    made = comfy.samplers.CFGGuider(model)
    made.set_conds(*(pair or conds(tiny)))
    made.set_cfg(3.0)
    return made


def adapted(**inputs: Any) -> Scenario:
    """Two people, and the pose branch."""

    def run(tiny: Tiny, parts: Parts) -> Tensor:
        model = tiny.apply(parts.model, tiny.people(2), adapter=parts.adapter, **inputs)
        return drawn(tiny, guider(tiny, model, *conds(tiny, parts.control)))

    return run


def joint(tiny: Tiny, parts: Parts) -> Tensor:
    face = tiny.apply(parts.model, adapter=parts.adapter, mode="weights")
    both = conds(tiny), conds(tiny, parts.control)
    return drawn(
        tiny, tiny.run("JointGuider", parts.model, *both[0], face, *both[1], HALF, 3.0, 2.0, 0.0,
                       1.0, 1.0)
    )  # fmt: skip


def predicted_joint(tiny: Tiny, parts: Parts) -> Tensor:
    face = tiny.apply(parts.model, adapter=parts.adapter, mode="runtime")
    return drawn(
        tiny, tiny.run("PredictedJointGuider", parts.model, *conds(tiny), face, *conds(tiny),
                       parts.head, 3.0, 2.0, 0.0, 1.0, 0.9, 0.1, 1.0)
    )  # fmt: skip


def annotated(tiny: Tiny, parts: Parts) -> Tensor:
    import comfy.samplers
    from comfy_extras.nodes_custom_sampler import Noise_RandomNoise

    latent = {"samples": torch.zeros(2, 4, 16, 16)}
    out, _, seen = tiny.run(
        "SampleAnnotated", Noise_RandomNoise(3), guider(tiny, parts.model),
        comfy.samplers.sampler_object("euler"), torch.tensor([14.6, 2.0, 0.0]), latent, parts.head,
        0.0, 1.0, "mean of all steps",
    )  # fmt: skip
    tiny.run("AnnotationImages", seen)
    return torch.cat([out["samples"].flatten(), seen.seen.depth.flatten()])


def annotated_image(tiny: Tiny, parts: Parts) -> Tensor:
    image = torch.rand(1, 128, 128, 3, generator=torch.Generator().manual_seed(1))
    prompt = tiny.prompt("a person")
    seen = tiny.run("AnnotateImage", parts.model, tiny.vae, prompt, parts.head, image, 20, 1)
    return seen.seen.landmarks


def blended(tiny: Tiny, parts: Parts) -> Tensor:
    sampler = tiny.run(
        "BlendedSampler", 1.0, "fresh in every step", "noised scene", "clean", "soft"
    )
    model = tiny.apply(parts.model, adapter=parts.adapter, mode="weights")
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 4:12, 4:12] = 1
    return drawn(tiny, guider(tiny, model), sampler, mask=mask)


def midpoint(tiny: Tiny, parts: Parts) -> Tensor:
    sampler = tiny.run("MidpointSampler", "half_t", 0.5, "euler")[0]
    return drawn(tiny, guider(tiny, parts.model), sampler)


def sfsr(tiny: Tiny, parts: Parts) -> Tensor:
    """Person, expression and scene beside Dense-Face, in a place, with guidance by source."""
    model = tiny.apply(parts.model, adapter=parts.adapter, mode="weights")
    more = {"mask": face_mask(), "background": background(tiny)[0], "identity_end_percent": 0.9}
    model = apply(tiny, random_adapter(tiny), model, tiny.people(2), **more)
    return drawn(tiny, tiny.run("SplitGuidance", model, *conds(tiny), 3.0, 2.0, 1.5))


def files(identity: str, expression: str) -> Scenario:
    """Published adapters: FaceID with its LoRA, FineFace, Arc2Face's."""

    def run(tiny: Tiny, parts: Parts) -> Tensor:
        flame = expression == "ARC2FACE_EXPRESSION"
        face = tiny.run("ExpressionFromFLAME", numbers="1 " * 50) if flame else expressions(tiny)
        people = tiny.people(2, "insightface/w600k_r50")
        model = apply(
            tiny, published(tiny, identity, rank=4), parts.model, people, expression=face,
            expression_adapter=published(tiny, expression),
        )  # fmt: skip
        return drawn(tiny, guider(tiny, model))

    return run


def reference(tiny: Tiny, parts: Parts) -> Tensor:
    ours, checks = (
        tiny.module(f"nodes.host.sfsr.{name}") for name in ("reference", "arc2face_checks")
    )
    target = small_target(tiny.module)
    tensors = flat_state_dict(reference_tensors(tiny.module), "a file")
    lora = tiny.module("sfsr.arc2face.reference_lora").reference_lora(tensors, target)
    positive = checks.mark_prompt(tiny.prompt("a person"))
    with torch.inference_mode():
        latent = tiny.vae.encode(
            torch.rand(1, 128, 128, 3, generator=torch.Generator().manual_seed(1))
        )
        bank = ours.reference_bank(parts.model, target, latent, positive)
        model = ours.apply_reference(parts.model, bank, lora, 0.8)
    return drawn(tiny, guider(tiny, model, positive, tiny.prompt("")))


SCENARIOS: Mapping[str, Scenario] = {
    "weights": adapted(mode="weights"),
    "runtime": adapted(mode="runtime"),
    "mask": adapted(mask=HALF),
    "range": adapted(end_percent=0.5),
    "joint guider": joint,
    "predicted joint guider": predicted_joint,
    "sample annotated": annotated,
    "annotate image": annotated_image,
    "blending": blended,
    "midpoint": midpoint,
    "SFSR": sfsr,
    "FaceID, FineFace": files("FACEID", "FINEFACE"),
    "FaceID, Arc2Face": files("FACEID", "ARC2FACE_EXPRESSION"),
    "reference": reference,
}


def run(tiny: Tiny, scenario: Scenario, dtype: torch.dtype, device: Any = None) -> Tensor:
    """A scenario on networks of its own."""
    model = tiny.recast(dtype, None)
    if device is not None:
        model.load_device = device
    adapter, control = tiny.load_adapter("tiny_dense_face")
    return scenario(tiny, Parts(model, adapter, control, random_head(tiny)))


@pytest.fixture(scope="module")
def on_the_cpu(tiny: Tiny) -> Callable[[str], Tensor]:
    known: dict[str, Tensor] = {}

    def find(name: str) -> Tensor:
        if name not in known:
            known[name] = run(tiny, SCENARIOS[name], torch.float32)
        return known[name]

    return find


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_loaded_in_part(tiny: Tiny, name: str) -> None:
    """Half of the weights stay on the CPU and are cast in use: float32, the CPU's own numbers."""
    import comfy.model_management as mm

    free = mm.minimum_inference_memory() + tiny.model.model_size() // 2
    places: set[bool] = set()

    def watched(tiny: Tiny, parts: Parts) -> Tensor:
        out = SCENARIOS[name](tiny, parts)
        weights = parts.model.model.diffusion_model.parameters()
        places.update(isinstance(weight, CardTensor) for weight in weights)
        return out

    expected = run(tiny, SCENARIOS[name], torch.float32)
    with pretended_card(free):
        found = run(tiny, watched, torch.float32, CARD)
    assert places == {True, False}
    assert difference(found, expected) < CLOSE


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SCENARIOS))
def test_loaded_completely(tiny: Tiny, name: str) -> None:
    expected = run(tiny, SCENARIOS[name], torch.float32)
    with pretended_card():
        found = run(tiny, SCENARIOS[name], torch.float32, CARD)
    assert difference(found, expected) < CLOSE


QUICK = {"weights", "mask", "predicted joint guider", "SFSR", "FaceID, FineFace", "reference"}
"""In float16 in ``make test``; they have all parts between them."""


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        pytest.param(dtype, name, marks=() if quick else pytest.mark.slow)
        for dtype in (torch.float16, torch.bfloat16)
        for name in SCENARIOS
        for quick in [dtype == torch.float16 and name in QUICK]
    ],
)
def test_halves(tiny: Tiny, name: str, dtype: torch.dtype, monkeypatch: Any) -> None:
    """Weights and calculations of the MODEL, and of the networks beside it."""
    import comfy.model_management as mm

    half = dtype == torch.float16
    monkeypatch.setattr(mm, "should_use_fp16", lambda *_, **__: half)
    monkeypatch.setattr(mm, "should_use_bf16", lambda *_, **__: not half)
    with pretended_card():
        found = run(tiny, SCENARIOS[name], dtype, CARD)
    assert bool(found.isfinite().all())


def test_a_mixture_is_noticed() -> None:
    with pretended_card():
        there = torch.zeros(2, 2, device=CARD)
        assert there.device == CARD and there.is_cuda and there.cpu().device.type == "cpu"
        assert torch.equal((there + 1).cpu(), torch.ones(2, 2))
        for mixed in (lambda: there + torch.ones(2), lambda: torch.cat([there, torch.ones(2, 2)])):
            with pytest.raises(RuntimeError, match="two devices"):
                mixed()
        with pytest.raises(RuntimeError):
            torch.mm(there.half(), there)

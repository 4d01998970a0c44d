"""Guidance split by source: the host's own where scales agree, else each source by its scale."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from in_host import Tiny, difference
from sfsr_in_host import apply, background, random_adapter, random_published
from torch import Tensor

CLOSE, VISIBLE = 1e-4, 1e-3


def conds(tiny: Tiny) -> tuple[Any, Any]:
    """A prompt with a pose, and a negative one."""
    import nodes

    positive, negative = tiny.prompt("a close-up photo of a person with red hair"), tiny.prompt("")
    image = tiny.run("PoseFromAngles", 30.0, 0.0, 0.0, 128)[1]
    add = nodes.ControlNetApplyAdvanced().apply_controlnet
    return add(positive, negative, tiny.control, image, 1.0, 0.0, 1.0)


def split(tiny: Tiny, model: Any, *scales: float) -> Any:
    return tiny.run("SplitGuidance", model, *conds(tiny), *scales)


def plain(tiny: Tiny, model: Any, cfg: float) -> Any:
    """The core CFG Guider."""
    import comfy.samplers

    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(*conds(tiny))
    guider.set_cfg(cfg)
    return guider


def draw(tiny: Tiny, guider: Any, steps: int = 3, batch: int = 1) -> Tensor:
    """What SamplerCustomAdvanced does."""
    import comfy.sample
    import comfy.samplers

    levels = tiny.model.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(levels, "normal", steps)
    latent = torch.zeros(batch, 4, 16, 16)
    with torch.inference_mode():
        noise = comfy.sample.prepare_noise(latent, 1)
        sampler = comfy.samplers.sampler_object("euler")
        return guider.sample(noise, latent, sampler, sigmas, disable_pbar=True, seed=1)


@pytest.fixture(scope="module")
def adapter(tiny: Tiny) -> Any:
    return random_adapter(tiny)


def test_equal_scales_are_the_usual_guidance(tiny: Tiny, adapter: Any) -> None:
    model = apply(tiny, adapter)
    assert torch.equal(
        draw(tiny, split(tiny, model, 2.0, 2.0, 2.0)), draw(tiny, plain(tiny, model, 2.0))
    )


@pytest.mark.parametrize("scene", [False, True], ids=["alone", "in a scene"])
def test_each_source_is_scaled_by_its_own_guidance(tiny: Tiny, adapter: Any, scene: bool) -> None:
    """Over several steps, against models that have fewer sources at a guidance of 1."""
    place = {"background": background(tiny)[0]} if scene else {}
    everything = apply(tiny, adapter, **place)
    fewer = apply(tiny, adapter, expression=None, **place)
    neither = apply(tiny, adapter, expression=None, identity_weight=0.0, **place)
    drawn = {
        scales: draw(tiny, split(tiny, everything, *scales), batch=2)
        for scales in ((1.0, 1.0, 0.0), (1.0, 0.0, 0.0), (3.0, 0.0, 0.0))
    }
    assert difference(drawn[1.0, 1.0, 0.0], draw(tiny, plain(tiny, fewer, 1.0), batch=2)) < CLOSE
    assert difference(drawn[1.0, 0.0, 0.0], draw(tiny, plain(tiny, neither, 1.0), batch=2)) < CLOSE
    assert difference(drawn[3.0, 0.0, 0.0], draw(tiny, plain(tiny, neither, 3.0), batch=2)) < CLOSE
    assert difference(drawn[1.0, 1.0, 0.0], drawn[1.0, 0.0, 0.0]) > VISIBLE


def test_scales_add_up(tiny: Tiny, adapter: Any) -> None:
    """In one step the image is the sum of the four predictions, each by its scale."""
    model = apply(tiny, adapter)
    nothing, text, who, all_of_it = (
        draw(tiny, split(tiny, model, *scales), steps=1)
        for scales in ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (1.0, 1.0, 0.0), (1.0, 1.0, 1.0))
    )
    expected = nothing + 3 * (text - nothing) + 2 * (who - text) + 0.5 * (all_of_it - who)
    assert difference(draw(tiny, split(tiny, model, 3.0, 2.0, 0.5), steps=1), expected) < CLOSE
    assert difference(all_of_it, who) > VISIBLE


def test_what_stands_for_an_absent_identity(tiny: Tiny) -> None:
    """IP-Adapter-FaceID has tokens of a zero identity; they are in the text prediction, too."""
    person = tiny.people(encoder="insightface/buffalo_l")
    model = apply(tiny, random_published(tiny), people=person, expression=None)
    usual = draw(tiny, plain(tiny, model, 2.0), steps=1)
    # Words of scale 1: nobody's tokens in both predictions must cancel out.
    nobody, words = (
        draw(tiny, split(tiny, model, scale, 0.0, 2.0), steps=1) for scale in (0.0, 1.0)
    )
    who = draw(tiny, split(tiny, model, 1.0, 1.0, 2.0), steps=1)
    assert difference(nobody + 2 * (who - nobody), usual) < CLOSE
    assert difference(words, who) > VISIBLE


def test_model_without_sources(tiny: Tiny) -> None:
    """Bypassed Apply SFSR: only the words' scale counts."""
    drawn = draw(tiny, split(tiny, tiny.model, 3.0, 1.0, 2.0))
    assert difference(drawn, draw(tiny, plain(tiny, tiny.model, 3.0))) < CLOSE


def test_functions_after_the_guidance_are_called(tiny: Tiny, adapter: Any) -> None:
    seen: list[float] = []

    def capture(inputs: dict[str, Any]) -> Tensor:
        seen.append(inputs["cond_scale"])
        return inputs["denoised"]

    model = apply(tiny, adapter)
    model.set_model_sampler_post_cfg_function(capture)
    draw(tiny, split(tiny, model, 1.0, 2.0, 3.0), steps=2)
    assert seen == [1.0, 1.0]

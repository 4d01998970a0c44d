"""The joint guider with the mask that the head predicts: exact at its ends, new in every step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from in_host import Tiny, difference
from random_head import random_head
from torch import Tensor

TEXT_CFG, FACE_CFG = 3.0, 2.0
TEXT, FACE = "a person with red hair", "a smiling person on a blue background"


def _conds(tiny: Tiny, text: str) -> tuple[Any, Any]:
    return tiny.prompt(text), tiny.prompt("")


def _single(model: Any, conds: tuple[Any, Any], cfg: float) -> Any:
    """The core guider of one mode."""
    import comfy.samplers

    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(*conds)
    guider.set_cfg(cfg)
    return guider


def _draw(tiny: Tiny, guider: Any, batch: int = 1) -> Tensor:
    import comfy.sample
    import comfy.samplers

    levels = tiny.model.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(levels, "normal", 3)
    latent = torch.zeros(batch, 4, 16, 16)
    euler = comfy.samplers.sampler_object("euler")
    with torch.inference_mode():
        noise = comfy.sample.prepare_noise(latent, 1)
        return guider.sample(noise, latent, euler, sigmas, disable_pbar=True, seed=1)


@pytest.fixture(scope="module")
def head(tiny: Tiny) -> Any:
    return random_head(tiny)


def _predicted(tiny: Tiny, head: Any, **changes: Any) -> Any:
    positive, negative = _conds(tiny, TEXT)
    face_positive, face_negative = _conds(tiny, FACE)
    inputs = {
        "model": tiny.model, "positive": positive, "negative": negative,
        "face_model": tiny.apply(mode="runtime"), "face_positive": face_positive,
        "face_negative": face_negative, "head": head, "cfg": TEXT_CFG, "face_cfg": FACE_CFG,
        "start_percent": 0.0, "end_percent": 1.0, "threshold": 0.0, "grow": 0.0, "feather": 0.0,
    }  # fmt: skip
    return tiny.run("PredictedJointGuider", **{**inputs, **changes})


def test_ends_are_the_single_modes(tiny: Tiny, head: Any) -> None:
    """A face everywhere is face-generation mode, a face nowhere is text-editing mode."""
    text = _draw(tiny, _single(tiny.model, _conds(tiny, TEXT), TEXT_CFG))
    face = _draw(tiny, _single(tiny.apply(mode="runtime"), _conds(tiny, FACE), FACE_CFG))
    assert difference(_draw(tiny, _predicted(tiny, head)), face) < 1e-4
    assert difference(_draw(tiny, _predicted(tiny, head, threshold=1.0)), text) < 1e-4
    empty = _predicted(tiny, head, start_percent=0.5, end_percent=0.5)
    assert torch.equal(_draw(tiny, empty), text)


def test_mask_comes_from_the_features(tiny: Tiny, head: Any) -> None:
    """In between, the image is neither of the two, repeatable, and independent of its batch."""
    guider = _predicted(tiny, head, threshold=0.9)
    drawn = _draw(tiny, guider)
    assert torch.equal(_draw(tiny, guider), drawn)
    for threshold in (0.0, 1.0):
        end = _draw(tiny, _predicted(tiny, head, threshold=threshold))
        assert difference(drawn, end) > 1e-3
    assert _draw(tiny, guider, batch=2).shape == (2, 4, 16, 16)
    assert guider.blend_mask.always is None and not guider.blend_mask._capture.read
    net = tiny.model.model.diffusion_model
    assert not any(module._forward_hooks for module in net.modules())


def test_heads_of_other_models_are_refused_at_once(tiny: Tiny) -> None:
    with pytest.raises(ValueError, match="this model has 128, 64"):
        _predicted(tiny, random_head(tiny, (64, 64)))

"""What links carry: refused by the input's name, or used as it was meant."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from in_host import Tiny, difference

NAN = float("nan")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"start_percent": NAN}, "'starts at' is nan"),
        ({"end_percent": 1.5}, "'ends at' is 1.5"),
        ({"weight": float("inf")}, "weight is inf"),
        ({"mode": "both"}, "mode is 'both'"),
        ({"mask": torch.zeros(1, 64, 0)}, "mask is empty"),
        ({"mask": torch.zeros(64)}, r"mask has the shape \[64\]"),
        ({"mask": torch.full((1, 8, 8), NAN)}, "values outside 0..1"),
        ({"mask": torch.full((1, 8, 8), -0.5)}, "values outside 0..1"),
    ],
)
def test_bad_links_are_named(tiny: Tiny, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=rf"{sentence}.*Apply Dense-Face Adapter.*\.$"):
        tiny.apply(**changes)


def test_computed_numbers_may_miss_their_range_by_a_digit(tiny: Tiny) -> None:
    exact = tiny.sample(tiny.apply(mode="weights"), steps=1)
    assert torch.equal(tiny.sample(tiny.apply(end_percent=1 + 1e-9), steps=1), exact)


@pytest.mark.parametrize("stretch", [1.0000001, 1.2])
def test_masks_beyond_their_ends_are_clamped(tiny: Tiny, stretch: float) -> None:
    """Blurred and resized masks overshoot a little."""
    mask = torch.zeros(1, 64, 64)
    mask[:, :, :32] = 1
    beyond = 0.5 + stretch * (mask - 0.5)
    found, right = (tiny.sample(tiny.apply(mask=each), steps=1) for each in (beyond, mask))
    assert difference(found, right) < 1e-6


def test_annotation_nodes_refuse_broken_latents(tiny: Tiny) -> None:
    latent = {"samples": torch.full((1, 4, 8, 8), NAN)}
    guider, row = object(), torch.tensor([1.0, 0.0])
    arguments = (object(), guider, object(), row, latent, object(), 0.0, 1.0, "last step")
    with pytest.raises(ValueError, match="'latent image' holds values that are not numbers"):
        tiny.run("SampleAnnotated", *arguments)


@pytest.mark.parametrize("mode", ["weights", "runtime"])
@pytest.mark.parametrize("value", [NAN, float("inf")])
def test_a_broken_adapter_is_no_black_image(tiny: Tiny, mode: str, value: float) -> None:
    fused = tiny.adapter.fused
    key = next(iter(fused.weights))
    broken = {**fused.weights, key: fused.weights[key] * value}
    adapter = dataclasses.replace(tiny.adapter, fused=dataclasses.replace(fused, weights=broken))
    with pytest.raises(ValueError, match=r"not numbers \(Apply Dense-Face Adapter\).*\.$"):
        tiny.sample(tiny.apply(adapter=adapter, mode=mode), steps=1)


def test_largest_seed(tiny: Tiny) -> None:
    import comfy.sample

    sampler = tiny.run("BlendedSampler", 1.0, "fresh in every step", "noise", "clean", "soft")
    noise, latent = torch.randn(1, 4, 8, 8), torch.zeros(1, 4, 8, 8)
    conds = tiny.prompt("a person"), tiny.prompt("")
    with torch.inference_mode():
        out = comfy.sample.sample_custom(
            tiny.model, noise, 1.0, sampler, torch.tensor([14.6, 1.0, 0.0]), *conds, latent,
            disable_pbar=True, seed=2**64 - 1,
        )  # fmt: skip
    assert bool(out.isfinite().all())


# ---- Composite Face ----------------------------------------------------------------------------


def test_composite_keeps_the_scenes_transparency(tiny: Tiny) -> None:
    scene, new = torch.rand(1, 32, 32, 4), torch.rand(2, 32, 32, 3)
    mask = torch.zeros(1, 32, 32)
    mask[:, 8:24, 8:24] = 1
    out = tiny.run("Composite", scene, new, mask, 0.0)
    assert out.shape == (2, 32, 32, 4)
    assert torch.equal(out[..., 3], scene[..., 3].expand(2, -1, -1))
    assert torch.equal(out[:, 0], scene[:, 0].expand(2, -1, -1))
    assert torch.equal(out[:, 16, 16, :3], new[:, 16, 16])


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ((2, 3, 1), "2 in scene, 3 in generated and 1 in mask"),
        ((3, 3, 2), "3 in scene, 3 in generated and 2 in mask"),
    ],
)
def test_composite_of_batches_that_do_not_fit(
    tiny: Tiny, counts: tuple[int, ...], sentence: str
) -> None:
    scenes, new, masks = counts
    images = torch.rand(scenes, 16, 16, 3), torch.rand(new, 16, 16, 3)
    with pytest.raises(ValueError, match=rf"{sentence}.*\.$"):
        tiny.run("Composite", *images, torch.ones(masks, 16, 16), 0.0)


def test_composite_of_one_scene_and_several_masks(tiny: Tiny) -> None:
    masks = torch.stack([torch.zeros(16, 16), torch.ones(16, 16)])
    scene, new = torch.rand(1, 16, 16, 3), torch.rand(1, 16, 16, 3)
    out = tiny.run("Composite", scene, new, masks, 0.0)
    assert torch.equal(out, torch.cat([scene, new]))

"""All ways to compute the adapter agree under the host's model patches, samplers and hooks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from in_host import Tiny, difference
from model_patches import MOVING, PATCHES, SCALING, compiled, hooked
from torch import Tensor

CLOSE = 5e-4
ENLARGED = {"zero SNR": 1e-3}
"""The first step from pure noise divides by almost nothing, which enlarges rounding by hundreds."""
VISIBLE = 1e-3
QUICK = ("FreeU_V2", "PAG", "SAG", "HyperTile", "context windows", "LoRA", "ModelMergeSimple")
FAST = ("euler", "dpmpp_2m", "dpmpp_2m_sde", "lcm", "uni_pc", "euler_cfg_pp")
WAYS: dict[str, dict[str, Any]] = {
    "weights": {"mode": "weights"},
    "runtime": {"mode": "runtime"},
    "mask": {"mask": torch.full((1, 64, 64), 1 - 2e-7)},
}
"""The same adapter: the mask is white to the last digit but one."""
REFUSED = {("mask", name) for name in MOVING}
REFUSED_AFTER = {("weights", name) for name in SCALING}


def sampled(tiny: Tiny, model: Any, *conds: Any, **changes: Any) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # some patches draw numbers of their own
        return tiny.sample(model, *conds, **{"batch": 3, **changes})


@pytest.fixture(autouse=True, scope="module")
def fresh_compiler() -> None:
    """The host drops guards on patches: code traced by other tests must not be found here."""
    torch._dynamo.reset()


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in PATCHES]
)
def test_all_ways_agree_under_each_patch(tiny: Tiny, name: str) -> None:
    """Whichever comes first, adapter or patch."""
    patch, people = PATCHES[name], tiny.people(3)
    base = sampled(tiny, patch(tiny.model))
    ways = {way: inputs for way, inputs in WAYS.items() if (way, name) not in REFUSED}
    for later in (False, True):
        found = {}
        for way, inputs in ways.items():
            if later and (way, name) in REFUSED_AFTER:
                continue
            if later:
                model = patch(tiny.apply(people=people, **inputs))
            else:
                model = tiny.apply(model=patch(tiny.model), people=people, **inputs)
            found[way] = sampled(tiny, model)
        assert difference(found["runtime"], base) > VISIBLE
        apart = {way: difference(out, found["runtime"]) for way, out in found.items()}
        assert max(apart.values()) < ENLARGED.get(name, CLOSE), (later, apart)
    assert torch.equal(sampled(tiny, patch(tiny.model)), base)


@pytest.mark.parametrize(("way", "name"), sorted(REFUSED))
def test_mask_cannot_follow_moved_tokens(tiny: Tiny, way: str, name: str) -> None:
    for model in (
        PATCHES[name](tiny.apply(**WAYS[way])),
        tiny.apply(model=PATCHES[name](tiny.model), **WAYS[way]),
    ):
        with pytest.raises(ValueError, match=r"mask cannot follow image tokens.*\.$"):
            sampled(tiny, model)


@pytest.mark.parametrize(("way", "name"), sorted(REFUSED_AFTER))
def test_weights_with_the_adapter_are_not_scaled(tiny: Tiny, way: str, name: str) -> None:
    with pytest.raises(ValueError, match=r"scales the weights that the adapter is in.*before it"):
        sampled(tiny, PATCHES[name](tiny.apply(**WAYS[way])))


def test_a_merge_takes_weights_alone(tiny: Tiny) -> None:
    """A known limit: of a second model the host merges weights, not what else is on it."""
    from comfy_extras.nodes_model_merging import ModelMergeSimple

    adapted = tiny.apply(mode="weights")
    merged = ModelMergeSimple().merge(tiny.model, adapted, 0.0)[0]
    assert difference(sampled(tiny, merged), sampled(tiny, tiny.model)) > VISIBLE
    assert difference(sampled(tiny, merged), sampled(tiny, adapted)) > VISIBLE
    other = ModelMergeSimple().merge(tiny.model, tiny.apply(mode="runtime"), 0.0)[0]
    assert difference(sampled(tiny, other), sampled(tiny, tiny.model)) < CLOSE


@pytest.mark.parametrize("mode", ["weights", pytest.param("runtime", marks=pytest.mark.slow)])
def test_people_of_a_compiled_model(tiny: Tiny, mode: str) -> None:
    """Code traced without the adapter or with another person is not used."""
    one, other = tiny.people(seed=1), tiny.people(seed=2)
    model, base = compiled(tiny.model), sampled(tiny, tiny.model)
    assert torch.equal(sampled(tiny, model), base)
    for people in (one, other, one):
        plain = sampled(tiny, tiny.apply(people=people, mode=mode))
        adapted = tiny.apply(model=model, people=people, mode=mode)
        assert torch.equal(sampled(tiny, adapted), plain)
        last = compiled(tiny.apply(people=people, mode=mode))
        assert torch.equal(sampled(tiny, last), plain)
    assert torch.equal(sampled(tiny, model), base)


def test_scene_of_a_compiled_model(tiny: Tiny) -> None:
    """The hint of an SFSR scene is not part of code traced without it, nor the other way round."""
    model, scene = compiled(tiny.model), tiny.module("nodes.host.sfsr.scene")
    base = sampled(tiny, model)
    hinted = [each.clone() for each in (tiny.model, model)]
    hint = torch.randn(1, 64, 16, 16, generator=torch.Generator().manual_seed(0))
    for each in hinted:
        scene.put_hint(each, hint)
    plain, traced = (sampled(tiny, each) for each in hinted)
    assert difference(plain, base) > VISIBLE
    assert torch.equal(traced, plain)
    assert torch.equal(sampled(tiny, model), base)


@pytest.mark.parametrize("name", ["PAG", "HyperTile", "LoRA"])
def test_range_is_the_adapter_and_then_none(tiny: Tiny, name: str) -> None:
    """Two of four steps with the adapter in the weights, the others without it."""
    patch = PATCHES[name]
    ranged = sampled(tiny, patch(tiny.apply(end_percent=0.5)), steps=4)
    first = {"last_step": 2, "force_full_denoise": False}
    half = sampled(tiny, patch(tiny.apply(mode="weights")), steps=4, **first)
    rest = {"latent": half, "disable_noise": True, "start_step": 2}
    assert difference(ranged, sampled(tiny, patch(tiny.model), steps=4, **rest)) < CLOSE


def test_hooks_on_one_prompt(tiny: Tiny) -> None:
    """A LoRA that the host swaps in for the positive prompt alone."""
    conds = hooked(tiny.prompt("a person")), tiny.prompt("")
    found = {way: sampled(tiny, tiny.apply(**inputs), *conds) for way, inputs in WAYS.items()}
    without = sampled(tiny, tiny.apply(), tiny.prompt("a person"), conds[1])
    assert difference(found["weights"], without) > VISIBLE
    for out in found.values():
        assert difference(out, found["weights"]) < CLOSE


def each_sampler_agrees(tiny: Tiny, names: tuple[str, ...]) -> None:
    models = {way: tiny.apply(**inputs) for way, inputs in WAYS.items()}
    for name in names:
        with torch.random.fork_rng(devices=[]):
            found = {way: with_sampler(tiny, model, name) for way, model in models.items()}
        for way, out in found.items():
            assert difference(out, found["weights"]) < CLOSE, (name, way)


def with_sampler(tiny: Tiny, model: Any, name: str) -> Tensor:
    import comfy.sample

    latent = torch.zeros(1, 4, 16, 16)
    conds = tiny.prompt("a person"), tiny.prompt("")
    with torch.inference_mode():
        noise = comfy.sample.prepare_noise(latent, 1)
        torch.manual_seed(0)
        return comfy.sample.sample(
            model, noise, 3, 2.0, name, "normal", *conds, latent, seed=1, disable_pbar=True
        )


def test_samplers_agree(tiny: Tiny) -> None:
    each_sampler_agrees(tiny, FAST)


@pytest.mark.slow
def test_every_sampler_agrees(tiny: Tiny) -> None:
    import comfy.samplers

    each_sampler_agrees(tiny, tuple(set(comfy.samplers.SAMPLER_NAMES) - set(FAST)))

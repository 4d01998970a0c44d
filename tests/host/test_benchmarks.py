"""What `make bench` compares does the same work; otherwise the comparison means nothing."""

from __future__ import annotations

from itertools import combinations
from types import ModuleType
from typing import Any

import pytest
import torch
from comfyui_dense_face.benchmarks.host.world import SMALL
from comfyui_dense_face.benchmarks.result import Result
from in_host import difference
from torch import Tensor


@pytest.fixture(scope="module")
def drawn(comfy: ModuleType) -> dict[str, Tensor]:
    """The clean latent that each variant predicts from one noise, on a minimal network."""
    from comfyui_dense_face.benchmarks.host.steps import step
    from comfyui_dense_face.benchmarks.host.variants import Variants

    torch.manual_seed(0)
    variants = Variants(SMALL)
    return {name: step(variants[name], SMALL.side)[1] for name in variants.makers}


def test_the_authors_method_gives_our_result(drawn: dict[str, Tensor]) -> None:
    from comfyui_dense_face.benchmarks.host import variants as v

    for name in (v.BOTH, v.BOTH_RUNTIME):
        assert difference(drawn[name], drawn[v.AUTHORS]) < 1e-4


def test_the_routes_of_the_adapter_agree(drawn: dict[str, Tensor]) -> None:
    from comfyui_dense_face.benchmarks.host import variants as v

    assert difference(drawn[v.RUNTIME], drawn[v.WEIGHTS]) < 1e-4


def test_every_variant_does_something_of_its_own(drawn: dict[str, Tensor]) -> None:
    from comfyui_dense_face.benchmarks.host import variants as v

    reading = {name for name in drawn if "annotation head" in name}  # it only reads features
    alike = ({v.BOTH, v.BOTH_RUNTIME, v.AUTHORS}, {v.RUNTIME, v.WEIGHTS}, {v.BARE, *reading})
    for pair in combinations(drawn, 2):
        if not any(set(pair) <= group for group in alike):
            assert difference(drawn[pair[0]], drawn[pair[1]]) > 1e-5, pair


def test_dpm_2_gives_the_midpoint_samplers_result(comfy: ModuleType) -> None:
    from comfyui_dense_face.benchmarks.host.midpoint import midpoint, sampled, samplers
    from comfyui_dense_face.benchmarks.host.variants import BARE, Variants

    torch.manual_seed(0)
    variants = Variants(SMALL)
    made = [sampled(variants[BARE], each, SMALL.side) for each in samplers().values()]
    assert torch.equal(*(run.latent for run in made)) and made[0].latent.std() > 0.01
    assert [len(run.evaluations) for run in made] == [5, 5]
    assert all(run.own > 0 and sum(run.evaluations) < run.seconds for run in made)
    result, share = midpoint(variants, pairs=1)
    assert result.value > 0 and result.target == 1.01 and 0 < share.value < 1


@pytest.mark.parametrize(
    ("value", "more", "missed"), [(1.0, False, False), (1.2, False, True), (1.0, True, True)]
)
def test_results_are_rated(value: float, more: bool, missed: bool) -> None:
    result: Any = Result("a step", value, "x bare", 1.1, more, limits=(0.9, 1.3))
    assert result.missed is missed
    assert ("MISSED" in str(result)) is missed and "0.900-1.300" in str(result)
    assert "target" not in str(Result("a step", value, "s"))


@pytest.mark.slow
def test_latents_of_another_process(drawn: dict[str, Tensor]) -> None:
    """What ``make bench-gpu`` compares between devices is the same on one device."""
    from comfyui_dense_face.benchmarks.host.gpu import latents

    other = latents("fp32_unet", gpu=False)
    assert other.keys() == drawn.keys()
    assert all(difference(other[name], drawn[name]) < 1e-5 for name in drawn)
    half = latents("bf16_unet", gpu=False)
    assert all(difference(half[name], drawn[name]) > 0 for name in drawn)
    assert all(torch.isfinite(latent).all() for latent in half.values())


def test_the_reference_adapters_arithmetic(comfy: ModuleType) -> None:
    """In one half twice the keys, and their projections; the LoRA costs nothing in a step."""
    from comfyui_dense_face.benchmarks.host.steps import counted
    from comfyui_dense_face.benchmarks.host.variants import BARE, REFERENCE, Variants

    variants = Variants(SMALL)
    bare = counted(variants[BARE], SMALL.side)
    expected = 0
    for width in variants.world.cross_attentions.values():
        tokens = SMALL.side**2 // (width // SMALL.layout.model_channels) ** 2
        expected += 2 * 2 * tokens * width * width + 2 * 2 * tokens * tokens * width
    assert counted(variants[REFERENCE], SMALL.side) - bare == expected

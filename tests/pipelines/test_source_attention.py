"""SFSR's sources and background on a diffusers UNet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from comfyui_dense_face.dense_face.adapter import PCAdapter
from comfyui_dense_face.errors import IncompatibleError
from comfyui_dense_face.pipelines.attention import InstalledAdapter, layers_for
from comfyui_dense_face.pipelines.base import TINY_UNET, new_unet
from comfyui_dense_face.pipelines.source_attention import InstalledSources, SourceInputs, layers_of
from comfyui_dense_face.sfsr.adapter import SFSRAdapter
from comfyui_dense_face.sfsr.compound import CompoundTokens
from comfyui_dense_face.sfsr.compound_inputs import CompoundLayout
from comfyui_dense_face.sfsr.token_attention import EXPRESSION, IDENTITY
from diffusers import UNet2DConditionModel
from random_published import published
from torch import Tensor

LAYOUT = CompoundLayout({"tiny-world": 512}, tokens=4, width=128, hidden=32)


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return new_unet().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def adapter(unet: UNet2DConditionModel) -> SFSRAdapter:
    torch.manual_seed(1)
    adapter = SFSRAdapter(LAYOUT, layers_of(unet), unet.config["block_out_channels"][0])
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return adapter.requires_grad_(False)


def call(unet: UNet2DConditionModel, count: int = 2) -> Tensor:
    chance = torch.Generator().manual_seed(3)
    x = torch.randn(count, 4, 16, 16, generator=chance)
    context = torch.randn(count, 48, 128, generator=chance)
    with torch.no_grad():
        return unet(x, torch.full((count,), 500), context).sample


def source_inputs(
    adapter: SFSRAdapter,
    identity: float | Tensor = 1.0,
    expression: float | Tensor = 1.0,
    **more: Any,
) -> SourceInputs:
    chance = torch.Generator().manual_seed(5)
    tokens = CompoundTokens(*(torch.randn(2, 4, 128, generator=chance) for _ in range(2)))
    weights = {IDENTITY: identity, EXPRESSION: expression}
    return SourceInputs(adapter.attention.keys_values(tokens), weights, **more)


def test_each_source_and_the_background_reach_the_output(
    unet: UNet2DConditionModel, adapter: SFSRAdapter
) -> None:
    plain = call(unet)
    background = torch.randn(2, 5, 16, 16, generator=torch.Generator().manual_seed(6))
    for one in (
        source_inputs(adapter, expression=0.0),
        source_inputs(adapter, identity=0.0),
        SourceInputs(background=background),
    ):
        with InstalledSources(unet, [adapter], one):
            assert (call(unet) - plain).abs().max() > 1e-3


def test_without_sources_it_is_the_bare_unet_and_leaving_restores_it(
    unet: UNet2DConditionModel, adapter: SFSRAdapter
) -> None:
    plain = call(unet)
    for one in (
        SourceInputs(),
        source_inputs(adapter, 0.0, 0.0),
        source_inputs(adapter, torch.zeros(2), torch.zeros(2)),
    ):
        with InstalledSources(unet, [adapter], one):
            assert torch.equal(call(unet), plain)
    assert torch.equal(call(unet), plain)


def test_a_weight_of_zero_for_a_sample_leaves_that_sample_alone(
    unet: UNet2DConditionModel, adapter: SFSRAdapter
) -> None:
    plain = call(unet)
    only_second = torch.tensor([0.0, 1.0])
    with InstalledSources(unet, [adapter], source_inputs(adapter, only_second, only_second)):
        changed = call(unet)
    torch.testing.assert_close(changed[0], plain[0], rtol=0, atol=1e-6)
    assert (changed[1] - plain[1]).abs().max() > 1e-3


def test_a_mask_limits_where_sources_act(unet: UNet2DConditionModel, adapter: SFSRAdapter) -> None:
    plain = call(unet)
    with InstalledSources(unet, [adapter], source_inputs(adapter, mask=torch.zeros(1, 16, 16))):
        nothing = call(unet)
    with InstalledSources(unet, [adapter], source_inputs(adapter, mask=torch.ones(1, 128, 128))):
        everywhere = call(unet)
    with InstalledSources(unet, [adapter], source_inputs(adapter)):
        unmasked = call(unet)
    torch.testing.assert_close(nothing, plain, rtol=0, atol=1e-6)
    torch.testing.assert_close(everywhere, unmasked, rtol=0, atol=1e-6)


def test_it_works_on_top_of_dense_faces_adapter(
    unet: UNet2DConditionModel, adapter: SFSRAdapter
) -> None:
    torch.manual_seed(7)
    dense = PCAdapter(layers_for(unet), delta=1.0)
    for parameter in dense.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    dense.requires_grad_(False)
    person = torch.randn(1, 512, generator=torch.Generator().manual_seed(8))
    with InstalledAdapter(unet, dense, person):
        alone = call(unet)
        with InstalledSources(unet, [adapter], source_inputs(adapter, 0.0, 0.0)):
            assert torch.equal(call(unet), alone)
        with InstalledSources(unet, [adapter], source_inputs(adapter)):
            both = call(unet)
    assert (both - alone).abs().max() > 1e-3


def test_another_unet_is_refused(adapter: SFSRAdapter) -> None:
    other = SFSRAdapter(LAYOUT, {"input_blocks.1": 64}, 64)
    unet = new_unet()
    before = dict(unet.attn_processors)
    with pytest.raises(IncompatibleError, match="cross-attention layers differ"):
        InstalledSources(unet, [other])
    assert dict(unet.attn_processors) == before


def test_a_lora_counts_once_and_leaves_no_trace(unet: UNet2DConditionModel) -> None:
    before = {name: weight.clone() for name, weight in unet.state_dict().items()}
    faceid, other = published("FACEID", rank=2), published("FACEID", rank=2, seed=9)
    plain = call(unet)
    with InstalledSources(unet, [faceid]):
        once = call(unet)
        with pytest.raises(IncompatibleError, match="in the weights already and would count twice"):
            InstalledSources(unet, [faceid])
        with InstalledSources(unet, [other]):
            assert not torch.equal(call(unet), once)
        assert torch.equal(call(unet), once)
        InstalledSources(unet, [faceid], lora_strength=0.0).remove()
    assert (once - plain).abs().max() > 1e-3
    assert all(torch.equal(weight, before[name]) for name, weight in unet.state_dict().items())
    with InstalledSources(unet, [faceid], lora_strength=0.0):
        assert torch.equal(call(unet), plain)
    with pytest.raises(IncompatibleError, match="count twice"):
        InstalledSources(unet, [faceid, faceid])


def test_nine_channels_take_the_scene_in_their_first_convolution() -> None:
    unet = new_unet(replace(TINY_UNET, in_channels=9)).eval().requires_grad_(False)
    chance = torch.Generator().manual_seed(3)
    x, context = (torch.randn(2, *of, generator=chance) for of in ((4, 16, 16), (48, 128)))
    scene = torch.randn(1, 5, 16, 16, generator=chance)
    wanted = unet(torch.cat([x, scene.expand(2, -1, -1, -1)], 1), 500, context).sample
    with InstalledSources(unet, [published("FACEID")], SourceInputs(background=scene)):
        assert torch.equal(unet(x, 500, context).sample, wanted)

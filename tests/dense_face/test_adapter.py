"""PC-adapter: fused equals run-time form, fresh ones change nothing, gradients arrive."""

from __future__ import annotations

import copy

import pytest
import torch
from comfyui_dense_face.dense_face.adapter import AdapterAttention, PCAdapter
from comfyui_dense_face.dense_face.attention_layers import (
    AttentionLayer,
    layers_from_state_dict,
    layers_of_block,
)
from comfyui_dense_face.dense_face.checkpoints.adapter_file import ADAPTER_PREFIX
from comfyui_dense_face.errors import IncompatibleError, InputError, ModelFileError
from comfyui_dense_face.pipelines.attention import InstalledAdapter, layers_for
from comfyui_dense_face.pipelines.ldm import unet_from_ldm, unet_ldm_name
from diffusers import UNet2DConditionModel
from hypothesis import given, settings
from hypothesis import strategies as st
from parity_fixture import parity
from torch import Tensor, nn


def adapter_tensors() -> dict[str, Tensor]:
    return {
        name: tensor
        for name, tensor in parity().part(ADAPTER_PREFIX).items()
        if ".per_" in name or ".feat_to_q." in name
    }


@pytest.fixture(scope="module")
def adapter() -> PCAdapter:
    return PCAdapter.from_state_dict(adapter_tensors())


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    unet = UNet2DConditionModel(**parity().layout.diffusers_kwargs()).eval()
    unet.load_state_dict(unet_from_ldm(parity().weights, unet))
    return unet.requires_grad_(False)


def eps(unet: UNet2DConditionModel) -> Tensor:
    given = parity().forward
    return unet(given["in.x"], given["in.t"], given["in.context"]).sample


def relative(found: Tensor, golden: Tensor) -> float:
    return float((found - golden).abs().max() / golden.abs().max())


def test_layers_are_found_in_execution_order(
    adapter: PCAdapter, unet: UNet2DConditionModel
) -> None:
    assert [layer.key for layer in adapter.layers[:2]] == [
        "input_blocks.1.1.transformer_blocks.0.attn1",
        "input_blocks.1.1.transformer_blocks.0.attn2",
    ]
    assert adapter.layers == tuple(layers_for(unet))
    assert set(adapter.state_dict()) == set(adapter_tensors())


@pytest.mark.parametrize("delta", [0.01, 1.0])
@torch.no_grad()
def test_fused_form_reaches_the_golden(
    adapter: PCAdapter, unet: UNet2DConditionModel, delta: float
) -> None:
    """Weight deltas on a copy of the UNet, and the query bias after to_q.

    Source: docs/reference/dense_face.md A3.
    """
    fused = adapter.fuse()
    changed = copy.deepcopy(unet)
    weights = changed.state_dict()
    keys = {unet_ldm_name(name, unet.config): name for name in weights}
    for name, weight in fused.weights.items():
        weights[keys[name]] += delta * weight.float()
    biases = fused.query_bias(parity().forward["in.id"], delta)
    for block, bias in biases.items():
        name = keys[f"{block}.1.transformer_blocks.0.attn2.to_q.weight"].removesuffix(".weight")
        changed.get_submodule(name).register_forward_hook(
            lambda module, args, q, bias=bias: q + bias[:, None]
        )
    assert relative(eps(changed), parity().forward[f"eps.id_nopose.d{delta:g}"]) < 1e-5


def test_middle_block_takes_a_weight_delta_and_no_bias(adapter: PCAdapter) -> None:
    fused = adapter.fuse()
    queries = {name for name in fused.weights if name.endswith("attn2.to_q.weight")}
    assert queries == {"middle_block.1.transformer_blocks.0.attn2.to_q.weight"}
    assert "middle_block" not in fused.bias_matrices
    assert len(fused.bias_matrices) == len(adapter.layers) // 2 - 1


def test_query_bias_of_both_forms_agrees(adapter: PCAdapter) -> None:
    identity = parity().forward["in.id"]
    fused = adapter.fuse().query_bias(identity)
    for attention in adapter.attentions():
        if attention.layer.takes_identity:
            bias = adapter.delta * attention.identity_query(identity)
            assert torch.allclose(bias, fused[attention.layer.block], rtol=1e-4, atol=1e-8)


sizes = st.integers(1, 5)


@settings(max_examples=20, deadline=None)
@given(
    batch=sizes,
    tokens=sizes,
    words=sizes,
    channels=st.integers(1, 9),
    context_dim=st.integers(1, 9),
    id_dim=st.integers(1, 9),
    delta=st.floats(-2, 2, allow_nan=False, width=32),
    block=st.sampled_from(["input_blocks.1", "middle_block", "output_blocks.3"]),
    cross=st.booleans(),
    with_identity=st.booleans(),
)
def test_projected_equals_the_formula(
    batch: int,
    tokens: int,
    words: int,
    channels: int,
    context_dim: int,
    id_dim: int,
    delta: float,
    block: str,
    cross: bool,
    with_identity: bool,
) -> None:
    layer = AttentionLayer(block, channels, context_dim if cross else channels, cross)
    maps = AdapterAttention(layer, id_dim)
    for parameter in maps.parameters():
        nn.init.normal_(parameter)
    base = tuple(
        nn.Linear(width, channels, bias=False)
        for width in (channels, layer.context_dim, layer.context_dim)
    )
    x = torch.randn(batch, tokens, channels)
    context = torch.randn(batch, words, context_dim) if cross else None
    identity = torch.randn(batch, id_dim) if with_identity else None
    q, k, v = maps.projected(base, x, context, identity, delta)
    c = x if context is None else context
    u = x
    if identity is not None and cross and block != "middle_block":
        u = (identity @ maps.feat_to_q.weight.T)[:, None].expand(batch, tokens, channels)
    for found, to, per, source, inner in (
        (q, base[0], maps.per_q, x, u),
        (k, base[1], maps.per_k, c, c),
        (v, base[2], maps.per_v, c, c),
    ):
        expected = source @ to.weight.T + delta * (inner @ per.weight.T)
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3)
    dq = maps.query(x, identity)
    assert torch.allclose(base[0](x) + delta * dq, q, rtol=1e-3, atol=1e-3)


def test_wrapped_projection_is_called(adapter: PCAdapter) -> None:
    """A LoRA around to_q must not be bypassed by the merged product."""

    class Wrapped(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input) + 1

    maps = adapter.attention("middle_block", cross=False)
    base = tuple(Wrapped(64, 64, bias=False) for _ in range(3))
    x = torch.randn(1, 3, 64)
    k = maps.projected(base, x, None, None, 0.5)[1]
    assert torch.allclose(k, base[1](x) + 0.5 * maps.per_k(x), atol=1e-5)


@torch.no_grad()
def test_fresh_adapter_changes_nothing(unet: UNet2DConditionModel) -> None:
    plain = eps(unet)
    with InstalledAdapter(unet, PCAdapter(layers_for(unet)), parity().forward["in.id"], 1.0):
        assert relative(eps(unet), plain) < 1e-6


def test_gradients_arrive_where_training_needs_them(unet: UNet2DConditionModel) -> None:
    fresh = PCAdapter(layers_for(unet), delta=1.0)
    for attention in fresh.attentions():  # one step away from zero, so that feat_to_q matters
        nn.init.normal_(attention.per_q.weight, std=0.01)
    with InstalledAdapter(unet, fresh, parity().forward["in.id"]):
        eps(unet).square().mean().backward()
    live = fresh.live_state_dict().keys()
    for name, parameter in fresh.named_parameters():
        moved = parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
        assert moved == (name in live), name


def test_fresh_adapter_gets_gradients_too(unet: UNet2DConditionModel) -> None:
    fresh = PCAdapter(layers_for(unet))
    with InstalledAdapter(unet, fresh, parity().forward["in.id"]):
        eps(unet).square().mean().backward()
    for attention in fresh.attentions():
        for maps in (attention.per_q, attention.per_k, attention.per_v):
            assert maps.weight.grad is not None and maps.weight.grad.abs().max() > 0


@torch.no_grad()
def test_every_sample_has_its_own_identity(adapter: PCAdapter, unet: UNet2DConditionModel) -> None:
    given = parity().forward
    with InstalledAdapter(unet, adapter, given["in.id"], 1.0) as installed:
        both = eps(unet)
        installed.identity = given["in.id"][1:]
        alone = unet(given["in.x"][1:], given["in.t"][1:], given["in.context"][1:]).sample
    assert relative(both[1:], alone) < 1e-5


@torch.no_grad()
def test_removed_or_zero_leaves_the_base_bit_identical(
    adapter: PCAdapter, unet: UNet2DConditionModel
) -> None:
    former, plain = unet.attn_processors, eps(unet)
    with InstalledAdapter(unet, adapter, parity().forward["in.id"], delta=0.0) as installed:
        assert torch.equal(eps(unet), plain)
        installed.delta = 1.0
        assert not torch.equal(eps(unet), plain)
    assert unet.attn_processors == former
    assert torch.equal(eps(unet), plain)


def test_adapter_leaves_after_an_error(adapter: PCAdapter, unet: UNet2DConditionModel) -> None:
    former = unet.attn_processors
    with (
        pytest.raises(InputError, match=r"3 identities .* batch of 2"),
        InstalledAdapter(unet, adapter, torch.zeros(3, 512), 1.0),
    ):
        eps(unet)
    assert unet.attn_processors == former


def test_other_width_is_refused_and_nothing_installed(unet: UNet2DConditionModel) -> None:
    former = unet.attn_processors
    layers = [
        AttentionLayer(s.block, 48, 48 if not s.cross else 64, s.cross) for s in layers_for(unet)
    ]
    with pytest.raises(IncompatibleError, match=r"48 from 48 .* 32 from 32 .*input_blocks\.1"):
        InstalledAdapter(unet, PCAdapter(layers))
    fewer = PCAdapter(layers_for(unet)[2:])
    with pytest.raises(IncompatibleError, match=r"nothing where .*input_blocks\.1"):
        InstalledAdapter(unet, fewer)
    more = PCAdapter([*layers_for(unet), *layers_of_block("output_blocks.9", 8, 8)])
    with pytest.raises(IncompatibleError, match=r"the UNet has nothing .*output_blocks\.9"):
        InstalledAdapter(unet, more)
    assert unet.attn_processors == former


def test_missing_and_unknown_weights_are_named() -> None:
    tensors = adapter_tensors()
    gone = "middle_block.1.transformer_blocks.0.attn1.per_v.weight"
    with pytest.raises(ModelFileError, match=r"lacks the weight middle_block.*attn1\.per_v"):
        layers_from_state_dict({k: t for k, t in tensors.items() if k != gone})
    with pytest.raises(IncompatibleError, match=r"unknown weight .*transformer_blocks\.1"):
        name = "middle_block.1.transformer_blocks.1.attn1.per_v.weight"
        layers_from_state_dict(tensors | {name: torch.zeros(1, 1)})
    with pytest.raises(IncompatibleError, match="shape"):
        PCAdapter.from_state_dict(tensors | {gone: torch.zeros(64, 63)})
    with pytest.raises(ModelFileError, match="no PC-adapter"):
        layers_from_state_dict({})

"""Adapter files: what is written comes back; what does not belong is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from comfyui_dense_face.dense_face.adapter import PCAdapter
from comfyui_dense_face.dense_face.attention_layers import layers_of_block
from comfyui_dense_face.dense_face.checkpoints.adapter_file import (
    ADAPTER_PREFIX,
    DenseFaceAdapter,
    load_adapter,
    read_parts,
    save_adapter,
)
from comfyui_dense_face.dense_face.fused import fuse_query
from comfyui_dense_face.dense_face.identity_token import IdentityToken
from comfyui_dense_face.dense_face.pose_branch import PoseBranch, PoseBranchConfig
from comfyui_dense_face.errors import InputError, ModelFileError
from comfyui_dense_face.storage import read_weights, write_weights
from torch import nn

LAYERS = layers_of_block("input_blocks.1", 32, 16) + layers_of_block("middle_block", 64, 16)


@pytest.fixture
def whole() -> DenseFaceAdapter:
    whole = DenseFaceAdapter(
        PCAdapter(LAYERS, id_dim=8, delta=0.25),
        PoseBranch(PoseBranchConfig(32, (1, 2), 1)),
        IdentityToken(16, id_dim=8, reference_delta=0.5, initial=torch.randn(16)),
        {"encoder": "tiny-world", "base_model": "tiny-base", "seed": "7"},
    )
    for module in (whole.adapter, whole.pose_branch, whole.token):
        for parameter in module.parameters():
            nn.init.normal_(parameter)
    whole.token.projector_norm.running_var.fill_(1e-9)
    return whole


def test_round_trip(tmp_path: Path, whole: DenseFaceAdapter) -> None:
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, whole)
    back = load_adapter(path)
    assert (back.encoder, back.base_model) == ("tiny-world", "tiny-base")
    assert back.metadata["seed"] == "7" and back.metadata["format"] == "denseface-adapter/1"
    assert back.adapter.delta == 0.25 and back.adapter.id_dim == 8
    assert back.adapter.layers == whole.adapter.layers
    assert back.token is not None and back.token.reference_delta == 0.5
    live = whole.adapter.live_state_dict()
    for name, tensor in back.adapter.state_dict().items():
        stored = live[name].half().float() if name in live else torch.zeros_like(tensor)
        assert torch.equal(tensor, stored)
    for name, tensor in whole.token.state_dict().items():
        stored = tensor.half().float() if tensor.ndim > 1 else tensor
        assert torch.equal(back.token.state_dict()[name], stored)
    assert back.pose_branch is not None and back.pose_branch.config == whole.pose_branch.config
    assert not any(m.training for m in (back.adapter, back.pose_branch, back.token))


def test_parts_may_be_absent(tmp_path: Path, whole: DenseFaceAdapter) -> None:
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, DenseFaceAdapter(whole.adapter))
    back = load_adapter(path)
    assert back.pose_branch is None and back.token is None and back.encoder == ""


def test_stored_precision(tmp_path: Path, whole: DenseFaceAdapter) -> None:
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, whole, dtype=torch.float32)
    parts = read_parts(path)
    assert {t.dtype for t in parts.adapter.values()} == {torch.float32}
    assert parts.adapter.keys() == whole.adapter.live_state_dict().keys()


def test_pose_branch_in_eight_bits(tmp_path: Path, whole: DenseFaceAdapter) -> None:
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, whole, pose_dtype=torch.float8_e4m3fn)
    parts = read_parts(path)
    kinds = {tensor.ndim > 1: tensor.dtype for tensor in parts.pose_branch.values()}
    assert kinds == {True: torch.float8_e4m3fn, False: torch.float16}
    assert {t.dtype for t in parts.adapter.values()} == {torch.float16}
    back = load_adapter(path).pose_branch
    assert back is not None and whole.pose_branch is not None
    given = whole.pose_branch.state_dict()
    for name, tensor in back.state_dict().items():
        torch.testing.assert_close(tensor, given[name], rtol=0.0625, atol=0.002)


def test_dead_weights_are_left_out_and_may_be_there(
    tmp_path: Path, whole: DenseFaceAdapter
) -> None:
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, DenseFaceAdapter(whole.adapter), dtype=torch.float32)
    tensors, metadata = read_weights(path)
    queries = [name for name in tensors if name.endswith("feat_to_q.weight")]
    live = "input_blocks.1.1.transformer_blocks.0.attn2.feat_to_q.weight"
    assert queries == [ADAPTER_PREFIX + live]
    everything = {ADAPTER_PREFIX + k: t for k, t in whole.adapter.state_dict().items()}
    write_weights(path, everything, metadata)
    back = load_adapter(path).adapter.state_dict()
    assert all(torch.equal(back[k], t) for k, t in whole.adapter.state_dict().items())
    del everything[ADAPTER_PREFIX + live]
    write_weights(path, everything, metadata)
    with pytest.raises(ModelFileError, match=r"lacks the weight input_blocks\.1.*attn2\.feat_to_q"):
        load_adapter(path)


def test_other_files_are_refused(tmp_path: Path, whole: DenseFaceAdapter) -> None:
    path = tmp_path / "adapter.safetensors"
    write_weights(path, {"x": torch.zeros(1)}, {"format": "sfsr-adapter/1"})
    with pytest.raises(ModelFileError, match="'sfsr-adapter/1' instead of 'denseface-adapter/1'"):
        load_adapter(path)
    save_adapter(path, whole)
    tensors, metadata = read_weights(path)
    name = next(iter(whole.adapter.state_dict()))
    for change, message in (
        (tensors | {"stranger.weight": torch.zeros(1)}, r"unknown weight stranger\.weight"),
        ({k: t for k, t in tensors.items() if not k.endswith(name)}, "lacks the weight .*per_q"),
        ({k: t for k, t in tensors.items() if "zero_convs.1" not in k}, r"zero_convs\.1"),
        ({k: t for k, t in tensors.items() if "diffusion_model" not in k}, "no PC-adapter"),
    ):
        write_weights(path, change, metadata)
        with pytest.raises(ModelFileError, match=message):
            load_adapter(path)
    write_weights(path, tensors, metadata | {"delta": "strong"})
    with pytest.raises(ModelFileError, match="delta='strong'"):
        load_adapter(path)


def fused_file(path: Path, whole: DenseFaceAdapter, dtype: torch.dtype) -> PCAdapter:
    """Write the adapter in the fused form."""
    fused = PCAdapter(LAYERS, id_dim=8, delta=0.25, fused=True)
    given = whole.adapter.state_dict()
    for name, tensor in fused.state_dict().items():
        if name.endswith("id_to_q.weight"):
            layer = name.removesuffix("id_to_q.weight")
            tensor.copy_(
                fuse_query(given[f"{layer}per_q.weight"], given[f"{layer}feat_to_q.weight"])
            )
        else:
            tensor.copy_(given[name])
    save_adapter(path, DenseFaceAdapter(fused, metadata=whole.metadata), dtype=dtype)
    return fused


@torch.no_grad()
def test_both_forms_fuse_to_the_same(tmp_path: Path, whole: DenseFaceAdapter) -> None:
    fused_file(tmp_path / "fused.safetensors", whole, torch.float32)
    save_adapter(tmp_path / "unfused.safetensors", whole, dtype=torch.float32)
    parts = read_parts(tmp_path / "fused.safetensors")
    ours, theirs = parts.fused(), read_parts(tmp_path / "unfused.safetensors").fused()
    assert parts.metadata["form"] == "folded" and parts.metadata["encoder"] == "tiny-world"
    assert ours.delta == theirs.delta == 0.25
    for found, expected in (
        (ours.weights, theirs.weights),
        (ours.bias_matrices, theirs.bias_matrices),
        (theirs.weights, whole.adapter.fuse().weights),
    ):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in found)


def test_fused_half_precision_file_keeps_weights_and_widens_biases(
    tmp_path: Path, whole: DenseFaceAdapter
) -> None:
    fused_file(tmp_path / "fused.safetensors", whole, torch.float16)
    fused = read_parts(tmp_path / "fused.safetensors").fused()
    assert {w.dtype for w in fused.weights.values()} == {torch.float16}
    assert {m.dtype for m in fused.bias_matrices.values()} == {torch.float32}


@torch.no_grad()
def test_fused_form_at_run_time(tmp_path: Path, whole: DenseFaceAdapter) -> None:
    fused_file(tmp_path / "fused.safetensors", whole, torch.float32)
    loaded = load_adapter(tmp_path / "fused.safetensors").adapter
    identity = torch.randn(2, 8)
    for ours, theirs in zip(loaded.attentions(), whole.adapter.attentions(), strict=True):
        x, text = torch.randn(2, 3, ours.layer.channels), torch.randn(2, 5, ours.layer.context_dim)
        context = text if ours.layer.cross else None
        base = tuple(
            nn.Linear(width, ours.layer.channels, bias=False)
            for width in (ours.layer.channels, *[ours.layer.context_dim] * 2)
        )
        found, wanted = (maps.projected(base, x, context, identity, 1.0) for maps in (ours, theirs))
        for a, b in zip(found, wanted, strict=True):
            assert torch.allclose(a, b, rtol=1e-4, atol=1e-4)
    found, wanted = (a.fuse().query_bias(identity) for a in (loaded, whole.adapter))
    assert found.keys() == wanted.keys() == {"input_blocks.1"}
    assert torch.allclose(found["input_blocks.1"], wanted["input_blocks.1"], rtol=1e-4, atol=1e-4)
    cross = loaded.attention("input_blocks.1", cross=True)
    with pytest.raises(InputError, match="cannot run without an identity"):
        cross.query(torch.zeros(1, 1, 32), None)


def test_mixed_forms_are_refused(tmp_path: Path, whole: DenseFaceAdapter) -> None:
    path = tmp_path / "adapter.safetensors"
    fused_file(path, whole, torch.float32)
    tensors, metadata = read_weights(path)
    layer = f"{ADAPTER_PREFIX}input_blocks.1.1.transformer_blocks.0.attn2"
    write_weights(path, tensors | {f"{layer}.per_q.weight": torch.zeros(32, 32)}, metadata)
    with pytest.raises(ModelFileError, match=r"unknown weights.*attn2\.per_q"):
        read_parts(path).fused()
    del tensors[f"{layer}.id_to_q.weight"]
    write_weights(path, tensors, metadata)
    with pytest.raises(ModelFileError, match=r"lacks the weight .*attn2\.per_q"):
        load_adapter(path)

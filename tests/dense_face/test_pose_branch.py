"""Pose branch: built from the weights alone, zero when fresh, built from the host's layers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from comfyui_dense_face.dense_face.checkpoints.adapter_file import POSE_PREFIX
from comfyui_dense_face.dense_face.pose_branch import (
    PoseBranch,
    PoseBranchConfig,
    timestep_embedding,
)
from comfyui_dense_face.errors import ModelFileError
from parity_fixture import parity
from torch import nn

TINY = PoseBranchConfig(64, (1, 2), 1, hint_widths=(16, 16, 32, 32, 64, 64, 64))


@pytest.mark.parametrize(
    "config",
    [TINY, PoseBranchConfig(32, (1, 2, 3), 2), PoseBranchConfig(32, (2,), 3, in_channels=9)],
)
def test_config_is_read_from_the_weights(config: PoseBranchConfig) -> None:
    branch = PoseBranch(config)
    assert PoseBranchConfig.from_state_dict(branch.state_dict()) == config
    PoseBranch.from_state_dict(branch.state_dict())


def test_fresh_branch_is_silent_but_learns() -> None:
    branch = PoseBranch(TINY)
    x, hint, t = torch.randn(2, 4, 16, 16), torch.rand(2, 3, 128, 128), torch.tensor([1, 981])
    residuals = branch(x, hint, t)
    shapes = [tuple(r.shape[1:]) for r in residuals]
    assert shapes == [(64, 16, 16), (64, 16, 16), (64, 8, 8), (128, 8, 8), (128, 8, 8)]
    assert all(not r.any() for r in residuals)
    torch.stack([(r - 1).square().mean() for r in residuals]).sum().backward()
    for zero_conv in branch.zero_convs:
        weight = zero_conv.get_parameter("0.weight")
        assert weight.grad is not None and weight.grad.abs().max() > 0


@torch.no_grad()
def test_one_hint_serves_a_batch() -> None:
    branch = PoseBranch.from_state_dict(parity().part(POSE_PREFIX))
    given = parity().forward
    hint = branch.encode_hint(given["in.hint_rgb_u8"][:1].float() / 255)
    for residual in branch.residuals(given["in.x"], hint, given["in.t"]):
        assert residual.shape[0] == 2
    found = branch.residuals(given["in.x"], hint, given["in.t"])[0][:1]
    assert torch.allclose(found, given["pose.out.0"], atol=1e-5)


def test_layers_come_from_the_host() -> None:
    made: list[str] = []

    def counted(kind: type[nn.Module]) -> object:
        def make(*args: object, **kwargs: object) -> nn.Module:
            made.append(kind.__name__)
            return kind(*args, **kwargs)

        return make

    host = SimpleNamespace(
        Conv2d=counted(nn.Conv2d), Linear=counted(nn.Linear), GroupNorm=counted(nn.GroupNorm)
    )
    branch = PoseBranch(TINY, host, dtype=torch.bfloat16)
    kinds = (nn.Conv2d, nn.Linear, nn.GroupNorm)
    assert len(made) == sum(isinstance(m, kinds) for m in branch.modules())
    assert {p.dtype for p in branch.parameters()} == {torch.bfloat16}


def test_missing_weights_are_named() -> None:
    weights = parity().part(POSE_PREFIX)
    for gone in ("zero_convs.2.0.weight", "input_hint_block.4.weight", "input_blocks.0.0.weight"):
        with pytest.raises(ModelFileError, match=gone):
            PoseBranch.from_state_dict({k: t for k, t in weights.items() if k != gone})


def test_timestep_embedding_is_cosines_then_sines() -> None:
    embedding = timestep_embedding(torch.tensor([0, 10]), 6)
    assert torch.equal(embedding[0], torch.tensor([1.0, 1, 1, 0, 0, 0]))
    assert embedding[1, 0] == pytest.approx(torch.cos(torch.tensor(10.0)).item())
    assert timestep_embedding(torch.tensor([3]), 7).shape == (1, 7)

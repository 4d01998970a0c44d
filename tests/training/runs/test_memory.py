"""Half precision of frozen networks and gradient checkpointing change memory, not results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from comfyui_dense_face.dense_face.adapter import PCAdapter
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.pipelines.attention import InstalledAdapter, layers_for
from comfyui_dense_face.pipelines.base import Base, load_base
from comfyui_dense_face.pipelines.checkpointing import checkpoint_unet
from comfyui_dense_face.pipelines.source_attention import (
    InstalledSources,
    SourceInputs,
    layers_of,
)
from comfyui_dense_face.sfsr.adapter import SFSRAdapter
from comfyui_dense_face.sfsr.compound_inputs import CompoundLayout, ExpressionBatch, IdentityBatch
from comfyui_dense_face.sfsr.token_attention import EXPRESSION, IDENTITY
from comfyui_dense_face.training.runs.loop import Schedule, train
from comfyui_dense_face.training.runs.memory import cast_frozen, save_memory
from tiny_random import write_base
from torch import Tensor, nn


@pytest.fixture
def base(tmp_path: Path) -> Base:
    return load_base(write_base(tmp_path / "base.safetensors"))


def _random(module: nn.Module) -> None:
    chance = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=chance))


@contextmanager
def _saved(network: nn.Module) -> Iterator[list[int]]:
    """Bytes saved for the backward pass in the block, besides the network's own weights."""
    found = [0]
    kept: dict[int, Tensor] = {p.data_ptr(): p for p in network.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in kept:
            found[0] += tensor.nbytes
        kept[tensor.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield found


def _two_passes(base: Base) -> tuple[list[Tensor], int]:
    """Gradients of two passes with different inputs, whose adapters are gone before backward."""
    unet, chance = base.unet.train(), torch.Generator().manual_seed(2)
    inner = PCAdapter(layers_for(unet), delta=1.0)
    layout = CompoundLayout({"tiny-world": 512}, tokens=2, width=128)
    outer = SFSRAdapter(layout, layers_of(unet), 64)
    for module in (inner, outer):
        _random(module)
    total = torch.zeros(())
    with (
        _saved(unet) as saved,
        InstalledAdapter(unet, inner) as identity,
        InstalledSources(unet, [outer]) as sources,
    ):
        for number in range(2):
            draw = lambda *shape: torch.randn(shape, generator=chance)  # noqa: E731
            identity.identity = people = torch.nn.functional.normalize(draw(1, 512), dim=1)
            there = torch.ones(1, dtype=torch.bool)
            expression = ExpressionBatch(
                draw(1, 51), torch.ones(1, 51, dtype=torch.bool), draw(1, 0), ~there
            )
            identities = IdentityBatch({"tiny-world": people}, {"tiny-world": there})
            tokens = outer.embedding(identities, expression)
            sources.source_inputs = SourceInputs(
                outer.attention.keys_values(tokens), {IDENTITY: 1.0, EXPRESSION: 0.5 + number}
            )
            out = unet(draw(1, 4, 16, 16), torch.tensor([7]), draw(1, 48, 128)).sample
            total = total + out.float().square().mean()
    total.backward()
    gradients = [p.grad for m in (inner, outer) for p in m.parameters() if p.grad is not None]
    return [gradient for gradient in gradients if gradient is not None], saved[0]


def test_checkpointing_runs_blocks_again_as_they_were_called(base: Base) -> None:
    """With the adapters and inputs of their own pass; afterwards everything is as before."""
    plain, saved = _two_passes(base)
    before = dict(base.unet.attn_processors)
    checkpoint_unet(base.unet)
    checkpointed, fewer = _two_passes(base)
    assert len(plain) == len(checkpointed) > 20 and fewer < saved / 3
    assert all(torch.equal(a, b) for a, b in zip(plain, checkpointed, strict=True))
    assert all(bool(gradient.abs().sum() > 0) for gradient in plain[:4])
    assert base.unet.attn_processors == before


def test_frozen_networks_in_half_precision_give_the_same(base: Base) -> None:
    chance = torch.Generator().manual_seed(2)
    x = torch.randn(2, 4, 16, 16, generator=chance, requires_grad=True)
    context, t = torch.randn(2, 48, 128, generator=chance), torch.tensor([7, 400])

    def passed() -> tuple[Tensor, Tensor, int]:
        x.grad = None
        with torch.autocast("cpu", torch.bfloat16), _saved(base.unet) as saved:
            out = base.unet(x, t, context).sample
        out.float().square().mean().backward()
        assert x.grad is not None
        return out.detach(), x.grad.clone(), saved[0]

    before, gradient, bytes_before = passed()
    learns = nn.Linear(4, 4)
    cast_frozen(learns, "bf16")
    assert learns.weight.dtype == torch.float32
    save_memory(base, "bf16", checkpointing=False)
    after, gradient_after, bytes_after = passed()
    assert torch.equal(before, after) and torch.equal(gradient, gradient_after)
    assert bytes_after < 0.8 * bytes_before
    norms = [m for m in base.unet.modules() if isinstance(m, (nn.GroupNorm, nn.LayerNorm))]
    assert all(norm.weight.dtype == torch.float32 for norm in norms)


def test_fp16_is_refused_where_gradients_cannot_be_scaled(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fp16 needs a GPU"):
        train(nn.Linear(1, 1), Schedule(1, 0.1, precision="fp16"), seed=1, folder=tmp_path)

"""Devices and dtypes without a GPU: fake tensors that say they are on ``cuda:0``.

The host gives its layers tensors of the compute device in the model's dtype; what we keep (biases,
masks, tokens, hints) is on the CPU in float32. A mixture of the two fails here as on a real card.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from in_host import Tiny
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

CARD = torch.device("cuda:0")
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
BLOCK, LAYER = "input_blocks.1", "input_blocks.1.1.transformer_blocks.0"


class Indexing(TorchFunctionMode):
    """Slices by operators: those of Python's brackets ask for CUDA's driver in a CPU build."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is Tensor.__getitem__:
            return sliced(*args)
        if func is Tensor.__setitem__:
            place, value = sliced(*args[:2]), args[2]
            return None if value is place else place.mul_(0).add_(value)
        return func(*args, **(kwargs or {}))


def sliced(tensor: Tensor, index: Any) -> Tensor:
    """``tensor[index]`` for slices, None and whole numbers."""
    axis = 0
    for each in index if isinstance(index, tuple) else (index,):
        if each is None:
            tensor = tensor.unsqueeze(axis)
        elif isinstance(each, slice):
            start, stop, _ = each.indices(tensor.shape[axis])
            tensor = tensor.narrow(axis, start, stop - start)
        else:
            tensor, axis = tensor.select(axis, each), axis - 1
        axis += 1
    return tensor


@pytest.fixture
def card(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorMode]:
    """Fused attention has no form for fake tensors here: its plain one is used."""
    from comfy.ldm.modules.attention import attention_pytorch

    ours = tiny.module("nodes.host.attention")
    monkeypatch.setattr(ours, "optimized_attention", attention_pytorch)  # not the CPU's
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode, Indexing(), sdpa_kernel(SDPBackend.MATH):
        yield mode


def there(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=CARD)


def moved(net: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The network with empty weights of this dtype on the card."""
    for module in net.modules():
        for name, weight in list(module._parameters.items()):
            if weight is not None:
                empty = there(*weight.shape, dtype=dtype)
                module._parameters[name] = nn.Parameter(empty, requires_grad=False)
    return net


def right(found: Tensor, dtype: torch.dtype) -> None:
    assert found.device == CARD and found.dtype == dtype


def extra(**more: Any) -> dict[str, Any]:
    return {"n_heads": 4, "cond_or_uncond": [1, 0], "activations_shape": [4, 64, 8, 8], **more}


def test_a_mixture_is_noticed(card: FakeTensorMode) -> None:
    with pytest.raises(RuntimeError, match="devic"):
        there(2, 2, dtype=torch.float32).add(torch.ones(2, 2))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("masked", [False, True])
def test_slot(tiny: Tiny, card: FakeTensorMode, dtype: torch.dtype, masked: bool) -> None:
    """Query bias and mask of two people, and the deltas of a masked cross-attention."""
    attention = tiny.module("nodes.host.attention")
    q, k, v = (there(4, n, 64, dtype=dtype) for n in (64, 6, 6))
    options = extra()
    change = {"bias": torch.zeros(2, 64)}
    if masked:
        site = tiny.module("nodes.host.runtime").SiteDelta
        net = nn.ModuleDict({name: linear(128, dtype) for name in ("to_k", "to_v")})
        text = there(4, 6, 128, dtype=dtype)
        options[attention.INPUTS] = (q, text, text)
        change |= {"mask": torch.ones(2, 64, 64), "delta": site(net, None, False)}
    slot = attention.AttentionSlot(attention.SlotChange(**change))
    right(slot(q, k, v, options), dtype)


def linear(width: int, dtype: torch.dtype) -> nn.Module:
    """A layer as those of the run-time adapter."""
    import comfy.ops

    return moved(comfy.ops.manual_cast.Linear(width, 64, bias=False), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stored", DTYPES)
def test_deltas_at_the_projections(
    tiny: Tiny, card: FakeTensorMode, dtype: torch.dtype, stored: torch.dtype
) -> None:
    """Of any dtype, beside a base of any dtype, whose layers are the host's or another pack's."""
    import comfy.ops

    projections = tiny.module("nodes.host.dense_face.projections")
    site = tiny.module("nodes.host.runtime").SiteDelta
    for foreign in (False, True):
        layers = nn.ModuleDict()
        for name in ("to_q", "to_k", "to_v"):
            kind = nn.Linear if foreign else comfy.ops.manual_cast.Linear
            layers[name] = moved(kind(64, 64, bias=False, device="meta"), dtype)
        net = nn.ModuleDict()
        net["attn1"] = layers
        names = ("to_q", "to_k", "to_v")
        deltas = nn.ModuleDict({name: linear(64, stored) for name in names})
        sites = {(BLOCK, "attn1"): site(deltas, None, True)}
        unet = at_path(LAYER, net)
        x = there(4, 64, 64, dtype=dtype)
        with projections.deltas_everywhere(unet, sites, 0.5):
            for name in names:
                right(layers[name](x), dtype)
        masked = projections.MaskedSelfAttention(sites, 0.5, torch.ones(2, 64, 64))
        with masked.patched(unet) as tokens:
            tokens(x, x, x, extra())
            for name in names:
                right(layers[name](x), dtype)


def at_path(path: str, module: nn.Module) -> nn.Module:
    for name in reversed(path.split(".")):
        outer = nn.Module()
        outer.add_module(name, module)
        module = outer
    return module


@pytest.mark.parametrize("dtype", DTYPES)
def test_sources(tiny: Tiny, card: FakeTensorMode, dtype: torch.dtype) -> None:
    """SFSR's tokens, a constant vector, and their masks."""
    sources = tiny.module("nodes.host.sfsr.sources")
    pair = (torch.zeros(1, 4, 64), torch.zeros(1, 4, 64))
    mask = torch.ones(2, 64, 64)
    both = (
        sources.Source(sources.IDENTITIES, {BLOCK: pair}, 1.0, 0.0, 1.0, {BLOCK: pair}, mask),
        sources.Source(sources.EXPRESSIONS, {BLOCK: torch.zeros(2, 64)}, 1.0, mask=mask),
    )
    layer = sources.LayerSources("uid", BLOCK, both)
    q, k, v = (there(4, n, 64, dtype=dtype) for n in (64, 6, 6))
    names = (sources.IDENTITIES, sources.EXPRESSIONS)
    added = layer(q, q, k, v, extra(**{sources.ACTING: {"uid": names}}))
    right(added, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_hint_behind_the_first_convolution(
    tiny: Tiny, card: FakeTensorMode, dtype: torch.dtype
) -> None:
    scene = tiny.module("nodes.host.sfsr.scene")
    options = {scene.HINTS: {"uid": torch.zeros(1, 64, 8, 8)}, "block": ("input", 0)}
    right(scene._AddHint("uid")(there(2, 64, 8, 8, dtype=dtype), options), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_pose_branch(tiny: Tiny, card: FakeTensorMode, dtype: torch.dtype) -> None:
    control = tiny.module("nodes.host.dense_face.control")
    branch = moved(copy.deepcopy(tiny.control.control_model.branch), dtype)
    net = control.PoseNet(branch, dtype)
    x, hint = there(1, 4, 8, 8, dtype=dtype), there(1, 3, 64, 64, dtype=dtype)
    found = net(x, hint, there(1, dtype=torch.float32))
    for residual in (*found["middle"], *found["output"]):
        right(residual, dtype)

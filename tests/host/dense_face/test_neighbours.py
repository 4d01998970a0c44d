"""Other packs in the same attention slot (IP-Adapter, InstantID, PuLID and the like)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from foreign_pack import BLOCK, foreign_node, foreign_residual
from in_host import Tiny, difference
from torch import Tensor

CLOSE = 1e-5


@pytest.mark.parametrize("mode", ["weights", "runtime"])
def test_both_orders_give_the_same_image(tiny: Tiny, mode: str) -> None:
    ours_first = tiny.sample(foreign_node(tiny.apply(mode=mode)))
    theirs_first = tiny.sample(tiny.apply(model=foreign_node(tiny.model), mode=mode))
    assert difference(ours_first, theirs_first) < CLOSE
    assert difference(ours_first, tiny.sample(tiny.apply(mode=mode))) > 1e-3
    assert difference(ours_first, tiny.sample(foreign_node(tiny.model))) > 1e-3


@pytest.mark.parametrize("mode", ["weights", "runtime"])
def test_additions_do_not_pile_up_in_a_cached_model(tiny: Tiny, mode: str) -> None:
    """The host keeps our MODEL and runs only the foreign node again."""
    cached = tiny.apply(mode=mode)
    alone = tiny.sample(cached)
    first = tiny.sample(foreign_node(cached))
    for _ in range(3):
        assert torch.equal(tiny.sample(foreign_node(cached)), first)
    assert torch.equal(tiny.sample(cached), alone)


def test_sigma_range_of_a_neighbour_is_kept(tiny: Tiny) -> None:
    model = tiny.apply(mode="weights").clone()
    slot = model.model_options["transformer_options"]["patches_replace"]["attn2"][BLOCK]
    slot.add(foreign_residual, sigma_start=-1.0, sigma_end=-2.0)
    assert torch.equal(tiny.sample(model), tiny.sample(tiny.apply(mode="weights")))


def test_a_neighbour_is_heard_as_usual_while_the_adapter_rests(tiny: Tiny) -> None:
    """A run-time adapter outside its range: the neighbour's own range still counts."""
    attention = tiny.module("nodes.host.attention")
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, n, 32, generator=generator) for n in (16, 6, 6))
    extra = {"n_heads": 4, "cond_or_uncond": [1, 0], "sigmas": torch.tensor([5.0])}

    def out(rests: bool, **options: float) -> Tensor:
        bias = torch.ones(1, 32) if rests else None
        slot = attention.AttentionSlot(attention.SlotChange(bias, uid="late" if rests else None))
        return slot.add(foreign_residual, **options)(q, k, v, dict(extra))

    for options in ({}, {"sigma_start": 9.0, "sigma_end": 1.0}, {"sigma_start": 4.0}):
        assert torch.equal(out(True, **options), out(False, **options))
    assert torch.equal(out(True, sigma_start=5.0, sigma_end=5.0), out(False))
    assert difference(out(True, sigma_start=4.9), out(False)) > 1e-3
    assert difference(out(True, sigma_end=5.1), out(False)) > 1e-3


def test_inputs_changed_by_a_later_pack_reach_the_deltas(tiny: Tiny) -> None:
    """A patch that adds tokens to the text after ours must reach k and v deltas alike."""

    def longer(n: Tensor, context: Tensor, value: Tensor, extra: Any) -> tuple[Tensor, ...]:
        context = torch.cat([context, context[:, :4]], 1)
        return n, context, context

    results = []
    for mode in ("weights", "runtime"):
        model = tiny.apply(mode=mode).clone()
        model.set_model_attn2_patch(longer)
        results.append(tiny.sample(model))
    assert difference(results[1], results[0]) < 1e-4


def test_attention_override_stays_in_force(tiny: Tiny) -> None:
    """Sage attention and its like replace the host's attention through an override."""
    calls = []

    def override(inner: Any, *args: Any, **kwargs: Any) -> Tensor:
        calls.append(1)
        return inner(*args, **kwargs)

    model = tiny.apply(mode="weights").clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = override
    tiny.sample(model, steps=1)
    assert len(calls) >= 14


def test_lora_like_patches_add_up(tiny: Tiny) -> None:
    """Weight patches of others (LoRA) on the same layers, in either order."""
    key = "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
    shape = tiny.model.model.state_dict()[key].shape
    patch = {key: ("diff", (torch.randn(shape, generator=torch.Generator().manual_seed(3)),))}
    after = tiny.apply(mode="weights").clone()
    after.add_patches(patch, 0.2)
    before = tiny.model.clone()
    before.add_patches(patch, 0.2)
    before = tiny.apply(model=before, mode="weights")
    assert difference(tiny.sample(after), tiny.sample(before)) < CLOSE
    assert difference(tiny.sample(after), tiny.sample(tiny.apply(mode="weights"))) > 1e-3


def test_masked_slot_mixes_by_the_place_of_the_query(tiny: Tiny) -> None:
    """Cross-attention: exactly plain where the mask is black, exactly adapted where it is white."""
    attention = tiny.module("nodes.host.attention")
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, n, 32, generator=generator) for n in (16, 6, 6))
    bias = torch.randn(1, 32, generator=generator)
    mask = torch.zeros(1, 8, 8)
    mask[:, :, :4] = 1
    extra = {"n_heads": 4, "cond_or_uncond": [1, 0], "activations_shape": [2, 32, 4, 4]}

    def out(**change: Any) -> Tensor:
        slot = attention.AttentionSlot(attention.SlotChange(**change))
        return slot(q, k, v, dict(extra)).unflatten(1, (4, 4))

    plain, adapted, mixed = out(), out(bias=bias), out(bias=bias, mask=mask)
    assert torch.equal(mixed[:, :, 2:], plain[:, :, 2:])
    assert torch.allclose(mixed[:, :, :2], adapted[:, :, :2], atol=1e-6)


@pytest.mark.parametrize(
    "window", [{"ad_params": {"sub_idxs": [3, 1]}}, {"context_window": "core"}], ids=["ad", "core"]
)
def test_sliding_windows_pick_their_people(tiny: Tiny, window: dict[str, Any]) -> None:
    """A window gives the network some images of a long batch; each keeps its own person."""
    import comfy.context_windows

    attention = tiny.module("nodes.host.attention")
    if "context_window" in window:
        core = comfy.context_windows.IndexListContextWindow([3, 1], dim=0, total_frames=4)
        window = {"context_window": core}
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(4, n, 32, generator=generator) for n in (16, 6, 6))
    bias = torch.randn(4, 32, generator=generator)
    extra = {"n_heads": 4, "cond_or_uncond": [1, 0], "activations_shape": [4, 32, 4, 4]}

    def out(bias: Tensor, **more: Any) -> Tensor:
        slot = attention.AttentionSlot(attention.SlotChange(bias=bias))
        return slot(q, k, v, {**extra, **more})

    assert torch.equal(out(bias, **window), out(bias[[3, 1]]))
    if "ad_params" in window:  # of more images than there are people
        with pytest.raises(ValueError, match="4 identities for a batch of 2 images"):
            out(bias, ad_params={"sub_idxs": [4, 1]})

"""The adapter on a MODEL of the real host: correct, exact when off, and without side effects."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from in_host import Tiny, difference

CLOSE = 1e-4
VISIBLE = 1e-2


@pytest.fixture(scope="module")
def base(tiny: Tiny) -> torch.Tensor:
    return tiny.sample(tiny.model)


def test_adapter_changes_the_image_and_leaves_the_base_alone(
    tiny: Tiny, base: torch.Tensor
) -> None:
    adapted = tiny.sample(tiny.apply())
    assert difference(adapted, base) > VISIBLE
    assert torch.equal(tiny.sample(tiny.model), base)


@pytest.mark.parametrize("cfg", [1.0, 3.0])
@pytest.mark.parametrize("batch", [1, 3])
def test_both_routes_agree(tiny: Tiny, cfg: float, batch: int) -> None:
    weights = tiny.sample(tiny.apply(mode="weights"), cfg=cfg, batch=batch)
    runtime = tiny.sample(tiny.apply(mode="runtime"), cfg=cfg, batch=batch)
    assert difference(runtime, weights) < CLOSE


@pytest.mark.parametrize("mode", ["weights", "runtime"])
def test_batch_of_three_people_equals_three_runs(tiny: Tiny, mode: str) -> None:
    people = tiny.people(3)
    noise = torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(5))
    together = _one_call(tiny, tiny.apply(people=people, mode=mode), noise)
    for i, identity in enumerate(people.identities):
        alone = tiny.apply(people=type(people)((identity,)), mode=mode)
        assert difference(together[i : i + 1], _one_call(tiny, alone, noise[i : i + 1])) < CLOSE
    assert difference(together[0], together[1]) > VISIBLE


def _one_call(tiny: Tiny, model: Any, noise: torch.Tensor) -> torch.Tensor:
    import comfy.sample

    conds = tiny.prompt("a person"), tiny.prompt("")
    with torch.inference_mode():
        return comfy.sample.sample(
            model, noise, 1, 3.0, "euler", "normal", *conds, torch.zeros_like(noise),
            seed=1, disable_pbar=True,
        )  # fmt: skip


def test_identity_acts_in_both_cfg_halves(tiny: Tiny) -> None:
    """With cfg 0 only the unconditional half counts."""
    one = tiny.sample(tiny.apply(people=tiny.people(seed=1)), cfg=0.0)
    other = tiny.sample(tiny.apply(people=tiny.people(seed=2)), cfg=0.0)
    assert difference(one, other) > 1e-3


OFF: list[dict[str, Any]] = [
    {"weight": 0.0},
    {"start_percent": 0.5, "end_percent": 0.5},
    {"start_percent": 1.0, "end_percent": 0.0},
    {"mask": torch.zeros(1, 64, 64)},
]


@pytest.mark.parametrize("off", OFF, ids=["weight 0", "empty range", "reversed", "black mask"])
@pytest.mark.parametrize("mode", ["auto", "runtime"])
def test_off_is_bit_identical_to_absent(
    tiny: Tiny, base: torch.Tensor, off: dict[str, Any], mode: str
) -> None:
    assert torch.equal(tiny.sample(tiny.apply(mode=mode, **off)), base)


def test_white_mask_is_bit_identical_to_no_mask(tiny: Tiny) -> None:
    masked = tiny.apply(mode="runtime", mask=torch.ones(1, 64, 64))
    assert torch.equal(tiny.sample(masked), tiny.sample(tiny.apply(mode="runtime")))


def test_mask_acts_where_it_is_white(tiny: Tiny) -> None:
    """The network's own reach blurs the border, yet the change has its weight in the mask."""
    mask = torch.zeros(1, 128, 128)
    mask[:, :, :64] = 1
    changed = (tiny.sample(tiny.apply(mask=mask), steps=1) - tiny.sample(tiny.model, steps=1)).abs()
    assert changed[..., :8].mean() > 1.3 * changed[..., 8:].mean()


def test_percent_range_ends_the_adapter(tiny: Tiny) -> None:
    """Outside its range the adapter is absent, not just weak."""
    late = tiny.apply(start_percent=0.7)
    first_half = {"steps": 4, "start_step": 0, "last_step": 2, "force_full_denoise": False}
    assert torch.equal(tiny.sample(late, **first_half), tiny.sample(tiny.model, **first_half))
    assert difference(tiny.sample(late, steps=8), tiny.sample(tiny.model, steps=8)) > 1e-5


@pytest.mark.parametrize("masked", [False, True])
def test_a_range_holds_its_ends_and_nothing_beyond(tiny: Tiny, masked: bool) -> None:
    left = torch.zeros(1, 128, 128)
    left[..., :64] = 1
    levels = tiny.model.get_model_object("model_sampling")
    first, last = (float(levels.percent_to_sigma(percent)) for percent in (0.3, 0.6))

    def acting(start: float, end: float, *sigmas: float) -> list[bool]:
        mask = {"mask": left} if masked else {}
        model = tiny.apply(start_percent=start, end_percent=end, **mask)
        return [tiny.acts_at(model, sigma) for sigma in sigmas]

    inside, outside = (first, last), (1.001 * first, 0.999 * last)
    assert acting(0.3, 0.6, *inside, *outside) == [True, True, False, False]
    assert acting(0.3, 1.0, 0.01, 40.0) == [True, False]
    assert acting(0.0, 0.6, 40.0, 0.01) == [True, False]


def test_whole_range_at_runtime_equals_weights(tiny: Tiny) -> None:
    ranged = tiny.apply(start_percent=0.0, end_percent=0.9999)
    assert difference(tiny.sample(ranged), tiny.sample(tiny.apply())) < CLOSE


def test_weight_scales_alike_in_both_routes(tiny: Tiny) -> None:
    weights = tiny.sample(tiny.apply(mode="weights", weight=0.5))
    runtime = tiny.sample(tiny.apply(mode="runtime", weight=0.5))
    assert difference(runtime, weights) < CLOSE
    assert difference(weights, tiny.sample(tiny.apply())) > 1e-3


def test_two_adapters_add_up(tiny: Tiny) -> None:
    """One of weight 1 equals two of weight 1/2 with the same identity, in any mixture of routes."""
    whole = tiny.sample(tiny.apply())
    for first in ("weights", "runtime"):
        for second in ("weights", "runtime"):
            half = tiny.apply(mode=first, weight=0.5)
            both = tiny.apply(model=half, mode=second, weight=0.5)
            assert difference(tiny.sample(both), whole) < CLOSE, (first, second)


class FailureError(RuntimeError):
    """Of a neighbour, inside the network."""


@pytest.mark.parametrize("how", ["weights", "runtime", "masked"])
def test_a_failure_inside_the_network_leaves_nothing_behind(
    tiny: Tiny, base: torch.Tensor, how: str
) -> None:
    left = torch.zeros(1, 128, 128)
    left[..., :64] = 1
    mask = {"mask": left} if how == "masked" else {}
    model = tiny.apply(mode="runtime" if mask else how, **mask).clone()
    failing = False

    def neighbour(n: torch.Tensor, context: Any, value: Any, extra: Any) -> tuple[Any, ...]:
        if failing and tuple(extra["block"]) == ("middle", 0):
            raise FailureError
        return n, context, value

    model.set_model_attn2_patch(neighbour)
    net = tiny.model.model.diffusion_model

    def traces() -> list[int]:
        layers = list(net.modules())
        functions = [getattr(layer, "weight_function", ()) for layer in layers]
        return [len(layer._forward_hooks) for layer in layers] + [len(f) for f in functions]

    first = tiny.sample(model)
    before = traces()
    failing = True
    with pytest.raises(FailureError):
        tiny.sample(model)
    assert traces() == before
    failing = False
    assert torch.equal(tiny.sample(model), first)
    assert torch.equal(tiny.sample(tiny.model), base)


def test_bypassed_node_leaves_no_trace(tiny: Tiny, base: torch.Tensor) -> None:
    """A MODEL made before and one made after an adapted run give the same image, bit for bit."""
    before = tiny.model.clone()
    tiny.sample(tiny.apply(mode="weights"))
    tiny.sample(tiny.apply(mode="runtime"))
    assert torch.equal(tiny.sample(before), base)
    assert torch.equal(tiny.sample(tiny.model.clone()), base)


def test_apply_touches_no_input(tiny: Tiny) -> None:
    options = tiny.model.model_options
    tiny.apply(mode="weights")
    tiny.apply(mode="runtime")
    assert tiny.model.patches == {}
    assert "patches_replace" not in options["transformer_options"]
    assert not any(tiny.model.wrappers.values()) and not any(tiny.model.callbacks.values())


def test_weight_patches_are_as_the_host_makes_them(tiny: Tiny) -> None:
    """They are applied by a short cut and must equal the host's own result."""
    ours = tiny.apply(mode="weights", weight=0.5)
    by_host = tiny.model.clone()
    deltas = tiny.adapter.fused.weights
    patches = {f"diffusion_model.{key}": ("diff", (delta,)) for key, delta in deltas.items()}
    assert len(by_host.add_patches(patches, 0.5 * tiny.adapter.fused.delta)) == len(patches)
    assert ours.patches == by_host.patches
    assert ours.patches_uuid != tiny.model.patches_uuid


def test_auto_puts_the_adapter_into_the_weights_where_it_can(tiny: Tiny) -> None:
    left = torch.zeros(1, 64, 64)
    left[..., :32] = 1
    white: list[dict[str, Any]] = [{}, {"mask": torch.ones(1, 64, 64)}, {"weight": 0.3}]
    assert all(tiny.apply(**scope).patches for scope in white)
    parts: list[dict[str, Any]] = [{"start_percent": 0.1}, {"end_percent": 0.9}, {"mask": left}]
    assert not any(tiny.apply(**scope).patches for scope in parts)
    assert tiny.apply(tiny.recast(torch.float16)).patches
    assert not tiny.apply(tiny.recast(torch.float8_e4m3fn)).patches


def test_nothing_is_rebuilt_on_a_warm_graph(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second run reads neither the model's weights nor the adapter's."""
    people = tiny.people()
    for mode in ("weights", "runtime"):
        tiny.apply(people=people, mode=mode)

    def rebuilt(*_: Any, **__: Any) -> None:
        raise AssertionError("rebuilt")

    monkeypatch.setattr(type(tiny.adapter.fused), "query_bias", rebuilt)
    monkeypatch.setattr(tiny.module("nodes.host.runtime"), "build_deltas", rebuilt)
    monkeypatch.setattr(tiny.model.model, "state_dict", rebuilt)
    for mode in ("weights", "runtime"):
        tiny.apply(people=people, mode=mode, weight=0.7)


def test_other_people_after_the_first_count(tiny: Tiny) -> None:
    one, other = tiny.people(seed=1), tiny.people(seed=2)
    first = tiny.sample(tiny.apply(people=one))
    assert difference(tiny.sample(tiny.apply(people=other)), first) > 1e-3
    assert torch.equal(tiny.sample(tiny.apply(people=one)), first)


# ---- errors, each one sentence before sampling -------------------------------------------------


def test_other_encoder_is_named(tiny: Tiny) -> None:
    with pytest.raises(ValueError, match=r"'ir-se50'.*'tiny-world'"):
        tiny.apply(people=tiny.people(encoder="ir-se50"))


def test_weights_mode_refuses_what_varies(tiny: Tiny) -> None:
    with pytest.raises(ValueError, match="cannot vary over time or place"):
        tiny.apply(mode="weights", end_percent=0.5)


def test_wrong_number_of_people_is_refused(tiny: Tiny) -> None:
    with pytest.raises(ValueError, match="2 identities for a batch of 3 images"):
        tiny.sample(tiny.apply(people=tiny.people(2)), batch=3)


def test_model_of_another_kind_is_refused(tiny: Tiny) -> None:
    import comfy.model_base
    import comfy.model_patcher
    import comfy.supported_models

    sizes = dict(
        image_size=32, in_channels=4, out_channels=4, model_channels=64, num_res_blocks=[1, 1],
        channel_mult=(1, 2), transformer_depth=[1, 1], transformer_depth_output=[1, 1, 1, 1],
        transformer_depth_middle=1, context_dim=96, use_linear_in_transformer=False,
        use_spatial_transformer=True, legacy=False, adm_in_channels=None,
        use_temporal_attention=False, use_temporal_resblock=False, dtype=torch.float32,
    )  # fmt: skip
    net = comfy.model_base.BaseModel(comfy.supported_models.SD15(sizes))
    cpu = torch.device("cpu")
    other = comfy.model_patcher.ModelPatcher(net, load_device=cpu, offload_device=cpu)
    with pytest.raises(ValueError, match=r"does not fit this model.*64x128.*64x96.*tiny world"):
        tiny.apply(model=other)

"""Under the host's management: loaded and freed by it, interruptible, flat over many runs."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from in_host import Tiny, device_caches, difference

STATUS = Path("/proc/self/status")


def loaded(tiny: Tiny) -> list[Any]:
    import comfy.model_management as mm

    return [entry.model for entry in mm.current_loaded_models]


def test_host_counts_every_network(tiny: Tiny) -> None:
    """MODEL, run-time adapter, pose branch and analyzer are patchers with a size."""
    import nodes

    adapted = tiny.apply(mode="runtime")
    image = tiny.run("PoseFromAngles", 10.0, 0.0, 0.0, 128)[1]
    conds = nodes.ControlNetApplyAdvanced().apply_controlnet(
        tiny.prompt("a person"), tiny.prompt(""), tiny.control, image, 1.0, 0.0, 1.0
    )
    tiny.sample(adapted, *conds)
    models = [patcher.model for patcher in loaded(tiny)]
    delta = next(iter(tiny.adapter.deltas.values()))
    for net in (tiny.model.model, tiny.control.control_model, delta.patcher.model):
        assert any(net is model for model in models)
    assert delta.patcher.model_size() > 0


def test_networks_go_with_their_last_owner(tiny: Tiny) -> None:
    adapter, control = tiny.load_adapter("tiny_dense_face")
    tiny.sample(tiny.apply(adapter=adapter, mode="runtime"))
    nets = [next(iter(adapter.deltas.values())).patcher.model, control.control_model]
    watched = [weakref.ref(net) for net in nets]
    del adapter, control, nets
    gc.collect()
    assert [ref() for ref in watched] == [None, None]


def test_everything_unloads_and_comes_back(tiny: Tiny) -> None:
    import comfy.model_management as mm

    before = tiny.sample(tiny.apply(mode="weights"))
    mm.unload_all_models()
    assert torch.equal(tiny.sample(tiny.apply(mode="weights")), before)
    mm.unload_all_models()
    assert difference(tiny.sample(tiny.apply(mode="runtime")), before) < 1e-4


@pytest.mark.parametrize("mode", ["weights", "runtime"])
def test_runs_again_and_again_without_growth(tiny: Tiny, mode: str) -> None:
    """The same graph ten times over: the same image, and no object more than after the first."""

    def run() -> torch.Tensor:
        return tiny.sample(tiny.apply(mode=mode), steps=1)

    first = run()
    gc.collect()
    slot = tiny.module("nodes.host.attention").AttentionSlot
    patcher = type(tiny.model)
    before = [_alive(kind) for kind in (slot, patcher, torch.Tensor)]
    for _ in range(10):
        assert torch.equal(run(), first)
    gc.collect()
    after = [_alive(kind) for kind in (slot, patcher, torch.Tensor)]
    assert all(b <= a + 4 for a, b in zip(before, after, strict=True)), (before, after)


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.is_file(), reason="this system does not report resident memory")
def test_fifty_queued_runs_leave_memory_flat(tiny: Tiny) -> None:
    """Everything the pack adds, as a queue runs it: both routes, pose, both modes at once."""
    import comfy.samplers

    import nodes

    image = tiny.run("PoseFromAngles", 10.0, 0.0, 0.0, 128)[1]
    people, mask = tiny.people(), torch.zeros(1, 128, 128)
    mask[:, :, :64] = 1

    def run(i: int) -> None:
        prompt = tiny.run("EncodePrompt", tiny.clip, tiny.adapter, "a photo of *", people)
        conds = nodes.ControlNetApplyAdvanced().apply_controlnet(
            prompt, tiny.prompt(""), tiny.control, image, 1.0, 0.0, 1.0
        )
        face = tiny.apply(people=people, mode=("weights", "runtime")[i % 2], weight=1 + i / 100)
        tiny.sample(face, *conds, steps=1, seed=i)
        text = tiny.prompt("a person"), tiny.prompt("")
        guider = tiny.run(
            "JointGuider", tiny.model, *text, face, *conds, mask, 3.0, 3.0, 0.0, 1.0, 0.0
        )
        latent = torch.zeros(1, 4, 16, 16)
        with torch.inference_mode():
            sampler = comfy.samplers.sampler_object("euler")
            levels = torch.tensor([2.0, 0.0])
            guider.sample(latent, latent, sampler, levels, disable_pbar=True, seed=i)

    for i in range(10):
        run(i)
    held = [_resident()]
    for i in range(50):
        run(i)
        held.append(_resident())
    print(f"resident memory over 50 runs: {held[0]:.1f} MB to {held[-1]:.1f} MB")
    assert held[-1] - held[0] < 5, held


def _resident() -> float:
    """Megabytes of this process."""
    gc.collect()
    lines = STATUS.read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def _alive(kind: type) -> int:
    return sum(type(thing) is kind for thing in gc.get_objects())


def test_slots_keep_no_tensors_on_a_device_after_sampling(tiny: Tiny) -> None:
    before = device_caches(tiny)
    model = tiny.apply(mode="weights")
    tiny.sample(model)
    caches = device_caches(tiny, before)
    assert caches and not any(len(cache) for cache in caches)


@pytest.mark.parametrize("mode", ["weights", "runtime"])
def test_interruption_leaves_the_model_as_it_was(tiny: Tiny, mode: str) -> None:
    import comfy.model_management as mm
    import comfy.sample

    base = tiny.sample(tiny.model)
    conds = tiny.prompt("a person"), tiny.prompt("")

    def stop(step: int, *_: Any) -> None:
        if step == 1:
            raise mm.InterruptProcessingException

    latent = torch.zeros(1, 4, 16, 16)
    with torch.inference_mode(), pytest.raises(mm.InterruptProcessingException):
        comfy.sample.sample(
            tiny.apply(mode=mode), torch.randn_like(latent), 4, 3.0, "euler", "normal", *conds,
            latent, callback=stop, disable_pbar=True,
        )  # fmt: skip
    assert torch.equal(tiny.sample(tiny.model), base)
    assert difference(tiny.sample(tiny.apply(mode=mode)), base) > 1e-3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mode", ["weights", "runtime"])
def test_half_precision_bases(tiny: Tiny, dtype: torch.dtype, mode: str) -> None:
    """A base kept in half precision (computed in float32 here): near the full one, and finite."""
    half = tiny.recast(dtype)
    full = tiny.sample(tiny.apply())
    drawn = tiny.sample(tiny.apply(model=half, mode=mode))
    assert bool(torch.isfinite(drawn).all())
    assert difference(drawn, full) < 0.05
    assert difference(drawn, tiny.sample(half)) > 1e-3


def test_quantised_base_takes_the_runtime_route(tiny: Tiny) -> None:
    eighth = tiny.recast(torch.float8_e4m3fn)
    adapted = tiny.apply(model=eighth)
    assert adapted.patches == {}
    drawn = tiny.sample(adapted)
    assert bool(torch.isfinite(drawn).all())
    assert difference(drawn, tiny.sample(eighth)) > 1e-3


def test_model_can_be_made_anew_for_another_device(tiny: Tiny) -> None:
    """What the host does for multi-GPU and torch.compile under dynamic VRAM."""
    again = tiny.model.clone(force_deepcopy=True)
    assert again.model is not tiny.model.model
    assert torch.equal(tiny.sample(again), tiny.sample(tiny.model))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["weights", "runtime"])
def test_torch_compile_tracing(tiny: Tiny, mode: str) -> None:
    """The host's own compile wrapper with the backend that only traces."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    # The host drops guards on patches: code compiled for other patches must not be found here.
    torch._dynamo.reset()
    adapted = tiny.apply(mode=mode)
    plain = tiny.sample(adapted)
    compiled = adapted.clone()
    guards = {"guard_filter_fn": lambda e: ["transformer_options" not in g.name for g in e]}
    set_torch_compile_wrapper(model=compiled, backend="eager", options=guards)
    assert difference(tiny.sample(compiled), plain) < 1e-5

"""SFSR beside Dense-Face, its pose branch and packs that use the same attention slots."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from foreign_pack import foreign_node
from in_host import Tiny, device_caches, difference
from sfsr_in_host import apply, background, expressions, face_mask, random_adapter
from torch import Tensor

CLOSE, SEEN = 1e-5, 1e-3


@pytest.fixture(scope="module")
def adapter(tiny: Tiny) -> Any:
    return random_adapter(tiny)


def posed(tiny: Tiny) -> tuple[Any, Any]:
    """Both CONDITIONINGs with the pose branch as an ordinary control net."""
    import nodes

    image = tiny.run("PoseFromAngles", 25.0, 5.0, 0.0, 128)[1]
    conds = tiny.prompt("a person"), tiny.prompt("")
    return nodes.ControlNetApplyAdvanced().apply_controlnet(
        *conds, tiny.control, image, 1.0, 0.0, 1.0
    )


CELLS = torch.zeros(1, 128, 128)
CELLS[:, 32:96, 32:96] = 1

DENSE: dict[str, dict[str, Any]] = {
    "weights": {"mode": "weights"},
    "runtime": {"mode": "runtime"},
    "range": {"end_percent": 0.6},
    "mask": {"mask": CELLS},
}


@pytest.mark.parametrize("options", DENSE.values(), ids=DENSE)
def test_dense_face_in_either_order(tiny: Tiny, adapter: Any, options: dict[str, Any]) -> None:
    after = tiny.sample(apply(tiny, adapter, tiny.apply(**options)))
    before = tiny.sample(tiny.apply(model=apply(tiny, adapter), **options))
    assert difference(after, before) < CLOSE
    assert difference(after, tiny.sample(tiny.apply(**options))) > SEEN
    assert difference(after, tiny.sample(apply(tiny, adapter))) > SEEN


@pytest.mark.parametrize("dense", [None, "weights", "runtime"])
def test_packs_in_the_same_slot_in_any_order(tiny: Tiny, adapter: Any, dense: str | None) -> None:
    """The foreign pack first, between and last; its output depends on the query."""

    def drawn(order: str) -> Tensor:
        model = tiny.model
        for step in order:
            if step == "F":
                model = foreign_node(model)
            elif step == "S":
                model = apply(tiny, adapter, model)
            elif dense is not None:
                model = tiny.apply(model=model, mode=dense)
        return tiny.sample(model)

    first = drawn("FSD")
    for order in ("FDS", "SFD", "DFS", "SDF", "DSF"):
        assert difference(drawn(order), first) < CLOSE, order
    assert difference(drawn("SD"), first) > SEEN and difference(drawn("FD"), first) > SEEN


def test_additions_do_not_pile_up_in_a_cached_model(tiny: Tiny, adapter: Any) -> None:
    cached = apply(tiny, adapter)
    alone, first = tiny.sample(cached), tiny.sample(foreign_node(cached))
    twice = tiny.sample(apply(tiny, adapter, cached))
    for _ in range(2):
        assert torch.equal(tiny.sample(foreign_node(cached)), first)
        assert torch.equal(tiny.sample(apply(tiny, adapter, cached)), twice)
    assert torch.equal(tiny.sample(cached), alone)
    assert difference(twice, alone) > SEEN


def test_all_four_on_one_model(tiny: Tiny, adapter: Any) -> None:
    """Identity, expression, scene and pose with Dense-Face: each counts, in either order."""
    place = background(tiny)[0]
    conds = posed(tiny)

    def drawn(dense: bool = True, pose: bool = True, late: bool = False, **changes: Any) -> Tensor:
        model = tiny.apply() if dense and not late else tiny.model
        model = apply(tiny, adapter, model, **{"background": place, **changes})
        model = tiny.apply(model=model) if dense and late else model
        plain = tiny.prompt("a person"), tiny.prompt("")
        return tiny.sample(model, *(conds if pose else plain))

    whole = drawn()
    assert bool(whole.isfinite().all())
    assert difference(drawn(late=True), whole) < CLOSE
    lacks: tuple[dict[str, Any], ...] = (
        {"dense": False},
        {"pose": False},
        {"identity_weight": 0.0},
        {"expression_weight": 0.0},
        {"background": None},
    )
    for without in lacks:
        assert difference(drawn(**without), whole) > SEEN, without
    off: dict[str, Any] = {"identity_weight": 0.0, "expression_weight": 0.0, "background": None}
    assert torch.equal(drawn(**off), tiny.sample(tiny.apply(), *conds))


def test_two_people_with_a_mask_each(tiny: Tiny, adapter: Any) -> None:
    left = torch.zeros(1, 128, 128)
    left[:, :, :64] = 1
    one, other = tiny.people(seed=1), tiny.people(seed=2)
    both = apply(tiny, adapter, apply(tiny, adapter, people=one, mask=left), other, mask=1 - left)
    same = apply(tiny, adapter, apply(tiny, adapter, people=one, mask=left), one, mask=1 - left)
    whole = tiny.sample(apply(tiny, adapter, people=one), steps=1)
    assert difference(tiny.sample(same, steps=1), whole) < 1e-4
    assert difference(tiny.sample(both, steps=1), whole) > SEEN


def test_as_face_mode_of_the_joint_guider(tiny: Tiny, adapter: Any) -> None:
    """SFSR on the face's MODEL only: where that has no weight it changes nothing."""
    import comfy.samplers

    place = background(tiny)[0]
    face = apply(tiny, adapter, tiny.apply(), background=place)
    text, mask = (tiny.prompt("a person"), tiny.prompt("")), torch.zeros(1, 128, 128)
    mask[:, :, :64] = 1

    def drawn(model: Any, mask: Tensor) -> Tensor:
        guider = tiny.run(
            "JointGuider", tiny.model, *text, model, *text, mask, 3.0, 3.0, 0.0, 1.0, 0.0
        )
        latent = torch.zeros(1, 4, 16, 16)
        with torch.inference_mode():
            sampler, levels = comfy.samplers.sampler_object("euler"), torch.tensor([2.0, 0.0])
            noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))
            return guider.sample(noise, latent, sampler, levels, disable_pbar=True, seed=1)

    both, plain = drawn(face, mask), drawn(face, torch.zeros_like(mask))
    assert torch.equal(both[..., 8:], plain[..., 8:])
    assert difference(both[..., :8], drawn(tiny.apply(), mask)[..., :8]) > SEEN


# ---- memory -------------------------------------------------------------------------------------


def test_nothing_stays_after_a_sampling(tiny: Tiny, adapter: Any) -> None:
    before = device_caches(tiny)
    model = apply(tiny, adapter, tiny.apply(), background=background(tiny)[0], mask=face_mask())
    tiny.sample(model)
    caches = device_caches(tiny, before)
    assert len(caches) >= 7 + 1  # one for each layer, one for the scene
    assert not any(len(cache) for cache in caches)


def test_an_adapter_keeps_no_model_alive(tiny: Tiny) -> None:
    adapter = random_adapter(tiny)
    other = tiny.recast(torch.float32)
    drawn = apply(tiny, adapter, other, background=background(tiny)[0])
    watched = weakref.ref(other.model)
    del other, drawn
    gc.collect()
    assert watched() is None
    kept = weakref.ref(adapter.adapter)
    del adapter
    gc.collect()
    assert kept() is None


def test_again_and_again_without_growth(tiny: Tiny, adapter: Any) -> None:
    place, faces, people = background(tiny)[0], expressions(tiny), tiny.people()

    def run() -> Tensor:
        inputs = {"expression": faces, "background": place}
        return tiny.sample(apply(tiny, adapter, people=people, **inputs), steps=1)

    first = run()
    counts = []
    for _ in range(6):
        assert torch.equal(run(), first)
        gc.collect()
        counts.append(sum(type(thing) is Tensor for thing in gc.get_objects()))
    assert counts[-1] <= counts[0] + 4, counts


def test_interruption_leaves_the_model_as_it_was(tiny: Tiny, adapter: Any) -> None:
    import comfy.model_management as mm

    base = tiny.sample(tiny.model)
    model = apply(tiny, adapter, background=background(tiny)[0])
    whole = tiny.sample(model)

    def stop(step: int, *_: Any) -> None:
        raise mm.InterruptProcessingException

    with pytest.raises(mm.InterruptProcessingException):
        tiny.sample(model, callback=stop)
    assert torch.equal(tiny.sample(tiny.model), base)
    assert torch.equal(tiny.sample(model), whole)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_small_bases(tiny: Tiny, adapter: Any, dtype: torch.dtype) -> None:
    """A base kept in fewer bits (computed in float32 here): near the full one, and finite."""
    small = tiny.recast(dtype)
    drawn = tiny.sample(apply(tiny, adapter, small, background=background(tiny)[0]))
    assert bool(drawn.isfinite().all())
    assert difference(drawn, tiny.sample(small)) > SEEN
    if dtype != torch.float8_e4m3fn:
        full = tiny.sample(apply(tiny, adapter, background=background(tiny)[0]))
        assert difference(drawn, full) < 0.05


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_layers_in_half_precision(tiny: Tiny, adapter: Any, dtype: torch.dtype) -> None:
    """The sources' output has the query's dtype and is close to full precision."""
    sources = tiny.module("nodes.host.sfsr.sources")
    person = adapter.tokens.identity((tiny.people(),))
    source = sources.Source("identities", person.present)
    share = sources.LayerSources("u", "middle_block", (source,))
    q = torch.randn(2, 16, 128, generator=torch.Generator().manual_seed(0))
    extra = {"n_heads": 4, "cond_or_uncond": [1, 0], sources.ACTING: {"u": ("identities",)}}
    full = share(q, q, q, q, extra)
    half = share(*(q.to(dtype) for _ in range(4)), extra)
    assert half.dtype == dtype and not half[0].any()
    assert difference(half.float(), full) < 0.02
    assert share(q, q, q, q, {**extra, sources.ACTING: {"u": ()}}) is None


@pytest.mark.slow
def test_torch_compile_tracing(tiny: Tiny, adapter: Any) -> None:
    """The host's own compile wrapper with the backend that only traces."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    torch._dynamo.reset()
    model = apply(tiny, adapter, background=background(tiny)[0])
    plain = tiny.sample(model)
    compiled = model.clone()
    guards = {"guard_filter_fn": lambda e: ["transformer_options" not in g.name for g in e]}
    set_torch_compile_wrapper(model=compiled, backend="eager", options=guards)
    assert difference(tiny.sample(compiled), plain) < 1e-5

"""However the host splits and joins its calls, each image keeps its person, pose and place.

The route through the weights needs no batching but for the query bias; the run-time route follows
every cut by itself. So the two agree only where both are right.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from in_host import Tiny, difference, little_memory
from torch import Tensor

CLOSE = 1e-4
CASES = [1, 3]
"""People for a batch of three images: one for all, or one each."""


def one_step(tiny: Tiny, model: Any, positive: Any, **options: Any) -> Tensor:
    """Three images, one step: a single call of the network, nothing amplified."""
    return tiny.sample(model, positive, tiny.prompt(""), batch=3, steps=1, **options)


def both(tiny: Tiny, count: int, positive: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """The same by the two routes."""
    people = tiny.people(count)
    weights, runtime = (
        one_step(tiny, tiny.apply(people=people, mode=mode), positive, **options)
        for mode in ("weights", "runtime")
    )
    return weights, runtime


def two_prompts(tiny: Tiny) -> Any:
    """Two positive conditionings at once (Conditioning Combine): three with the negative."""
    return tiny.prompt("a person with red hair") + tiny.prompt("a person, smiling")


def areas(tiny: Tiny) -> Any:
    """Two prompts for two halves that overlap: crops of other sizes than the image."""
    left, right = tiny.prompt("a person with red hair")[0], tiny.prompt("a blue background")[0]
    return [
        [left[0], {**left[1], "area": (16, 10, 0, 0)}],
        [right[0], {**right[1], "area": (16, 8, 0, 8)}],
    ]


def longer(tiny: Tiny) -> Any:
    """Two chunks of text beside one of the negative prompt."""
    return tiny.prompt("a portrait of a person with " + "red hair, " * 30)


@pytest.mark.parametrize("count", CASES)
@pytest.mark.parametrize("prompts", [two_prompts, areas, longer])
def test_routes_agree(tiny: Tiny, prompts: Any, count: int) -> None:
    weights, runtime = both(tiny, count, prompts(tiny))
    assert difference(runtime, weights) < CLOSE


@pytest.mark.parametrize("mode", ["weights", "runtime"])
@pytest.mark.parametrize("prompts", [two_prompts, areas, longer])
def test_each_image_has_its_own_person(tiny: Tiny, prompts: Any, mode: str) -> None:
    """Three people at once equal each of them for all three images."""
    people = tiny.people(3)
    positive = prompts(tiny)
    together = one_step(tiny, tiny.apply(people=people, mode=mode), positive)
    alone = [
        one_step(tiny, tiny.apply(people=type(people)((who,)), mode=mode), positive)
        for who in people.identities
    ]
    for i, all_of_one in enumerate(alone):
        assert difference(together[i], all_of_one[i]) < CLOSE
    assert difference(together[0], alone[2][0]) > 1e-3


@pytest.mark.parametrize("count", CASES)
@pytest.mark.parametrize("prompts", [two_prompts, areas])
@pytest.mark.parametrize("mode", ["weights", "runtime"])
def test_split_batches_equal_joined_ones(
    tiny: Tiny, prompts: Any, count: int, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.apply(people=tiny.people(count), mode=mode)
    positive = prompts(tiny)
    joined = one_step(tiny, model, positive)
    calls = calls_of(tiny, monkeypatch)
    one_step(tiny, model, positive)
    before = len(calls)
    little_memory(tiny, monkeypatch)
    assert difference(one_step(tiny, model, positive), joined) < CLOSE
    assert len(calls) - before > before, "the host did not split"


def calls_of(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Batch sizes of the calls of the network from now on."""
    sizes: list[int] = []
    net = tiny.model.model.diffusion_model
    inner = net.forward

    def watched(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        sizes.append(x.shape[0])
        return inner(x, *args, **kwargs)

    monkeypatch.setattr(net, "forward", watched)
    return sizes


def test_mask_of_the_adapter_follows_the_batch(tiny: Tiny) -> None:
    """One mask for each of three images, in a batch of three conditionings."""
    masks = torch.zeros(3, 128, 128)
    masks[0], masks[1, :, :64] = 1, 1
    together = one_step(tiny, tiny.apply(mask=masks), two_prompts(tiny))
    for i in range(3):
        single = tiny.apply(mask=masks[i : i + 1], mode="runtime")
        assert difference(together[i], one_step(tiny, single, two_prompts(tiny))[i]) < CLOSE
    plain = one_step(tiny, tiny.model, two_prompts(tiny))
    assert difference(together[2], plain[2]) < CLOSE
    assert difference(together[0], plain[0]) > 1e-2


@pytest.mark.parametrize("size", [(13, 17), (9, 16)])
def test_odd_latents(tiny: Tiny, size: tuple[int, int]) -> None:
    """Images whose sides 8 divides and 16 does not: adapter, mask and pose fit them too."""
    import nodes

    image = tiny.run("PoseFromAngles", 20.0, 0.0, 0.0, 128)[1]
    posed = nodes.ControlNetApplyAdvanced().apply_controlnet(
        tiny.prompt("a person"), tiny.prompt(""), tiny.control, image, 1.0, 0.0, 1.0
    )
    mask = torch.zeros(1, 100, 130)
    mask[:, :, :65] = 1
    latent = torch.zeros(1, 4, *size)
    drawn = {
        name: tiny.sample(model, *posed, steps=1, latent=latent)
        for name, model in (
            ("weights", tiny.apply(mode="weights")),
            ("runtime", tiny.apply(mode="runtime")),
            ("masked", tiny.apply(mask=mask)),
            ("plain", tiny.model),
        )
    }
    assert all(d.shape == latent.shape and bool(d.isfinite().all()) for d in drawn.values())
    assert difference(drawn["runtime"], drawn["weights"]) < CLOSE
    half = size[1] // 2
    change = (drawn["masked"] - drawn["plain"]).abs()
    assert change[..., :half].mean() > change[..., half + 1 :].mean()

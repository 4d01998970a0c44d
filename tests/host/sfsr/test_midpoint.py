"""The midpoint sampler in the host, against the host's own samplers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from in_host import Tiny
from torch import Tensor


def sample(tiny: Tiny, sampler: Any, **changes: Any) -> Tensor:
    import comfy.sample

    latent = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(2))
    sigmas = changes.pop("sigmas", None)
    sigmas = scheduled(tiny) if sigmas is None else sigmas
    model = changes.pop("model", tiny.model)
    options = {"disable_pbar": True, "seed": 3, **changes}
    conds = tiny.prompt("a person"), tiny.prompt("")
    with torch.inference_mode():
        noise = comfy.sample.prepare_noise(latent, 3)
        return comfy.sample.sample_custom(
            model, noise, 3.0, sampler, sigmas, *conds, latent, **options
        )


def scheduled(tiny: Tiny, scheduler: str = "karras", steps: int = 4) -> Tensor:
    import comfy.samplers

    levels = tiny.model.get_model_object("model_sampling")
    return comfy.samplers.calculate_sigmas(levels, scheduler, steps)


def of_the_host(name: str) -> Any:
    import comfy.samplers

    return comfy.samplers.sampler_object(name)


def midpoint(
    tiny: Tiny, rule: str = "geometric", switch: float = 0.0, finish: str = "euler"
) -> Any:
    return tiny.run("MidpointSampler", rule, switch, finish)[0]


@contextmanager
def counted(tiny: Tiny) -> Iterator[tuple[Any, list[int]]]:
    """A clone of the model that notes each time the network is calls."""
    from comfy.patcher_extension import WrappersMP

    calls: list[int] = []

    def wrapper(executor: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return executor(*args, **kwargs)

    model = tiny.model.clone()
    model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "count", wrapper)
    yield model, calls


@pytest.mark.parametrize("scheduler", ["karras", "normal", "ddim_uniform"])
def test_geometric_and_euler_is_dpm_2_bit_for_bit(tiny: Tiny, scheduler: str) -> None:
    sigmas = scheduled(tiny, scheduler)
    ours = sample(tiny, midpoint(tiny), sigmas=sigmas)
    assert torch.equal(ours, sample(tiny, of_the_host("dpm_2"), sigmas=sigmas))
    # And to a run that stops before the end.
    ours = sample(tiny, midpoint(tiny), sigmas=sigmas[:3])
    assert torch.equal(ours, sample(tiny, of_the_host("dpm_2"), sigmas=sigmas[:3]))


def test_noise_mask_is_dpm_2_too(tiny: Tiny) -> None:
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 4:12, 4:12] = 1
    ours = sample(tiny, midpoint(tiny), noise_mask=mask)
    assert torch.equal(ours, sample(tiny, of_the_host("dpm_2"), noise_mask=mask))
    finished = sample(
        tiny,
        midpoint(tiny, finish="3 nodes"),
        noise_mask=mask,
        sigmas=scheduled(tiny, "ddim_uniform"),
    )
    kept = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(2))
    outside = mask.expand(2, 4, 16, 16) == 0
    # The host scales latents by 0.18215 and back: not the last bit.
    assert (finished - kept)[outside].abs().max() < 1e-5


def test_switch_at_the_end_is_euler_bit_for_bit(tiny: Tiny) -> None:
    ours = sample(tiny, midpoint(tiny, switch=1.0))
    assert torch.equal(ours, sample(tiny, of_the_host("euler")))


def test_choices_change_the_image(tiny: Tiny) -> None:
    sigmas = scheduled(tiny, "ddim_uniform")
    images = [
        sample(tiny, midpoint(tiny, *choice), sigmas=sigmas)
        for choice in (
            ("geometric", 0.0, "euler"),
            ("half_t", 0.0, "euler"),
            ("sigma_half", 0.0, "euler"),
            ("geometric", 0.5, "euler"),
            ("geometric", 0.0, "2 nodes"),
        )
    ]
    for i, one in enumerate(images):
        assert bool(one.isfinite().all())
        assert all(not torch.equal(one, other) for other in images[:i])


@pytest.mark.parametrize(
    ("scheduler", "switch", "finish", "count"),
    [
        ("karras", 0.0, "euler", 7),
        ("karras", 0.5, "euler", 5),
        ("karras", 0.0, "4 nodes", 7),  # ends at the lowest level: no room for nodes
        ("ddim_uniform", 0.0, "3 nodes", 9),
        ("ddim_uniform", 1.0, "2 nodes", 5),
    ],
)
def test_evaluations_are_those_that_happen(
    tiny: Tiny, scheduler: str, switch: float, finish: str, count: int
) -> None:
    sigmas = scheduled(tiny, scheduler)
    sampler, evaluations = tiny.run(
        "MidpointSampler", "geometric", switch, finish, model=tiny.model, sigmas=sigmas
    )
    with counted(tiny) as (model, calls):
        sample(tiny, sampler, model=model, sigmas=sigmas)
    assert evaluations == len(calls) == count


def test_evaluations_without_what_it_takes(tiny: Tiny) -> None:
    sigmas = scheduled(tiny)
    assert tiny.run("MidpointSampler", "geometric", 0.0, "euler")[1] == 0
    assert tiny.run("MidpointSampler", "geometric", 0.0, "euler", sigmas=sigmas)[1] == 7
    assert tiny.run("MidpointSampler", "geometric", 0.0, "2 nodes", sigmas=sigmas)[1] == 0


def test_previews_and_stopping(tiny: Tiny) -> None:
    import comfy.model_management as mm

    steps_done: list[tuple[int, int]] = []

    def callback(step: int, x0: Tensor, x: Tensor, total: int) -> None:
        steps_done.append((step, total))
        assert x0.shape == x.shape == (2, 4, 16, 16)
        if step == 2:
            raise mm.InterruptProcessingException

    with counted(tiny) as (model, calls), pytest.raises(mm.InterruptProcessingException):
        sample(tiny, midpoint(tiny), model=model, callback=callback)
    assert steps_done == [(0, 4), (1, 4), (2, 4)] and len(calls) == 5


def test_flow_models_are_sampled_like_dpm_2(tiny: Tiny) -> None:
    import comfy.model_sampling

    class Flow(comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST):
        pass

    flow = tiny.model.clone()
    flow.add_object_patch("model_sampling", Flow())
    sigmas = torch.tensor([1.0, 0.7, 0.4, 0.0])
    ours = sample(tiny, midpoint(tiny), model=flow, sigmas=sigmas)
    assert torch.equal(ours, sample(tiny, of_the_host("dpm_2"), model=flow, sigmas=sigmas))
    for rule in ("half_t", "sigma_half"):
        other = sample(tiny, midpoint(tiny, rule, finish="2 nodes"), model=flow, sigmas=sigmas)
        assert bool(other.isfinite().all())

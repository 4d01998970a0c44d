"""Latent blending: polarity, order of the noises, fixed noise and the last blend."""

from __future__ import annotations

import pytest
import torch
from comfyui_dense_face.dense_face.blending import (
    Step,
    area_resize,
    blended_ddim,
    ddim_step,
    gaussian,
    q_sample,
)
from comfyui_dense_face.dense_face.schedule import ddim_schedule
from comfyui_dense_face.evaluation.parity.release_mask import release_mask
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

SHAPE = (1, 4, 6, 6)


def redraw_right() -> Tensor:
    mask = torch.zeros(1, 1, 6, 6)
    mask[..., 3:] = 1
    return mask


def no_noise(x: Tensor, t: Tensor) -> Tensor:
    return torch.zeros_like(x)


def draws(seed: int = 0) -> object:
    return gaussian(SHAPE, torch.Generator().manual_seed(seed))


def test_perfect_network_returns_the_base() -> None:
    """With the true noise predicted, a deterministic run reproduces x0 from any step count."""
    x0, noise = torch.randn(SHAPE), torch.randn(SHAPE)
    schedule = ddim_schedule(10, 0.0)

    def oracle(x: Tensor, t: Tensor) -> Tensor:
        return noise

    found = blended_ddim(oracle, x0, None, schedule, lambda: noise)
    # The grid ends at alpha_0, not at 1: what is left is that much noise.
    expected = q_sample(x0, schedule.alphas_prev[0], noise)
    assert torch.allclose(found, expected, atol=1e-5)


def test_background_enters_every_step_noised_alike() -> None:
    x0, steps = torch.randn(SHAPE), []
    schedule = ddim_schedule(5)
    drawn: list[Tensor] = []

    def draw() -> Tensor:
        drawn.append(torch.randn(SHAPE))
        return drawn[-1]

    blended_ddim(no_noise, x0, redraw_right(), schedule, draw, callback=steps.append)
    assert len(drawn) == 1 + 2 * 5
    for step, noise in zip(steps, drawn[1::2], strict=True):
        base = q_sample(x0, schedule.alphas[4 - step.index], noise)
        assert torch.equal(step.model_in[..., :3], base[..., :3])
        assert not torch.equal(step.model_in[..., 3:], base[..., 3:])
    assert [step.timestep for step in steps] == [801, 601, 401, 201, 1]


def test_fixed_noise_draws_once_for_the_background() -> None:
    x0, steps = torch.randn(SHAPE), []
    drawn: list[Tensor] = []

    def draw() -> Tensor:
        drawn.append(torch.randn(SHAPE))
        return drawn[-1]

    schedule = ddim_schedule(5)
    start = torch.randn(SHAPE)
    blended_ddim(
        no_noise,
        x0,
        redraw_right(),
        schedule,
        draw,
        start=start,
        fixed_noise=True,
        callback=steps.append,
    )
    assert len(drawn) == 1 + 5
    for step in steps:
        base = q_sample(x0, schedule.alphas[4 - step.index], drawn[0])
        assert torch.equal(step.model_in[..., :3], base[..., :3])
    assert torch.equal(steps[0].model_in[..., 3:], start[..., 3:])


def test_last_blend_keeps_the_base_bit_for_bit() -> None:
    x0 = torch.randn(SHAPE)
    found = [
        blended_ddim(no_noise, x0, redraw_right(), ddim_schedule(3), draws(), final_blend=last)
        for last in (False, True)
    ]
    assert torch.equal(found[1][..., :3], x0[..., :3])
    assert torch.equal(found[1][..., 3:], found[0][..., 3:])
    assert not torch.equal(found[0][..., :3], x0[..., :3])


def test_all_generated_equals_no_mask_with_the_same_noises() -> None:
    x0 = torch.randn(SHAPE)
    everything = torch.ones(1, 1, 6, 6)
    with_mask: list[Step] = []
    blended_ddim(
        no_noise, x0, everything, ddim_schedule(3, 0.0), draws(), callback=with_mask.append
    )
    without = blended_ddim(no_noise, x0, None, ddim_schedule(3, 0.0), draws())
    assert torch.equal(with_mask[-1].x, without)


def test_step_without_noise_is_deterministic() -> None:
    x, eps = torch.randn(SHAPE), torch.randn(SHAPE)
    a, before, zero = torch.tensor(0.5), torch.tensor(0.8), torch.tensor(0.0)
    assert torch.equal(
        ddim_step(x, eps, a, before, zero, torch.randn(SHAPE))[0],
        ddim_step(x, eps, a, before, zero, None)[0],
    )


@settings(deadline=None)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    new=st.tuples(st.integers(1, 12), st.integers(1, 12)),
)
def test_area_resize_keeps_mean_and_range(size: tuple[int, int], new: tuple[int, int]) -> None:
    image = torch.rand(1, 1, *size, dtype=torch.float64)
    small = area_resize(image, *new)
    assert small.shape[-2:] == new
    assert small.mean().item() == pytest.approx(image.mean().item(), abs=1e-9)
    assert small.min() >= image.min() - 1e-9 and small.max() <= image.max() + 1e-9


def test_the_releases_mask_keeps_cells_from_the_threshold_on() -> None:
    image = torch.zeros(1, 1, 16, 16)
    image[..., :7] = 1
    assert release_mask(image, 2, 2)[0, 0].tolist() == [[1, 0], [1, 0]]
    assert not release_mask(0.74 * torch.ones(1, 1, 8, 8), 2, 2).any()
    assert release_mask(0.76 * torch.ones(1, 1, 8, 8), 2, 2).all()

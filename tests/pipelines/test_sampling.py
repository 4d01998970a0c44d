"""The sampler equals the host's Euler with a noise mask; with hard masks also our blending."""

from __future__ import annotations

import pytest
import torch
from comfyui_dense_face.dense_face.blending import blended_ddim
from comfyui_dense_face.pipelines.sampling import clean_schedule, sample, seeded_noise
from torch import Tensor

SHAPE = (4, 6, 6)


def network(x: Tensor, t: Tensor) -> Tensor:
    """Any smooth function of latent and time does."""
    return (0.7 * x + 0.3 * x.roll(1, -1)).tanh() + 0.001 * float(t)


@pytest.fixture
def base() -> Tensor:
    return torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(1))


def redraw_mask(soft: bool) -> Tensor:
    mask = torch.zeros(1, 1, 6, 6)
    mask[..., 1:5, 2:5] = 1
    mask[..., 1, 2:5] = 0.6 if soft else 0
    return mask


def test_noise_depends_on_its_own_seed_only() -> None:
    both = seeded_noise([5, 6], SHAPE)
    assert torch.equal(both[1:], seeded_noise([6], SHAPE))
    expected = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(5))
    assert torch.equal(both[:1], expected)


def test_the_grid_ends_without_noise() -> None:
    grid = clean_schedule(20)
    assert grid.timesteps.tolist() == list(range(1, 1000, 50))
    assert float(grid.alphas_prev[0]) == 1
    assert float(grid.sigmas.abs().max()) == 0


def host_rule(base: Tensor, noise: Tensor, mask: Tensor, steps: int) -> Tensor:
    """The host's rule in its own terms: y = x / sqrt(alpha), Euler steps over sigma."""
    grid = clean_schedule(steps)
    sigmas = [float(((1 - a) / a) ** 0.5) for a in grid.alphas.flip(0)] + [0.0]
    y = base + noise * sigmas[0]
    for t, now, then in zip(grid.timesteps.flip(0), sigmas, sigmas[1:], strict=False):
        seen = y * mask + (base + noise * now) * (1 - mask)
        clean = seen - now * network(seen / (now**2 + 1) ** 0.5, t)
        clean = clean * mask + base * (1 - mask)
        y = y + (y - clean) / now * (then - now)
    return y


@pytest.mark.parametrize("soft", [False, True])
def test_it_is_the_hosts_rule(base: Tensor, soft: bool) -> None:
    noise, mask = seeded_noise([3, 4], SHAPE), redraw_mask(soft)
    ours = sample(network, base, noise, clean_schedule(10), mask)
    assert (ours - host_rule(base, noise, mask, 10)).abs().max() < 1e-4


def test_hard_masks_give_what_blending_each_step_gives(base: Tensor) -> None:
    noise, mask = seeded_noise([3, 4], SHAPE), redraw_mask(False)
    grid = clean_schedule(10)
    blended = blended_ddim(
        network, base, mask, grid, lambda: noise, fixed_noise=True, final_blend=True
    )
    assert (sample(network, base, noise, grid, mask) - blended).abs().max() < 1e-4


def test_every_step_is_reported(base: Tensor) -> None:
    calls: list[None] = []
    sample(network, base, base, clean_schedule(4), on_step=lambda: calls.append(None))
    assert len(calls) == 4

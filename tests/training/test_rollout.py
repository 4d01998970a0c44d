"""The sampler's rollout to the step at which a face loss starts."""

from __future__ import annotations

import pytest
import torch
from comfyui_dense_face.dense_face.schedule import alphas_cumprod
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.sfsr.midpoint import NoiseLevels
from comfyui_dense_face.training.rollout import Rollout
from comfyui_dense_face.training.runs.loop import step_generator


def test_it_stops_by_chance_within_the_range() -> None:
    rollout, stops = Rollout(steps=10), set()
    for number in range(60):
        times = rollout.timesteps(250, 900, step_generator(1, number))
        assert times[0] == 950 and bool((times.diff() < 0).all())
        stops.add(float(times[-1]))
    assert stops == {855.0, 760.0, 665.0, 570.0, 475.0, 380.0, 285.0}


def test_a_range_between_two_steps_is_refused() -> None:
    with pytest.raises(InputError, match="none of 4 steps lies between the timesteps 300 and 400"):
        Rollout(steps=4).timesteps(300, 400, step_generator(1, 0))


def test_the_scene_stays_and_the_head_is_what_the_network_makes() -> None:
    """With a network that always predicts the same image, the noise shrinks with its level."""
    draw = torch.Generator().manual_seed(0)
    latents, empty, noise, target = (torch.randn(2, 4, 8, 8, generator=draw) for _ in range(4))
    new = torch.zeros(2, 1, 8, 8)
    new[:, :, 2:6, 2:6] = 1
    scene = torch.where(new > 0, empty, latents)
    times = Rollout(steps=5).timesteps(380, 380, draw)
    sigmas = NoiseLevels.from_alphas(alphas_cumprod()).sigma_of(times)
    levels = []

    def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        levels.append(sigma.tolist())
        return target

    x, sigma = Rollout().sample(denoise, noise, sigmas, scene, new)
    assert torch.allclose(sigma, sigmas[-1].float().expand(2))
    assert levels == [[float(s)] * 2 for s in sigmas[:-1].float()]
    around = latents + sigmas[-1].float() * noise
    start = empty + sigmas[0].float() * noise
    inside = target + (sigmas[-1] / sigmas[0]).float() * (start - target)
    assert torch.allclose(x, torch.where(new > 0, inside, around), atol=1e-4)


def test_without_a_scene_the_whole_image_is_drawn() -> None:
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    sigmas = torch.tensor([4.0, 2.0, 1.0])
    x, _ = Rollout().sample(lambda x, sigma: torch.ones_like(x), noise, sigmas)
    assert torch.allclose(x, 1 + (4 * noise - 1) / 4, atol=1e-5)

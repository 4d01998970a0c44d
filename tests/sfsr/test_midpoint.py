"""The midpoint estimate: against a mixture whose denoiser is known, and as a differentiable map."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.sfsr.midpoint import (
    RULES,
    NoiseLevels,
    denoiser,
    interpolate_sigma,
    midpoint_estimate,
    node_sigmas,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from sd_levels import LEVELS
from torch import Tensor


class Mixture:
    """400 images of 64 numbers on a curved sheet, each as likely, and their exact denoiser."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(5)
        place = 2 * torch.pi * torch.rand(400, 3, generator=generator, dtype=torch.float64)
        dilate = 0.2 * torch.randn(6, 64, generator=generator, dtype=torch.float64)
        self.images = torch.cat([place.sin(), place.cos()], 1) @ dilate
        self.truth = self.images[torch.randint(400, (384,), generator=generator)]
        self.noise = torch.randn(384, 64, generator=generator, dtype=torch.float64)
        self.calls = 0

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.calls += 1
        near = -torch.cdist(x, self.images).square() / (2 * sigma[:, None] ** 2)
        return near.softmax(1) @ self.images

    def measured(self, t: int, nodes: int, rule: str, blend: float = 0.0) -> tuple[float, float]:
        """(mean squared error to the truth, mean distance to the nearest image), per number."""
        sigma = LEVELS.sigmas[t].expand(len(self.truth))
        x = self.truth + sigma[:, None] * self.noise
        found = midpoint_estimate(self, x, sigma, LEVELS, nodes=nodes, rule=rule, blend=blend)
        nearest = torch.cdist(found, self.images).amin(1)
        error = (found - self.truth).square().mean()
        return float(error), float(nearest.mean() / 8)


@pytest.mark.parametrize("t", [500, 700, 900])
def test_order_of_the_known_problem(t: int) -> None:
    """Two steps, a lower node, three nodes: each is nearer to real images, not lower in error."""
    mixture = Mixture()
    one, one_away = mixture.measured(t, 1, "geometric")
    half_t, half_t_away = mixture.measured(t, 2, "half_t")
    geometric, geometric_away = mixture.measured(t, 2, "geometric")
    blended, blended_away = mixture.measured(t, 2, "half_t", blend=0.5)
    _, four_even_away = mixture.measured(t, 4, "half_t")
    _, three_away = mixture.measured(t, 3, "geometric")
    _, four_away = mixture.measured(t, 4, "geometric")
    assert one_away > blended_away > half_t_away > geometric_away > three_away > four_away
    assert half_t_away > four_even_away
    # The mean of all that fits has the least error: error alone cannot choose an estimator.
    assert one < half_t < geometric
    assert one <= blended < half_t


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("nodes", [1, 2, 3, 4])
def test_so_many_evaluations_at_falling_levels(rule: str, nodes: int) -> None:
    mixture = Mixture()
    mixture.measured(700, nodes, rule)
    assert mixture.calls == nodes
    sigma = LEVELS.sigmas[[300, 999]]
    places = torch.stack(node_sigmas(sigma, LEVELS, nodes, rule))
    assert torch.equal(places[0], sigma) and bool((places.diff(dim=0) < 0).all())
    assert bool((places >= LEVELS.lowest).all())


def test_where_two_nodes_lie() -> None:
    sigma = LEVELS.sigmas[[600]]
    second = {rule: node_sigmas(sigma, LEVELS, 2, rule)[1] for rule in RULES}
    assert torch.allclose(second["geometric"], (sigma * LEVELS.lowest).sqrt())
    assert torch.allclose(second["half_t"], LEVELS.sigmas[300])
    assert torch.allclose(second["sigma_half"], sigma / 2)


def test_one_node_and_full_blend_are_the_one_step_estimate() -> None:
    mixture = Mixture()
    sigma = LEVELS.sigmas[[700]].expand(len(mixture.truth))
    x = mixture.truth + sigma[:, None] * mixture.noise
    one = mixture(x, sigma)
    assert torch.equal(midpoint_estimate(mixture, x, sigma, LEVELS, nodes=1), one)
    assert torch.equal(midpoint_estimate(mixture, x, sigma, LEVELS, nodes=3, blend=1.0), one)


def test_below_the_lowest_level_it_is_the_one_step_estimate() -> None:
    x, sigma = torch.randn(2, 3, dtype=torch.float64), LEVELS.lowest.expand(2) * 0.9

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return x * (1 - sigma[:, None])

    found = midpoint_estimate(denoise, x, sigma, LEVELS, nodes=3)
    assert torch.allclose(found, denoise(x, sigma))


# ---- gradients ---------------------------------------------------------------------------------


def gradient_of(weight: Tensor, **choice: object) -> tuple[float, int]:
    """Gradient of the estimate by a network's weight, and evaluations that were recorded."""
    recorded = 0

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        nonlocal recorded
        recorded += torch.is_grad_enabled()
        return weight * x / (1 + sigma[:, None])

    x = torch.ones(1, 1, dtype=torch.float64)
    sigma = torch.tensor([2.0], dtype=torch.float64)
    found = midpoint_estimate(denoise, x, sigma, LEVELS, **choice)
    return float(torch.autograd.grad(found.sum(), weight)[0]), recorded


def by_difference(**choice: object) -> float:
    """The same by two evaluations of the whole estimate."""

    def at(value: float) -> Tensor:
        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            return value * x / (1 + sigma[:, None])

        x, sigma = torch.ones(1, 1).double(), torch.tensor([2.0]).double()
        return midpoint_estimate(denoise, x, sigma, LEVELS, **choice)

    return float((at(0.7 + 1e-6) - at(0.7 - 1e-6)) / 2e-6)


def test_gradients_through_all_evaluations_are_exact() -> None:
    weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    for rule in RULES:
        for blend in (0.0, 0.3):
            choice = {"nodes": 3, "rule": rule, "blend": blend, "last_only": False}
            found, recorded = gradient_of(weight, **choice)
            assert found == pytest.approx(by_difference(**choice), rel=1e-6) and recorded == 3


def test_gradients_through_the_last_evaluation_only() -> None:
    weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    full, _ = gradient_of(weight, nodes=3, last_only=False)
    last, recorded = gradient_of(weight, nodes=3)
    assert recorded == 1 and last != pytest.approx(full, rel=1e-3)
    _, recorded = gradient_of(weight, nodes=3, blend=0.5)
    assert recorded == 2


# ---- schedules and networks --------------------------------------------------------------------


@given(t=st.floats(0, 999))
@settings(max_examples=60, deadline=None)
def test_time_and_noise_are_inverse(t: float) -> None:
    expected = torch.tensor([t], dtype=torch.float64)
    assert torch.allclose(LEVELS.t_of(LEVELS.sigma_of(expected)), expected, atol=1e-5)


def test_levels_of_stable_diffusion() -> None:
    assert float(LEVELS.lowest) == pytest.approx(0.02917, abs=1e-5)
    assert float(LEVELS.sigmas[-1]) == pytest.approx(14.6146, abs=1e-4)
    beyond = LEVELS.t_of(torch.tensor([1e-9, 1e9], dtype=torch.float64))
    assert beyond.tolist() == [0, 999]


@pytest.mark.parametrize(("start", "end"), [(0.02, 0.01), (0.05, 0.01), (30.0, 20.0), (30.0, 1.0)])
@pytest.mark.parametrize("rule", RULES)
def test_nodes_stay_on_their_way(rule: str, start: float, end: float) -> None:
    """Also where a schedule goes beyond the model's own levels."""
    ends = torch.tensor([start]).double(), torch.tensor([end]).double()
    node = interpolate_sigma(*ends, 0.5, rule, LEVELS)
    assert end <= float(node) <= start


def test_levels_have_to_rise() -> None:
    for sigmas in (torch.tensor([1.0, 0.5]), torch.tensor([0.0, 1.0]), torch.ones(2, 2)):
        with pytest.raises(InputError, match="noise levels must be positive and ascending"):
            NoiseLevels(sigmas)


def test_networks_that_predict_noise() -> None:
    """With the true noise for an answer every estimate is the truth."""
    generator = torch.Generator().manual_seed(0)
    truth, noise = torch.randn(2, 3, 4, 4, 4, generator=generator, dtype=torch.float64)
    calls: list[Tensor] = []

    def eps(z: Tensor, t: Tensor) -> Tensor:
        calls.append(t)
        alpha = 1 / (1 + LEVELS.sigma_of(t) ** 2).reshape(-1, 1, 1, 1)
        return (z - alpha.sqrt() * truth) / (1 - alpha).sqrt()

    sigma = LEVELS.sigmas[[200, 600, 900]]
    x = truth + sigma.reshape(-1, 1, 1, 1) * noise
    found = midpoint_estimate(denoiser(eps, LEVELS), x, sigma, LEVELS, nodes=3)
    assert torch.allclose(found, truth, atol=1e-8)
    assert torch.allclose(calls[0], torch.tensor([200.0, 600, 900]).double())


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda x, s: midpoint_estimate(lambda a, b: a, x, s, LEVELS, nodes=5),
            "number of nodes is 5. Give 1",
        ),
        (
            lambda x, s: midpoint_estimate(lambda a, b: a, x, s, LEVELS, nodes=0),
            "number of nodes is 0",
        ),
        (lambda x, s: midpoint_estimate(lambda a, b: a, x, s, LEVELS, blend=1.5), "blend is 1.5"),
        (lambda x, s: midpoint_estimate(lambda a, b: a, x, s, LEVELS, rule="x"), "'x' is unknown"),
        (
            lambda x, s: interpolate_sigma(s, s, 0.5, "half_t", None),
            "half_t needs a model with timesteps",
        ),
    ],
)
def test_choices_out_of_range(call: Callable[[Tensor, Tensor], object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        call(torch.zeros(1, 2), torch.ones(1))

"""The midpoint sampler on a problem with known paths (in the host: tests/host/sfsr)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.sfsr.midpoint import RULES
from comfyui_dense_face.sfsr.midpoint_sampler import MidpointSettings, evaluations, sample_midpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from sd_levels import LEVELS
from torch import Tensor


class Bell:
    """Exact denoiser of numbers around 3 with deviation 0.5; where each path ends is known."""

    def __init__(self) -> None:
        self.calls: list[float] = []

    def __call__(self, x: Tensor, sigma: Tensor, **_: Any) -> Tensor:
        self.calls.append(float(sigma[0]))
        share = 0.25 / (0.25 + sigma[:, None] ** 2)
        return 3 + share * (x - 3)

    @staticmethod
    def end(x: Tensor, sigma: Tensor) -> Tensor:
        return 3 + (x - 3) * 0.5 / (0.25 + sigma**2).sqrt()


def karras(steps: int, low: float = 0.03, high: float = 14.6) -> Tensor:
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    levels = (high ** (1 / 7) + ramp * (low ** (1 / 7) - high ** (1 / 7))) ** 7
    return torch.cat([levels, levels.new_zeros(1)])


def run(sigmas: Tensor, **choice: Any) -> tuple[Tensor, Bell]:
    bell = Bell()
    x = torch.linspace(-20, 20, 9, dtype=torch.float64)[:, None]
    return sample_midpoint(
        bell, x, sigmas, settings=MidpointSettings(**choice), levels=LEVELS
    ), bell


def error(sigmas: Tensor, **choice: Any) -> float:
    found, _ = run(sigmas, **choice)
    x = torch.linspace(-20, 20, 9, dtype=torch.float64)[:, None]
    return float((found - Bell.end(x, sigmas[0])).abs().max())


@pytest.mark.parametrize("rule", RULES)
def test_more_exact_than_euler_at_the_same_cost(rule: str) -> None:
    euler = error(karras(40), switch=1.0)
    assert error(karras(20), rule=rule) < euler / 5


def test_finish_with_nodes_helps_where_the_last_step_is_long() -> None:
    short = torch.cat([karras(12, low=0.6)])
    errors = [error(short, finish_nodes=k) for k in (1, 2, 3, 4)]
    assert errors == sorted(errors, reverse=True) and errors[3] < errors[0] / 2


@given(
    steps=st.integers(1, 12),
    low=st.sampled_from([0.0291, 0.03, 0.3]),
    switch=st.floats(0, 1),
    finish=st.integers(1, 4),
    rule=st.sampled_from(RULES),
    whole=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_evaluations_are_counted_exactly(
    steps: int, low: float, switch: float, finish: int, rule: str, whole: bool
) -> None:
    sigmas = karras(steps + (not whole), low)
    sigmas = sigmas if whole else sigmas[:-1]
    choice = {"rule": rule, "switch": switch, "finish_nodes": finish}
    _, bell = run(sigmas, **choice)
    assert len(bell.calls) == evaluations(sigmas, MidpointSettings(**choice), LEVELS)
    assert all(later < earlier for earlier, later in pairwise(bell.calls))


def test_counts_in_words() -> None:
    """Two a step, one for the Euler step at the end; Euler steps before the switch cost one."""
    sigmas = karras(10)
    assert evaluations(sigmas, MidpointSettings()) == 19
    assert evaluations(sigmas, MidpointSettings(switch=0.5)) == 14
    assert evaluations(sigmas, MidpointSettings(switch=1.0)) == 10
    assert (
        evaluations(karras(20), MidpointSettings(switch=0.55)) == 28
    )  # 11, not 11.000000000000002
    assert evaluations(karras(10, low=0.5), MidpointSettings(finish_nodes=3), LEVELS) == 21
    # From the lowest level there is no way left for nodes.
    assert evaluations(karras(10, low=0.0292), MidpointSettings(finish_nodes=3), LEVELS) == 19
    assert evaluations(karras(10)[:-1], MidpointSettings()) == 18
    assert evaluations(sigmas[:1], MidpointSettings()) == 0


def test_callback_gets_every_step_and_can_end_the_run() -> None:
    class Stop(BaseException):
        pass

    steps_done: list[int] = []

    def callback(state: dict[str, Any]) -> None:
        steps_done.append(state["i"])
        assert set(state) == {"x", "i", "sigma", "sigma_hat", "denoised"}
        if state["i"] == 3:
            raise Stop

    bell = Bell()
    with pytest.raises(Stop):
        sample_midpoint(bell, torch.zeros(1, 1), karras(8).float(), callback=callback)
    assert steps_done == [0, 1, 2, 3] and len(bell.calls) == 7


def test_extra_arguments_reach_the_model() -> None:
    seen: list[Any] = []

    def model(x: Tensor, sigma: Tensor, **extra: Any) -> Tensor:
        seen.append((sigma.shape, extra))
        return x * 0

    mask = torch.ones(2, 1)
    sample_midpoint(model, torch.ones(2, 1), karras(2).float(), {"denoise_mask": mask, "seed": 3})
    assert len(seen) == 3
    assert all(shape == (2,) and extra["denoise_mask"] is mask for shape, extra in seen)


def test_nothing_to_do() -> None:
    x = torch.ones(1, 1)
    for sigmas in (torch.zeros(0), torch.ones(1)):
        assert sample_midpoint(Bell(), x, sigmas) is x


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"switch": 1.2}, "the switch is 1.2"),
        ({"finish_nodes": 5}, "finish nodes is 5"),
        ({"rule": "heun"}, "'heun' is unknown"),
    ],
)
def test_choices_out_of_range(choice: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        run(karras(4), **choice)


def test_half_t_needs_time_steps() -> None:
    with pytest.raises(InputError, match="half_t needs a model with timesteps"):
        sample_midpoint(Bell(), torch.ones(1, 1), karras(3), settings=MidpointSettings("half_t"))

"""DDIM grid: the release's, and what it does at the edges."""

from __future__ import annotations

import pytest
import torch
from comfyui_dense_face.dense_face.schedule import alphas_cumprod, ddim_schedule
from comfyui_dense_face.errors import InputError
from hypothesis import given
from hypothesis import strategies as st


def test_ends_of_the_release_grid() -> None:
    schedule = ddim_schedule(50, 1.0)
    assert schedule.timesteps.tolist() == list(range(1, 1000, 20))
    assert schedule.alphas[0].item() == pytest.approx(0.998296, abs=1e-6)
    assert schedule.alphas_prev[0].item() == pytest.approx(0.999150, abs=1e-6)
    assert schedule.sigmas[-1].item() == pytest.approx(0.454463, abs=1e-6)


@given(steps=st.integers(1, 1000), eta=st.floats(0, 1))
def test_every_grid_is_usable(steps: int, eta: float) -> None:
    schedule = ddim_schedule(steps, eta)
    assert len(schedule) >= min(steps, 999)
    assert schedule.timesteps.max() < 1000
    assert (schedule.timesteps.diff() > 0).all()
    # The variance left for the direction towards x must not be negative.
    assert (1 - schedule.alphas_prev - schedule.sigmas**2 >= 0).all()
    assert torch.isfinite(schedule.sigmas).all()
    assert schedule.alphas_prev[0] == alphas_cumprod()[0].double()


@pytest.mark.parametrize(("steps", "eta"), [(0, 1), (1001, 1), (50, -0.1), (50, 1.1)])
def test_out_of_range_is_refused(steps: int, eta: float) -> None:
    with pytest.raises(InputError, match="Choose a"):
        ddim_schedule(steps, eta)

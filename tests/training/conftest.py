"""Each test of training with a state of accelerate of its own, and without charts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from accelerate.state import AcceleratorState
from comfyui_dense_face.training.watch import monitor


@pytest.fixture(autouse=True)
def _any_precision() -> Iterator[None]:
    AcceleratorState._reset_state()  # the precision cannot change within a process
    yield
    AcceleratorState._reset_state()


# They take longer than the small runs of the tests.
@pytest.fixture(autouse=True)
def _no_charts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "charts" not in request.fixturenames:
        monkeypatch.setattr(monitor, "draw_curves", lambda *_: None)


@pytest.fixture
def charts() -> None:
    """For tests that need them."""

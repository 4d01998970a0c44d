"""Training without charts, which take longer than the small runs of the tests."""

from __future__ import annotations

import pytest
from comfyui_dense_face.training.watch import monitor


@pytest.fixture(autouse=True)
def _no_charts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "charts" not in request.fixturenames:
        monkeypatch.setattr(monitor, "draw_curves", lambda *_: None)


@pytest.fixture
def charts() -> None:
    """For tests that need them."""

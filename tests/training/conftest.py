"""Training in the tests: accelerate starts afresh, no charts are drawn, the base is untrained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState
from comfyui_dense_face.pipelines.base import Base, load_base
from comfyui_dense_face.training.watch import monitor
from tiny_random import write_base


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


@pytest.fixture(scope="session")
def base_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "base.safetensors")


@pytest.fixture
def base(base_file: Path) -> Base:
    return load_base(base_file)

"""``denseface annotate`` needs no more memory for many images than for a hundred."""

from __future__ import annotations

from pathlib import Path

import pytest
from comfyui_dense_face.benchmarks.annotate_memory import (
    Measurement,
    link_photos,
    measure,
    render_photos,
)
from comfyui_dense_face.demo.networks.face_finder import TinyWorldFaces
from comfyui_dense_face.training.data.folder import TABLE

STATUS = Path("/proc/self/status")


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.is_file(), reason="memory is read from /proc")
def test_memory_is_flat(tmp_path: Path) -> None:
    """An image of 256 px has 0.8 MB as numbers: a hundred of them in memory would show."""
    link_photos(tmp_path / "links", render_photos(tmp_path / "photos", 2), 200)
    marks: list[Measurement] = []
    measure(tmp_path / "links", tmp_path / "out", TinyWorldFaces, 100, marks.append)
    assert [mark.images for mark in marks] == [100, 200]
    assert marks[-1].megabytes - marks[0].megabytes < 40
    assert len((tmp_path / "out" / TABLE).read_text().splitlines()) == 201  # none was left out

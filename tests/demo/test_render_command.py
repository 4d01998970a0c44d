"""``denseface render``: sheets and shards follow from the seeds, and errors are one sentence."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from comfyui_dense_face import cli
from comfyui_dense_face.demo.people import sample_heads
from comfyui_dense_face.demo.renderer.renderer import render
from PIL import Image

SMALL = ["--size", "32", "--seed", "7"]


def _dataset(folder: Path, *extra: str) -> list[Path]:
    words = ["render", "dataset", "--out", str(folder), "--count", "5", "--per-shard", "2"]
    assert cli.main([*words, *SMALL, *extra]) == 0
    return sorted(folder.iterdir())


def _members(shard: Path) -> dict[str, bytes]:
    with tarfile.open(shard) as tar:
        members = {name: tar.extractfile(name) for name in tar.getnames()}
        return {name: file.read() for name, file in members.items() if file is not None}


def test_shards_hold_the_truth(tmp_path: Path) -> None:
    shards = _dataset(tmp_path)
    assert [path.name for path in shards] == [f"heads-7-00000{i}.tar" for i in range(3)]
    members = _members(shards[0])
    assert len(members) == 2 * 4
    truth = json.loads(members["000000000007.json"])
    head = sample_heads([7])
    drawn = render(head, 32)
    assert truth["seed"] == truth["person"] == 7
    assert truth["caption"]
    assert [truth["yaw"], truth["pitch"], truth["roll"]] == pytest.approx(
        head.angles[0].tolist(), abs=1e-4
    )
    assert np.allclose(truth["landmarks"], drawn.landmarks[0], atol=1e-4)
    rgb = np.asarray(Image.open(io.BytesIO(members["000000000007.rgb.png"])))
    assert np.array_equal(rgb, (drawn.rgb[0] * 255).round().byte().permute(1, 2, 0).numpy())
    parts = Image.open(io.BytesIO(members["000000000007.parts.png"]))
    assert np.array_equal(np.asarray(parts), drawn.parts[0].numpy())
    depth = np.asarray(Image.open(io.BytesIO(members["000000000007.depth.png"])))
    assert np.allclose(depth / 65535 * 2 - 1, drawn.depth[0].clamp(-1, 1), atol=1e-4)


def test_machines_share_the_work(tmp_path: Path) -> None:
    """Two ranks together write byte for byte what one machine writes alone."""
    alone = _dataset(tmp_path / "alone")
    assert len(_dataset(tmp_path / "shared", "--shard", "2/2")) == 1
    shared = _dataset(tmp_path / "shared", "--shard", "1/2")
    assert [path.read_bytes() for path in shared] == [path.read_bytes() for path in alone]


def test_finished_shards_are_kept(tmp_path: Path) -> None:
    marker = tmp_path / "heads-7-000000.tar"
    marker.write_bytes(b"kept")
    _dataset(tmp_path)
    assert marker.read_bytes() == b"kept"


def test_images_of_a_person_share_it(tmp_path: Path) -> None:
    members = _members(_dataset(tmp_path, "--per-person", "2")[0])
    first, second = (json.loads(members[f"{seed:012d}.json"]) for seed in (7, 8))
    assert first["person"] == second["person"]
    assert first["identity"] == second["identity"]
    assert first["yaw"] != second["yaw"]


def test_sheet(tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    words = ["render", "sheet", "--out", str(out), "--count", "2", "--columns", "1"]
    assert cli.main([*words, *SMALL, "--annotations"]) == 0
    assert Image.open(out).size == (4 * 34 - 2, 2 * 34 - 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sheet", "--count", "0"], "--count is out of range"),
        (["sheet", "--size", "8"], "--size is out of range"),
        (["sheet", "--out", "heads.unknown"], "format is unknown"),
        (["sheet", "--count", "4000", "--size", "1024"], "heads of 1024 px is too large"),
        (["dataset", "--out", "d", "--shard", "5/3"], "--shard is not of the form"),
        (["dataset", "--out", "d", "--shard", "x"], "--shard is not of the form"),
    ],
)
def test_wrong_arguments(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["render", *words]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_unwritable_place_is_named_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocker = tmp_path / "file"
    blocker.touch()
    assert cli.main(["render", "sheet", "--out", str(blocker / "a.png"), *SMALL]) == 2
    message = capsys.readouterr().err
    assert "cannot be written" in message
    assert "render:" not in message  # no progress bar was begun

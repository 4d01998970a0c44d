"""``denseface annotate`` in several processes, local ones and Ray's: the bytes of one process."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from comfyui_dense_face import cli
from rendered_photos import contents, write_photos

PEOPLE = 10


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder, PEOPLE, 2)
    (folder / "person 1" / "broken.png").write_bytes(b"nothing")
    return folder


@pytest.fixture(scope="module")
def alone(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files that one process writes."""
    out = tmp_path_factory.mktemp("alone")
    assert cli.main(_words(photos, out)) == 0
    return contents(out)


def _words(photos: Path, out: Path, *more: str) -> list[str]:
    return ["annotate", str(photos), str(out), "--analyzer", "tiny-world", *more]


def _started(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "comfyui_dense_face.cli", *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def _kill_one_when_half_done(running: subprocess.Popen[str], out: Path, mark: str) -> None:
    """Kill a process below ``running`` whose command line has ``mark``."""
    for _ in range(3000):
        finished = len(list(out.glob("faces/*/rows.csv")))
        workers = [
            process
            for process in psutil.Process(running.pid).children(recursive=True)
            if mark in " ".join(process.cmdline())
        ]
        if finished and workers:
            assert finished < PEOPLE
            workers[0].kill()
            return
        assert running.poll() is None
        time.sleep(0.01)
    pytest.fail("no worker was found")


def test_local_processes_give_the_same(
    photos: Path, alone: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(_words(photos, tmp_path, "--workers", "2")) == 0
    assert contents(tmp_path) == alone
    said = capsys.readouterr().err
    assert "broken.png" in said and "20 images of 10 people: 2 to 2 of each" in said


@pytest.mark.slow
def test_a_killed_process_loses_nothing(
    photos: Path, alone: dict[str, bytes], tmp_path: Path
) -> None:
    """One sentence then; started again, the run goes on."""
    words = _words(photos, tmp_path, "--workers", "2")
    running = _started(*words)
    _kill_one_when_half_done(running, tmp_path, "spawn_main")
    _, said = running.communicate(timeout=120)
    assert running.returncode == 2
    assert "a process that annotates was killed; finished people are kept" in said
    assert "Traceback" not in said
    assert list(tmp_path.glob("faces/*/rows.csv"))
    again = _started(*words)
    _, said = again.communicate(timeout=120)
    assert again.returncode == 0 and "20 images of 10 people" in said
    assert contents(tmp_path) == alone


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_stopped_it_leaves_nothing_half_written(
    stop: signal.Signals, photos: Path, tmp_path: Path
) -> None:
    """Its processes end with it, in the middle of their people."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & ignores it
    running = _started(*_words(photos, tmp_path, "--workers", "2"))
    signal.signal(signal.SIGINT, before)
    while not list(tmp_path.glob("faces/*/rows.csv")):
        assert running.poll() is None
        time.sleep(0.01)
    workers = psutil.Process(running.pid).children(recursive=True)
    running.send_signal(stop)
    _, said = running.communicate(timeout=120)
    assert running.returncode == {signal.SIGTERM: 143, signal.SIGINT: 130}[stop]
    assert "nothing half-written is left" in said and "Traceback" not in said
    gone, alive = psutil.wait_procs(workers, timeout=30)
    assert all(process.status() == psutil.STATUS_ZOMBIE for process in alive), gone
    finished = {path.parent for path in tmp_path.glob("faces/*/rows.csv")}
    assert 0 < len(finished) < PEOPLE
    assert set((tmp_path / "faces").iterdir()) == finished and not list(tmp_path.rglob(".*"))


@pytest.mark.slow
def test_an_error_in_a_worker_is_the_command_s(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "faces").write_text("a file where a folder is needed")
    running = _started(*_words(photos, tmp_path, "--workers", "2"))
    _, said = running.communicate(timeout=120)
    assert running.returncode == 2 and "the data set cannot be written" in said
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_ray_does_a_killed_worker_s_work_again(
    photos: Path, alone: dict[str, bytes], tmp_path: Path
) -> None:
    """Two local workers, one killed in the middle: the bytes of one clean run."""
    running = _started(*_words(photos, tmp_path, "--workers", "2", "--ray"))
    _kill_one_when_half_done(running, tmp_path, "MapWorker")
    _, said = running.communicate(timeout=300)
    assert running.returncode == 0, said
    assert "broken.png" in said and "20 images of 10 people" in said
    assert contents(tmp_path) == alone


def test_without_ray_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.setitem(sys.modules, "ray", None)
    assert cli.main(_words(tmp_path, tmp_path / "out", "--ray")) == 2
    assert (
        "ray is not installed. Install it with: pip install -e .[cluster]"
        in capsys.readouterr().err
    )

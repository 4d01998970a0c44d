"""Commands that are stopped or killed, and standard outputs that take nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from comfyui_dense_face import cli, storage
from comfyui_dense_face.storage import atomic_path, remove_leftovers, temporary_name

_POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and devices of POSIX")
_WRITES = """
import signal, sys, time, types
from pathlib import Path
from comfyui_dense_face import cli
from comfyui_dense_face.storage import atomic_path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs with &
def run(args):
    with atomic_path(Path(sys.argv[1]) / "image.png") as temporary:
        temporary.write_bytes(b"half")
        sys.stderr.write("ready\\n")
        sys.stderr.flush()
        time.sleep(60)
"""
_PRINTS = """
import sys, types
from comfyui_dense_face import cli
def run(args):
    for _ in range(int(sys.argv[1])): print("Zoë \\udcff ½")
"""
_RUN = """
made = types.SimpleNamespace(add_arguments=lambda parser: None, run=run)
cli.command_module = lambda name: made
sys.exit(cli.main(["demo"]))
"""


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A command in the middle of writing an image."""
    command = [sys.executable, "-c", _WRITES + _RUN, str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        try:
            assert running.stderr.readline() == "ready\n"
            assert len(list(tmp_path.iterdir())) == 1
            yield running
        finally:
            running.kill()


@_POSIX
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_command_leaves_nothing(
    stopped: subprocess.Popen[str], tmp_path: Path, number: int, code: int
) -> None:
    stopped.send_signal(number)
    message = stopped.communicate(timeout=30)[1]
    assert stopped.returncode == code
    assert message == "denseface: stopped; nothing half-written is left\n"
    assert list(tmp_path.iterdir()) == []


@_POSIX
def test_what_a_killed_command_left_goes_at_the_next_start(
    stopped: subprocess.Popen[str], tmp_path: Path
) -> None:
    stopped.kill()
    stopped.communicate(timeout=30)
    assert len(list(tmp_path.iterdir())) == 1
    with atomic_path(tmp_path / "other.png") as temporary:
        temporary.write_bytes(b"whole")
    assert list(tmp_path.iterdir()) == [tmp_path / "other.png"]


@_POSIX
def test_files_of_running_commands_stay(stopped: subprocess.Popen[str], tmp_path: Path) -> None:
    remove_leftovers(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_only_leftovers_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not other hidden files, nor those of this process or, for a day, of another machine."""
    path = tmp_path / "a.png"
    own = temporary_name(path)
    monkeypatch.setattr(storage, "_RUN", "0000")
    restarted = temporary_name(path)  # this process's number, of an earlier life
    monkeypatch.setattr(storage, "_HOST", "0000")
    fresh, old = temporary_name(path), temporary_name(path)
    monkeypatch.undo()
    kept = [own, fresh, ".hidden", ".a-b-c-d.png", "a.png"]
    for name in [*kept, restarted, old]:
        (tmp_path / name).touch()
    os.utime(tmp_path / old, (0, 0))
    remove_leftovers(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(kept)


def test_sigterm_is_as_before_after_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(["models", "--comfyui", "/nowhere"]) == 2
    assert signal.getsignal(signal.SIGTERM) is before


def _print(count: int, out: int | IO[Any], **env: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", _PRINTS + _RUN, str(count)]
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONUTF8", "PYTHONIOENCODING")}
    return subprocess.run(
        command, stdout=out, stderr=subprocess.PIPE, env={**clean, **env}, check=False
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_outputs_that_cannot_show_a_name(encoding: str) -> None:
    done = _print(1, subprocess.PIPE, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\udcff" in done.stdout and done.stdout.count(b"\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device")
@pytest.mark.parametrize("count", [1, 10_000])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_output(count: int, unbuffered: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = _print(count, full, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1 and b"output cannot be written: No space" in done.stderr


@_POSIX
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_outputs(closed: str, tmp_path: Path) -> None:
    script = tmp_path / "command.py"
    script.write_text(_PRINTS + _RUN, encoding="utf-8")
    words = ["sh", "-c", f'exec "$0" "$1" 1 {closed}', sys.executable, str(script)]
    done = subprocess.run(words, capture_output=True, check=False)
    if closed.startswith(">"):
        assert done.returncode == 2 and done.stdout == b""
        assert b"output is closed" in done.stderr or closed.endswith("2>&-")
    else:
        assert done.returncode == 0 and done.stdout.count(b"\n") == 1


_SEEDS = [["--seed", "-1"], ["--seed", str(2**63)], ["--steps", "0"], ["--guidance", "nan"]]
REFUSED: dict[str, list[list[str]]] = {
    "generate --reference r.png": [*_SEEDS, ["--scene-seed", "-1"], ["--steps", "1001"]],
    "express --identity r.png --word joy": [*_SEEDS, ["--balance", "nan"], ["--balance", "2"]],
    "express --base b --word joy": [
        ["--size", "0"], ["--lora-strength", "inf"], ["--s-scale", "nan"],
        ["--control-strength", "-1"],
    ],
    "evaluate dense-face": [*_SEEDS, ["--count", "0"], ["--seed", str(2**20)]],
    "evaluate sfsr": _SEEDS,
    "evaluate annotations": _SEEDS,
    "evaluate photos --references r --evaluator e --base b": [*_SEEDS, ["--out", "file"]],
    "demo": [["--seed", "-1"], ["--out", "file"], ["--out", "file/in/it"]],
    "render sheet": [
        ["--count", "0"], ["--columns", "0"], ["--per-person", "0"], ["--seed", "-1"],
        ["--out", "."], ["--out", "file/a.png"],
    ],
    "render dataset --out d": [["--per-shard", "0"], ["--shard", "0/1"], ["--shard", "²/²"]],
    "render faces": [["file"], ["d", "--shard", "1/²"], ["d", "--shard", f"1/{'9' * 5000}"]],
    "annotate photos": [["file"], ["d", "--shard", "²/3"], ["d", "--shard", "1/0"]],
    "train-demo": [
        ["--images", "0"], ["--workers", "-1"], ["--workers", "0"], ["--threads", "0"],
        ["--length", "nan"], ["--length", "0"], ["--folder", "file"], ["--weights", "file"],
    ],
    "convert in.ckpt": [["file/a.safetensors"], ["."]],
    **{
        f"{trainer} data --base b.safetensors --out o.safetensors": [
            ["--steps", "0"], ["--workers", "-1"], ["--save-every", "0"], ["--rate", "nan"],
            ["--rate", "0"], ["--seed", "-1"], ["--seed", str(2**60)], ["--batch", "0"],
            ["--size", "0"], ["--folder", "file"], ["--out", "file/o.safetensors"], more,
        ]
        for trainer, more in (
            ("train-annotations", ["--width", "33"]),
            ("train-sfsr --encoder a", ["--accumulation", "0"]),
            ("train-sfsr --encoder a", ["--keep", "0"]),
            ("train-annotations --scheme ibug", ["--scale", "3"]),
            ("train-sfsr --encoder a", ["--tokens", "0"]),
        )
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("command", "more"), [(command, more) for command, all_ in REFUSED.items() for more in all_]
)
def test_refused_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    command: str, more: list[str],
) -> None:  # fmt: skip
    """One sentence that names the option; no file of weights is opened, none is written."""
    for name in ("r.png", "file", "b.safetensors", "data/faces.csv", "photos/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"no such thing")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    read: list[object] = []
    monkeypatch.setattr(storage, "safe_open", lambda path, **_: read.append(path))
    assert cli.main([*command.split(), *more]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and not read
    value = more[-1].partition("/")[0] if "file" in more[-1] else more[-1][:30]
    assert value.strip("²") in message
    assert sorted(tmp_path.rglob("*")) == before

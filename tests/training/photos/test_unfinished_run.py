"""The result of a run that has not ended: the averaged weights of the last saved state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_dense_face import cli
from comfyui_dense_face.storage import read_weights
from comfyui_dense_face.training.photos import validation_images
from comfyui_dense_face.training.watch import validation
from comfyui_dense_face.training.watch.monitor import Monitor
from ranks import run_ranks

STEPS, SAVED, KILLED = 4, 2, 3


def _train(trainer: str, faces: Path, base: Path, out: Path, *more: str) -> int:
    words = ["train", trainer, "--dataset", str(faces), "--base", str(base), "--out"]
    words += [str(out / "mine.safetensors"), "--folder", str(out / "work"), "--steps", str(STEPS)]
    words += ["--save-every", str(SAVED), "--batch", "2", "--workers", "0", "--precision", "no"]
    words += ["--size", "64", "--scheme", "ibug", "--held-out", "0", "--check-after", "0"]
    own = ["--scale", "4", "--width", "32"] if trainer == "annotations" else []
    return cli.main([*words, *(own or ["--encoder", "tiny-world"]), *more])


@pytest.fixture
def dies(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a step that is in no state."""
    show = Monitor.show

    def dying(self: Monitor, step: int, *args: Any) -> None:
        show(self, step, *args)
        if step == KILLED:
            raise KeyboardInterrupt

    monkeypatch.setattr(Monitor, "show", dying)


@pytest.mark.parametrize("trainer", ["dense-face", "sfsr", "annotations"])
def test_it_is_that_of_the_last_state(
    trainer: str, faces: Path, base_file: Path, tmp_path: Path, dies: None
) -> None:
    assert _train(trainer, faces, base_file, tmp_path) == cli.EXIT_INTERRUPTED
    state = torch.load(tmp_path / "work" / f"state-{SAVED:08d}.pt", weights_only=True)
    written, about = read_weights(tmp_path / "mine.safetensors")
    assert about["steps"] == str(SAVED) and about["trainer"] == trainer
    assert f"| steps | {SAVED} of {STEPS} |" in (tmp_path / "mine").with_suffix(".md").read_text()
    average = {name.partition(".")[2]: tensor for name, tensor in state["average"].items()}
    found = [_fits(name, tensor, average) for name, tensor in written.items()]
    assert all(found) and len(found) >= len(average) // 2


def _fits(name: str, tensor: torch.Tensor, average: dict[str, torch.Tensor]) -> bool:
    """Whether a tensor of a file is the averaged one; True where nothing is averaged."""
    own = next((average[n] for n in (name, name.partition(".")[2]) if n in average), None)
    return own is None or torch.equal(tensor, own.to(tensor.dtype))


def test_it_says_when_it_was_validated(
    faces: Path, base_file: Path, tmp_path: Path, dies: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which was before its weights were trained: its losses and images are not theirs."""
    monkeypatch.setattr(validation, "BATCHES", 1)
    monkeypatch.setattr(validation_images, "STEPS", 2)
    more = ("--held-out", "1", "--validation-images", "1")
    assert _train("dense-face", faces, base_file, tmp_path, *more) == cli.EXIT_INTERRUPTED
    about = read_weights(tmp_path / "mine.safetensors")[1]
    assert (about["steps"], about["held_out_loss_step"]) == (str(SAVED), "0")
    card = (tmp_path / "mine").with_suffix(".md").read_text()
    assert f"| held out | 1 person, loss {about['held_out_loss']} after 0 steps |" in card
    assert "drawn by the averaged weights after 0 steps:" in card


def test_two_processes_write_it_once(faces: Path, base_file: Path, tmp_path: Path) -> None:
    """Neither waits for the other for ever; the training is that of one that never wrote."""
    for name, every in (("often", "1"), ("never", "4")):
        more = ("--save-every", every, "--batch", "1")
        assert run_ranks(
            lambda rank, name=name, more=more: _train(
                "dense-face", faces, base_file, tmp_path / name, *more
            )
        ) == [0, 0]
    often, never = (read_weights(tmp_path / n / "mine.safetensors") for n in ("often", "never"))
    assert often[1]["steps"] == never[1]["steps"] == str(STEPS)
    assert all(torch.equal(often[0][name], tensor) for name, tensor in never[0].items())


@pytest.mark.parametrize("option", ["--start", "--base"])
def test_it_never_replaces_what_it_starts_from(
    option: str, faces: Path, base_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A resumed run could not start from it again."""
    own = tmp_path / "mine.safetensors"
    own.write_bytes(base_file.read_bytes())
    assert _train("dense-face", faces, base_file, tmp_path, option, str(own)) == 2
    assert f"would replace the file of {option}" in capsys.readouterr().err
    assert own.read_bytes() == base_file.read_bytes()


def test_a_place_among_links_in_a_circle(
    faces: Path, base_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    assert _train("dense-face", faces, base_file, tmp_path / "circle") == 2
    assert "a file is where a folder is needed" in capsys.readouterr().err

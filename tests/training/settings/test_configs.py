"""The settings files that the pack ships: read as the command reads them, and their memory."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
from comfyui_dense_face.benchmarks.sparse_base import write_sparse_base
from comfyui_dense_face.commands.train import TRAINERS
from comfyui_dense_face.training.settings.config import TrainerConfig
from comfyui_dense_face.training.settings.config_file import read_config
from comfyui_dense_face.training.settings.plans import plan_of
from locate_host import ROOT

FOLDER = Path("training/configs")
NAMES = sorted(path.stem for path in (ROOT / FOLDER).glob("*.yaml"))
_COMMAND = re.compile(r"^#   denseface train (\S+) --config (\S+)$", re.MULTILINE)
_CARD = re.compile(r"^# For a card of (\d+) GB", re.MULTILINE)
_PEAK = re.compile(r"^# Peak of a step by --plan: ([\d.]+) GB", re.MULTILINE)
_RESERVE = 1e9
"""What CUDA and an allocator take beside the plan."""


def _header(name: str, pattern: re.Pattern[str]) -> tuple[str, ...]:
    found = pattern.search((ROOT / FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    assert found is not None, f"{name} does not say {pattern.pattern}"
    return found.groups()


def _read(name: str, base: Path | None = None) -> TrainerConfig:
    trainer, _ = _header(name, _COMMAND)
    given = {} if base is None else {"base": base}
    return read_config(TRAINERS[trainer], ROOT / FOLDER / f"{name}.yaml", given, trainer)


def test_there_is_one_for_every_card() -> None:
    cards = {f"{kind}_{size}gb" for kind in ("dense_face", "sfsr") for size in (8, 12, 24, 80)}
    assert set(NAMES) == {*cards, "annotations"}


@pytest.mark.parametrize("name", NAMES)
def test_they_are_read(name: str) -> None:
    """Places are those of an ordinary ComfyUI; the work folder is the file's own."""
    _, file = _header(name, _COMMAND)
    assert file == f"{name}.yaml"
    config = _read(name)
    assert config.folder == Path("out", name) and config.dataset == Path("faces")
    models = Path("ComfyUI/models")
    assert config.out.is_relative_to(models) and config.base.is_relative_to(models / "checkpoints")
    (card,) = _header(name, _CARD)
    (peak,) = _header(name, _PEAK)
    assert name == "annotations" or name.endswith(f"_{card}gb")
    assert float(peak) * 1e9 + _RESERVE <= int(card) * 2**30


def test_they_are_shipped() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["comfyui_dense_face.training"]
    for name in NAMES:
        assert any(fnmatch(f"configs/{name}.yaml", pattern) for pattern in patterns)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_memory_is_what_they_say(name: str, tmp_path: Path) -> None:
    """On Stable Diffusion 1.5, within 5 %."""
    base = write_sparse_base(tmp_path / "base.safetensors")
    (said,) = _header(name, _PEAK)
    assert plan_of(_read(name, base)).peak / 1e9 == pytest.approx(float(said), rel=0.05)

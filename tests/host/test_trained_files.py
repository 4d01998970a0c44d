"""What ``denseface train`` writes loads in the host's nodes at once, and acts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_dense_face import cli
from in_host import Tiny, difference
from sfsr_in_host import apply
from tiny_random import write_base


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a result of each trainer, after two steps on eight small images."""
    out = tmp_path_factory.mktemp("trained")
    words = ["render", str(out / "faces"), "--count", "8", "--per-person", "2", "--size", "64"]
    assert cli.main(words) == 0
    base = write_base(out / "base.safetensors")
    for trainer in ("dense-face", "sfsr", "annotations"):
        own = ["--scale", "4", "--width", "32"] if trainer == "annotations" else []
        own = own or ["--encoder", "tiny-world"]
        words = ["train", trainer, "--dataset", str(out / "faces"), "--base", str(base), "--out"]
        words += [str(out / f"{trainer}.safetensors"), "--folder", str(out / trainer), "--steps"]
        words += ["2", "--batch", "2", "--workers", "0", "--precision", "no", "--size", "64"]
        assert cli.main([*words, "--scheme", "ibug", "--rate", "0.05", *own]) == 0
    return out


@pytest.fixture
def models(trained: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The results, in the host's folders of models."""
    import folder_paths

    for name in ("dense_face", "sfsr"):
        places = ([str(trained)], {".safetensors"})
        monkeypatch.setitem(folder_paths.folder_names_and_paths, name, places)
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return trained


def test_a_dense_face_adapter_draws(tiny: Tiny, models: Path) -> None:
    adapter, control = tiny.run("LoadAdapter", "dense-face.safetensors")
    assert adapter.encoder == "tiny-world" and hasattr(control, "get_control")
    drawn = tiny.sample(tiny.apply(adapter=adapter))
    assert difference(drawn, tiny.sample(tiny.model)) > 0 and bool(drawn.isfinite().all())


def test_an_sfsr_adapter_draws(tiny: Tiny, models: Path) -> None:
    adapter: Any = tiny.run("LoadSFSRAdapter", "sfsr.safetensors")
    drawn = tiny.sample(apply(tiny, adapter))
    assert difference(drawn, tiny.sample(tiny.model)) > 0 and bool(drawn.isfinite().all())


def test_an_annotation_head_reads(tiny: Tiny, models: Path) -> None:
    head = tiny.run("LoadAnnotationHead", "annotations.safetensors")
    image = torch.rand(1, 128, 128, 3, generator=torch.Generator().manual_seed(1))
    found = tiny.run("AnnotateImage", tiny.model, tiny.vae, tiny.prompt(""), head, image, 1, 0)
    assert bool(found.seen.depth.isfinite().all())

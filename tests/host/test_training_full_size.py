"""A few steps of every trainer on a Stable Diffusion 1.5 of full size, and its files in the nodes.

All values are random: it is proven that everything fits and runs, nothing about images. The memory
that training took is printed beside the plan's.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from comfyui_dense_face import cli
from comfyui_dense_face.faces.encoders.ir_se50 import ENCODER
from full_size_files import write_sd15
from in_host import Tiny, difference
from random_ir_se50 import write_random_ir_se50
from sfsr_in_host import apply

pytestmark = [pytest.mark.slow, pytest.mark.full_size, pytest.mark.timeout(3600)]
MEMORY = 12e9
SIDE = 256
NET = "ir_se50.safetensors"

_RUN = """
import sys
from comfyui_dense_face.benchmarks.result import megabytes
from comfyui_dense_face.cli import main
from comfyui_dense_face.pipelines.base import load_base
load_base()  # imports, and what libraries keep
before = megabytes()
code = main(sys.argv[1:])
print(megabytes("VmHWM") - before)
sys.exit(code)
"""
TRAINERS: dict[str, list[str]] = {
    "dense_face": ["dense-face", "--ir-se50", NET, "--gradient-checkpointing"],
    "sfsr": ["sfsr", "--ir-se50", NET, "--gradient-checkpointing"],
    "sfsr_noise_only": [
        "sfsr", "--ir-se50", NET, "--gradient-checkpointing", "--no-identity-loss"
    ],
    "head": ["annotations"],
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, IR-SE50 and four photos of two people."""
    if psutil.virtual_memory().available < MEMORY:
        pytest.skip("less than 12 GB of memory are free")
    folder = tmp_path_factory.mktemp("full")
    write_sd15(folder / "base.safetensors")
    write_random_ir_se50(folder / NET)
    words = ["render", str(folder / "faces"), "--count", "4", "--per-person", "2"]
    assert cli.main([*words, "--size", str(SIDE), "--seed", "3"]) == 0
    return folder


@pytest.fixture(scope="module")
def trained(files: Path) -> tuple[Path, list[str]]:
    """What three steps of each trainer wrote, and their memory."""
    out, lines = files / "out", []
    for name, words in TRAINERS.items():
        given = [str(files / word) if word == NET else word for word in words]
        given += ["--dataset", str(files / "faces"), "--base", str(files / "base.safetensors")]
        given += ["--scheme", "ibug", "--size", str(SIDE), "--batch", "1"]
        plan = _said("train", *given, "--out", str(out / name), "--plan")
        planned = next(float(line.split()[1]) for line in plan if line.startswith("peak"))
        given += ["--out", str(out / f"{name}.safetensors"), "--folder", str(out / name)]
        began = time.perf_counter()
        *_, peak = _said("train", *given, "--steps", "3", "--workers", "0")
        lines.append(
            f"{name}: {float(peak) * 2**20 / 1e9:.2f} GB (plan {planned:.2f} GB), "
            f"{time.perf_counter() - began:.0f} s"
        )
    return out, lines


def _said(*words: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *words], capture_output=True, text=True, cwd=Path.home()
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_trained_files_draw(
    tiny: Tiny,
    files: Path,
    trained: tuple[Path, list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each is loaded by its node and changes what the base draws in two steps."""
    import comfy.sd
    import folder_paths

    import nodes

    out, lines = trained
    with capsys.disabled():
        print("\n" + "\n".join(lines))
    for folder, names in (("dense_face", ("dense_face", "head")), ("sfsr", tuple(TRAINERS)[1:3])):
        place = Path(folder_paths.get_folder_paths(folder)[0])
        place.mkdir(parents=True, exist_ok=True)
        for name in names:
            (out / f"{name}.safetensors").rename(place / f"{name}.safetensors")
    with torch.inference_mode():
        model, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(str(files / "base.safetensors"))
        texts = [clip.encode_from_tokens_scheduled(clip.tokenize(t)) for t in ("a person", "")]
    people = tiny.people(encoder=ENCODER)
    options: dict[str, Any] = {"size": SIDE // 8, "cfg": 3.0}
    plain = tiny.sample(model, *texts, **options)

    adapter, control = tiny.run("LoadAdapter", "dense_face.safetensors")
    hint = torch.zeros(1, SIDE, SIDE, 3)
    hint[:, 100:110, 60:200, 0] = 1
    posed = nodes.ControlNetApplyAdvanced().apply_controlnet(*texts, control, hint, 1.0, 0.0, 1.0)
    found = [tiny.sample(tiny.apply(model, people, adapter=adapter), *posed, **options)]
    for name in ("sfsr", "sfsr_noise_only"):
        loaded = tiny.run("LoadSFSRAdapter", f"{name}.safetensors")
        found.append(tiny.sample(apply(tiny, loaded, model, people), *texts, **options))
    for latent in found:
        assert bool(latent.isfinite().all()) and difference(latent, plain) > 1e-4
    with torch.inference_mode():
        image = vae.decode(found[0])
    assert image.shape == (1, SIDE, SIDE, 3)
    head = tiny.run("LoadAnnotationHead", "head.safetensors")
    seen = tiny.run("AnnotateImage", model, vae, texts[0], head, image, 1, 0).seen
    assert seen.landmarks.shape == (1, 68, 2) and bool(seen.depth.isfinite().all())

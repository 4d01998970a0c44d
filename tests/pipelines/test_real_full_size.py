"""``denseface generate`` on a full-size inpainting base of random weights, with everything on it.

It is proven that everything fits and runs, nothing about images.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from comfyui_dense_face.pipelines.images import open_rgb, tensor_of
from full_size_files import write_converted_release, write_published, write_sd15
from locate_host import find_host
from real_files import VIT_H, write_clip_vision, write_photos

pytestmark = [pytest.mark.full_size, pytest.mark.timeout(1200)]
MEMORY = 12e9
PLUS = "ip-adapter-faceid-plus_sd15"
CALL = "import sys; from comfyui_dense_face.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files, in half precision."""
    pytest.importorskip("insightface")
    pytest.importorskip("onnx")
    if psutil.virtual_memory().available < MEMORY:
        pytest.skip("less than 12 GB of memory are free")
    folder = tmp_path_factory.mktemp("full")
    write_sd15(folder / "base.safetensors", inpainting=True)
    write_published(folder / "plusv2.bin", "faceid", PLUS, legacy=True)
    for half in ("attn_processors", "au_encoder"):
        write_published(folder / f"sd15_{half}.ckpt", "fineface", f"sd15_{half}")
    write_clip_vision(folder / "clip.safetensors", **VIT_H)
    write_converted_release(folder / "dense.safetensors")
    write_photos(folder)
    return folder


def test_two_steps_with_everything(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host = find_host()
    words = [] if host is None else ["--tokenizer", str(host / "comfy" / "sd1_tokenizer")]
    if words:
        words += ["--prompt", "a photo of a person"]
    out = tmp_path / "x.png"
    files = {
        "base": "base.safetensors",
        "reference": "photo.png",
        "scene": "other_photo.png",
        "insightface": "buffalo",
        "identity-adapter": "plusv2.bin",
        "clip-vision": "clip.safetensors",
        "expression-adapter": "sd15_attn_processors.ckpt",
        "dense-face": "dense.safetensors",
    }
    for name, file in files.items():
        words += [f"--{name}", str(folder / file)]
    words += ["--word", "joy", "--yaw", "20", "--size", "256", "--steps", "2", "--out", str(out)]
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", CALL, "generate", *words, "--plus-version", "plusv2"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    with capsys.disabled():
        print(f"\ngenerate: {seconds:.0f} s, peak {peak / 1e9:.1f} GB")
    made, scene = tensor_of(open_rgb(out)), tensor_of(open_rgb(folder / "other_photo.png"))
    changed = (made != scene).any(1)[0]
    assert made.shape == scene.shape and 0 < changed.float().mean() < 0.5

"""What the pack was run with: versions, launch flags, libraries, samplers and schedulers.

``make compatibility`` runs this and writes the tables of ``docs/compatibility.md``; pytest does not
collect it by itself. Every row runs two workflows of the tiny world (Dense-Face and SFSR, in few
steps) in a real server and compares their images with those of this machine's host without flags.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from copy import deepcopy
from io import BytesIO
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from comfy_server import ComfyServer, Graph, ServerError
from doc_tables import markdown, with_table
from locate_host import ROOT
from PIL import Image
from ui_to_api import to_api

pytestmark = [pytest.mark.host, pytest.mark.timeout(0)]

PAGE = ROOT / "docs" / "compatibility.md"
PACK = {"comfyui-dense-face": ROOT}
WORKFLOWS = "01 First portrait", "02 Expression by a word"
STEPS = 3
VERSIONS = "COMFYUI_VERSIONS"
"""Environment variable: a folder with checkouts of other versions of the host."""
PYTHONS = "COMPATIBLE_PYTHONS"
"""Environment variable: interpreters with the libraries of the host and of the pack."""
LIBRARIES = (
    "torch", "numpy", "diffusers", "transformers", "accelerate", "safetensors", "insightface",
    "opencv-python", "opencv-python-headless", "pillow",
)  # fmt: skip
COMMANDS = (
    ("render", "sheet", "--count", "1", "--columns", "1", "--seed", "7", "--out", "a.png"),
    ("generate", "--reference", "a.png", "--prompt", "smiling", "--steps", "3", "--out", "b.png"),
    ("express", "--identity", "a.png", "--word", "joy", "--scene", "b.png", "--steps", "3",
     "--out", "c.png"),
)  # fmt: skip
"""On diffusers, without the host."""
FLAGS = (
    "--force-fp32", "--force-fp16", "--fp32-unet", "--fp64-unet", "--bf16-unet", "--fp16-unet",
    "--fp8_e4m3fn-unet", "--fp8_e5m2-unet", "--fp8_e8m0fnu-unet", "--fp16-vae", "--fp32-vae",
    "--bf16-vae", "--cpu-vae", "--fp8_e4m3fn-text-enc", "--fp8_e5m2-text-enc", "--fp16-text-enc",
    "--fp32-text-enc", "--bf16-text-enc", "--fp16-intermediates", "--force-channels-last",
    "--supports-fp8-compute", "--preview-method taesd", "--preview-method latent2rgb",
    "--cache-classic", "--cache-lru 3", "--cache-none", "--cache-ram 2", "--high-ram",
    "--use-split-cross-attention", "--use-quad-cross-attention", "--use-pytorch-cross-attention",
    "--force-upcast-attention", "--dont-upcast-attention", "--lowvram", "--novram", "--highvram",
    "--gpu-only", "--disable-dynamic-vram", "--enable-dynamic-vram", "--async-offload",
    "--disable-async-offload", "--force-non-blocking", "--disable-smart-memory", "--deterministic",
    "--fast", "--disable-pinned-memory", "--mmap-torch-files", "--disable-mmap",
    "--disable-metadata", "--multi-user", "--enable-compress-response-body", "--log-stdout",
    "--default-hashing-function md5", "--disable-xformers",
)  # fmt: skip
SAME = 1.0
"""Mean difference of two images, of 255, below which they are the same to the eye."""


@pytest.fixture(scope="module")
def plain(host_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    """The images of the host at hand, without flags."""
    with ComfyServer(host_path, tmp_path_factory.mktemp("plain"), PACK) as server:
        return _images(server)


def test_versions(
    plain: list[np.ndarray], host_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if not os.environ.get(VERSIONS):
        pytest.skip(f"{VERSIONS} names no folder of checkouts")
    rows = []
    for checkout in sorted(_checkouts(host_path), key=_version):
        found = _outcome(checkout, tmp_path_factory.mktemp("version"), (), plain)
        rows.append((".".join(map(str, _version(checkout))), found))
    _write("versions", ("ComfyUI", "result"), rows)


def test_flags(
    plain: list[np.ndarray], host_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = []
    for flag in FLAGS:
        found = _outcome(host_path, tmp_path_factory.mktemp("flag"), tuple(flag.split()), plain)
        rows.append((f"`{flag}`", found))
    _write("flags", ("flag", "result"), rows)


def test_libraries(
    plain: list[np.ndarray], host_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pythons = [python for python in os.environ.get(PYTHONS, "").split(os.pathsep) if python]
    if not pythons:
        pytest.skip(f"{PYTHONS} names no interpreter")
    columns: list[str] = []
    commanded = _commanded(sys.executable, tmp_path_factory.mktemp("plain"))
    rows = []
    for python in pythons:
        hosts = dict.fromkeys((host_path, min(_checkouts(host_path), key=_version)))
        in_host = {
            ".".join(map(str, _version(host))): _outcome(
                host, tmp_path_factory.mktemp("libraries"), (), plain, python
            )
            for host in hosts
        }
        try:
            alone = _apart(_commanded(python, tmp_path_factory.mktemp("commands")), commanded)
        except AssertionError as error:
            alone = _sentence(error)
        rows.append((*_versions_of(python), *in_host.values(), alone))
        columns = [f"in ComfyUI {version}" for version in in_host]
    header = ("Python", "libraries", *columns, "`denseface` on diffusers")
    _write("libraries", header, rows)


def _versions_of(python: str) -> list[str]:
    """Version of an interpreter, and those of its libraries on one line."""
    code = f"""
import platform, importlib.metadata as found
print(platform.python_version())
has = {{each.metadata["Name"].lower(): each.version for each in found.distributions()}}
print(", ".join(f"{{name}} {{has[name]}}" for name in {LIBRARIES} if name in has))
"""
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split("\n")[:2]


def _commanded(python: str, folder: Path) -> list[np.ndarray]:
    """Images of the command line's first steps under an interpreter.

    Raises:
        AssertionError: A command failed.
    """
    (folder / "packs").mkdir()
    (folder / "packs" / "comfyui_dense_face").symlink_to(ROOT, target_is_directory=True)
    environment = os.environ | {"PYTHONPATH": str(folder / "packs")}
    start = "import sys; from comfyui_dense_face.cli import main; sys.exit(main(sys.argv[1:]))"
    for words in COMMANDS:
        done = subprocess.run(
            [python, "-c", start, *words],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    return [np.asarray(Image.open(folder / words[-1])) for words in COMMANDS]


def test_samplers_and_schedulers(host_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """One row for each sampler: the schedulers with which it gives no finite image."""
    rows = []
    with ComfyServer(host_path, tmp_path_factory.mktemp("samplers"), PACK) as server:
        choices = server.get("/object_info/KSampler")["KSampler"]["input"]["required"]
        samplers, schedulers = (choices[name][0] for name in ("sampler_name", "scheduler"))
        graphs = [_workflow(server, name) for name in WORKFLOWS]
        for sampler in samplers:
            failed = []
            for scheduler, graph in zip(schedulers, _cycled(graphs), strict=False):
                for node in graph.values():
                    if node["class_type"] == "KSampler":
                        node["inputs"] |= {"sampler_name": sampler, "scheduler": scheduler}
                try:
                    _saved(server, graph)
                except (ServerError, AssertionError) as error:
                    failed.append(f"{scheduler}: {_sentence(error)}")
            rows.append((f"`{sampler}`", f"{len(schedulers) - len(failed)}", "<br>".join(failed)))
    header = ("sampler", f"ok, of {len(schedulers)} schedulers", "not ok")
    _write("samplers", header, rows)


def _outcome(
    checkout: Path,
    base: Path,
    flags: tuple[str, ...],
    plain: Sequence[np.ndarray],
    python: str = sys.executable,
) -> str:
    try:
        with ComfyServer(checkout, base, PACK, flags, python) as server:
            images = _images(server)
    except (ServerError, AssertionError) as error:
        return _sentence(error)
    return _apart(images, plain)


def _apart(images: Sequence[np.ndarray], plain: Sequence[np.ndarray]) -> str:
    apart = max(
        float(np.abs(one.astype(float) - other).mean())
        for one, other in zip(images, plain, strict=True)
    )
    if apart == 0:
        return "ok, the same image"
    return f"ok, mean difference {apart:.2f} of 255" + (", to be seen" if apart > SAME else "")


def _images(server: ComfyServer) -> list[np.ndarray]:
    return [_saved(server, _workflow(server, name)) for name in WORKFLOWS]


def _workflow(server: ComfyServer, name: str) -> Graph:
    path = ROOT / "workflows" / f"{name}.json"
    graph = to_api(json.loads(path.read_text(encoding="utf-8")), server.get("/object_info"))
    for node in graph.values():
        if "steps" in node["inputs"]:
            node["inputs"]["steps"] = STEPS
    # Measurements refuse what too few steps have left of a face.
    saved = {number for number, node in graph.items() if node["class_type"] == "SaveImage"}
    return {number: graph[number] for number in _with_sources(graph, saved)}


def _with_sources(graph: Graph, numbers: set[str]) -> set[str]:
    """These nodes and all before them."""
    before = {
        value[0]
        for number in numbers
        for value in graph[number]["inputs"].values()
        if isinstance(value, list)
    }
    return numbers if before <= numbers else _with_sources(graph, numbers | before)


def _saved(server: ComfyServer, graph: Graph) -> np.ndarray:
    """The image that the workflow saves.

    Raises:
        AssertionError: It is of one colour: NaN and infinity are saved as black.
    """
    outputs = server.run(graph)
    (save,) = (number for number, node in graph.items() if node["class_type"] == "SaveImage")
    image = np.asarray(Image.open(BytesIO(server.view(outputs[save]["images"][0]))))
    assert image.std() > 2, "an empty image"
    return image


def _cycled(graphs: Sequence[Graph]) -> Iterator[Graph]:
    for i in count():
        yield deepcopy(graphs[i % len(graphs)])


def _checkouts(newest: Path) -> list[Path]:
    """The host at hand and, where they are given, the others."""
    folder = os.environ.get(VERSIONS)
    return [newest, *(Path(folder).iterdir() if folder else ())]


def _version(checkout: Path) -> tuple[int, ...]:
    text = (checkout / "comfyui_version.py").read_text(encoding="utf-8")
    return tuple(int(part) for part in text.split('"')[1].split("."))


def _sentence(error: Exception) -> str:
    """The error's message, for a cell of a table: of a server that ended, its log's last line."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    line = lines[-1] if lines[0].startswith("ComfyUI ") else lines[0]
    return " ".join(line.split())[:160].replace("|", "/")


def _write(name: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    page = with_table(page, name, markdown(header, rows), made_by="make compatibility")
    PAGE.write_text(page, encoding="utf-8")

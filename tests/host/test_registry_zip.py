"""The registry's zip in a fresh ComfyUI, with nothing else of this repository.

With ``COMFYUI_VERSIONS``, a folder of checkouts, also in the oldest and the newest of them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from comfy_server import ComfyServer
from locate_host import ROOT, find_host
from ui_to_api import to_api

STEPS = 3
FOLDER = "dense-face"
"""As the Manager calls it: the project's name."""


def hosts() -> Iterator[Path]:
    """The checkout at hand, and of ``COMFYUI_VERSIONS`` the oldest and the newest."""
    here = find_host()
    if here is not None:
        yield here
    folder = os.environ.get("COMFYUI_VERSIONS")
    if folder:
        found = sorted((path for path in Path(folder).iterdir() if path.is_dir()), key=_version)
        yield from dict.fromkeys((found[0], found[-1]))


def _version(checkout: Path) -> list[int]:
    text = (checkout / "comfyui_version.py").read_text(encoding="utf-8")
    return [int(part) for part in re.findall(r"\d+", text.split("=")[1])]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("pathspec")
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    spec = importlib.util.spec_from_file_location(
        "contents", ROOT / ".github" / "registry" / "contents.py"
    )
    assert spec is not None and spec.loader is not None
    contents = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(contents)
    path = tmp_path_factory.mktemp("zip") / "pack.zip"
    contents.write_zip(path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("host", list(hosts()), ids=lambda path: path.name)
def test_it_runs_in_a_fresh_host(
    host: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    pack = tmp_path / "custom_nodes" / FOLDER
    with zipfile.ZipFile(archive) as unpacked:
        unpacked.extractall(pack)
    frozen = json.loads((ROOT / "tests" / "data" / "node_schemas.json").read_text())
    workflow = json.loads(
        (pack / "workflows" / "01 First portrait.json").read_text(encoding="utf-8")
    )
    with ComfyServer(host, tmp_path, {}) as server:
        described = server.get("/object_info")
        ours = {name: node for name, node in described.items() if name in frozen}
        assert set(ours) == set(frozen)
        assert {node["python_module"] for node in ours.values()} == {f"custom_nodes.{FOLDER}"}
        help_page = server.read(f"/extensions/{FOLDER}/docs/DenseFace_QuickPortrait.md")
        assert help_page.startswith(b"# Quick Portrait")
        graph = to_api(workflow, described)
        for node in graph.values():
            if "steps" in node["inputs"]:
                node["inputs"]["steps"] = STEPS
        outputs = server.run(graph)
        images = [image for output in outputs.values() for image in output.get("images", [])]
        assert images and server.view(images[-1]).startswith(b"\x89PNG")

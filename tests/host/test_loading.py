"""ComfyUI's start: the pack's folder under any name, two copies, and a ComfyUI that is too old."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from urllib.parse import quote, urljoin

import pytest
from comfy_server import ComfyServer
from load_pack import load_pack
from locate_host import ROOT

FOLDER = "dense face.v2-日本"
SECOND = "comfyui_dense_face-main"
HELP = f"/extensions/{quote('dense face')}/docs/DenseFace_LoadTinyWorld.md"
"""As the frontend asks for it: it takes a dot for the end of the folder's name."""
IMPORT = re.compile(r'from "([^"]+)"|new URL\("([^"]+)", import')


@pytest.fixture(scope="module")
def two_copies(host_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """A server with a copy in a folder of an unusual name, and then another copy."""
    base, later = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
    (later / SECOND).symlink_to(ROOT, target_is_directory=True)
    paths = later / "paths.yaml"
    paths.write_text(f"later:\n  custom_nodes: {later}\n", encoding="utf-8")
    flags = ("--extra-model-paths-config", str(paths))
    with ComfyServer(host_path, base, {FOLDER: ROOT}, flags) as running:
        yield running


def test_two_copies_are_one_sentence(two_copies: ComfyServer) -> None:
    said = [line for line in two_copies.log().splitlines() if "installed twice" in line]
    assert len(said) == 1
    assert FOLDER in said[0] and SECOND in said[0]
    assert said[0].rstrip().endswith("Remove one of the two folders and restart ComfyUI.")
    assert "Traceback" not in two_copies.log()


def test_the_first_copy_has_all_nodes(two_copies: ComfyServer) -> None:
    ours = json.loads((ROOT / "tests" / "data" / "node_schemas.json").read_text(encoding="utf-8"))
    described = two_copies.get("/object_info")
    assert {described[name]["python_module"] for name in ours} == {f"custom_nodes.{FOLDER}"}
    assert len(two_copies.get("/dense_face/words")) == 135


def test_scripts_import_each_other(two_copies: ComfyServer) -> None:
    """Those of the first copy only, each import by its own address."""
    scripts = {path for path in two_copies.get("/extensions") if path.endswith(".js")}
    own = {f"/extensions/{quote(FOLDER)}/js/{file.name}" for file in (ROOT / "web/js").glob("*.js")}
    assert own <= scripts
    assert not any(SECOND in path for path in scripts)
    for path in own:
        source = two_copies.read(path).decode()
        for found in IMPORT.findall(source):
            assert two_copies.read(urljoin(path, "".join(found)))


def test_templates_and_help_are_served(two_copies: ComfyServer) -> None:
    listed = two_copies.get("/workflow_templates")[FOLDER]
    assert set(listed) == {file.stem for file in (ROOT / "workflows").glob("*.json")}
    for name in listed:
        for ending in ("json", "jpg"):
            path = f"/api/workflow_templates/{quote(FOLDER)}/{quote(name)}.{ending}"
            assert two_copies.read(path)
    assert two_copies.read(HELP).startswith(b"# Load Tiny World")


def test_bundled_weights_are_found(two_copies: ComfyServer) -> None:
    inputs = {"person": 2, "scene": 3, "yaw": 0, "pitch": 0, "roll": 0, "size": 128}
    outputs = two_copies.run(
        {
            "1": {"class_type": "DenseFace_TinyPortrait", "inputs": inputs},
            "2": {"class_type": "DenseFace_LoadTinyAnalyzer", "inputs": {}},
            "3": {
                "class_type": "DenseFace_EncodeIdentity",
                "inputs": {"analyzer": ["2", 0], "image": ["1", 0], "pictures_show": "one person"},
            },
            "4": {
                "class_type": "DenseFace_SaveIdentity",
                "inputs": {"identity": ["3", 0], "name": "anna"},
            },
        }
    )
    assert outputs
    assert list((two_copies.base / "output" / "identities").iterdir())


# ---- too old -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.14.1", "0.3.60", "0.3.40", ""])
def test_an_old_host_gets_one_sentence(
    version: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    host = SimpleNamespace(NODE_CLASS_MAPPINGS={})
    known = SimpleNamespace(__version__=version) if version else None
    monkeypatch.setitem(sys.modules, "nodes", host)
    monkeypatch.setitem(sys.modules, "comfyui_version", known)
    name = f"pack_in_old_host_{version.replace('.', '_')}"
    try:
        module = load_pack(name)
        with pytest.raises(ValueError, match=r"ComfyUI 0\.15\.0 or newer") as caught:
            asyncio.run(module.comfy_entrypoint())
        loaded = {each for each in sys.modules if each.startswith(f"{name}.")}
    finally:
        for each in [each for each in sys.modules if each.startswith(name)]:
            del sys.modules[each]
    assert version in str(caught.value) and str(caught.value).endswith("Update ComfyUI.")
    assert module.WEB_DIRECTORY is None
    assert loaded == {f"{name}.errors", f"{name}.startup_check"}
    # Before entry points a host calls nothing: the pack itself has to say it.
    assert [record.getMessage() for record in caplog.records] == (
        [str(caught.value)] if version in ("0.3.40", "") else []
    )


def test_the_floor_is_that_of_the_registry(pack: ModuleType) -> None:
    floor = ".".join(map(str, sys.modules[f"{pack.__name__}.startup_check"].FLOOR))
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'requires-comfyui = ">={floor}"' in text


@pytest.mark.slow
def test_an_old_host_starts(host_path: Path, tmp_path: Path) -> None:
    """The host at hand under an older version's number: one line of the log, no node, no script."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for entry in host_path.iterdir():
        if entry.name == "main.py":
            shutil.copy(entry, checkout)  # Python looks for modules where this file really is
        elif entry.name not in ("comfyui_version.py", "__pycache__"):
            (checkout / entry.name).symlink_to(entry)
    (checkout / "comfyui_version.py").write_text('__version__ = "0.14.1"\n', encoding="utf-8")
    with ComfyServer(checkout, tmp_path / "base", {FOLDER: ROOT}) as server:
        said = [line for line in server.log().splitlines() if "Dense-Face" in line]
        assert len(said) == 1
        assert "needs ComfyUI 0.15.0 or newer, this is 0.14.1" in said[0]
        assert not any("DenseFace" in name for name in server.get("/object_info"))
        assert not any(quote(FOLDER) in path for path in server.get("/extensions"))

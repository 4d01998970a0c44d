"""A library, or a folder of models, that is not there: the pack loads, and one sentence says so."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from in_host import Tiny
from load_pack import load_pack

OPTIONAL = {
    "cv2": (
        lambda module: module("faces.dnn").opencv(),
        "pip install -r requirements.txt",
    ),
    "insightface": (
        lambda module: module("faces.insightface.model_pack").import_insightface("insightface.app"),
        "pip install 'insightface>=2.0'",
    ),
    "onnxruntime": (
        lambda module: module("faces.insightface.model_pack").import_insightface("insightface.app"),
        "pip install 'insightface>=2.0'",
    ),
    "timm": (lambda module: module("faces.encoders.smirk")._timm(), "pip install timm"),
}
"""Library -> what needs it, and how it is installed. For those of the command line:
tests/test_errors_cli.py, and tests/pipelines/test_images.py for HEIC files."""


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make a library as if it were not installed."""

    def remove(library: str) -> None:
        for name in list(sys.modules):
            if name.partition(".")[0] in (library, "insightface"):
                monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, library, None)

    return remove


@pytest.mark.parametrize("library", list(OPTIONAL))
def test_a_missing_library_is_one_sentence(
    tiny: Tiny, without: Callable[[str], None], library: str
) -> None:
    if library == "onnxruntime":
        pytest.importorskip("insightface")
    needs, command = OPTIONAL[library]
    without(library)
    with pytest.raises(ValueError, match=re.escape(command)) as caught:
        needs(tiny.module)
    assert library in str(caught.value) or library == "cv2"
    assert "\n" not in str(caught.value)


def test_the_pack_loads_without_them(comfy: ModuleType, without: Callable[[str], None]) -> None:
    for library in OPTIONAL:
        without(library)
    name = "pack_without_libraries"
    try:
        module = load_pack(name)
        extension = asyncio.run(module.comfy_entrypoint())
        nodes = asyncio.run(extension.get_node_list())
        schemas = [node.define_schema() for node in nodes]
    finally:
        for each in [each for each in sys.modules if each.partition(".")[0] == name]:
            del sys.modules[each]
    assert len(schemas) > 60


# ---- folders -----------------------------------------------------------------------------------


@pytest.fixture
def no_folders(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The pack's ``folders``, where the models folder cannot be written and ours are not there."""
    import folder_paths

    folders = tiny.module("nodes.host.folders")
    models = tmp_path / "models"
    models.touch()  # a file: no folder can be made below it, not even by root
    monkeypatch.setattr(folder_paths, "models_dir", str(models))
    known = {name: value for name, value in folder_paths.folder_names_and_paths.items()}
    for name in (*folders.FOLDERS, folders.IP_ADAPTERS, folders.IDENTITIES, folders.EXPRESSIONS):
        folder_paths.folder_names_and_paths.pop(name, None)
        folder_paths.filename_list_cache.pop(name, None)
    yield folders
    folder_paths.folder_names_and_paths.clear()
    folder_paths.folder_names_and_paths.update(known)
    folder_paths.filename_list_cache.clear()


def test_a_models_folder_that_cannot_be_written(tiny: Tiny, no_folders: Any) -> None:
    """Nodes are there with what is bundled; a file that is missing is named with its folder."""
    no_folders.register_folders()
    assert no_folders.list_files("dense_face", bundled=True) == [no_folders.BUNDLED]
    schemas = [node.define_schema() for node in tiny.module("nodes").NODES]
    assert len(schemas) > 60
    with pytest.raises(ValueError, match=r"adapter one\.safetensors is missing \(.*dense_face"):
        no_folders.full_path("dense_face", "one.safetensors", "adapter")

"""What ComfyUI's registry and GitHub read: addresses, images, contents of the zip, workflows."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from locate_host import ROOT
from PIL import Image

GITHUB = ROOT / ".github"
LARGEST_ZIP = 30_000_000
IN_EVERY_NODE = ("nodes", "demo", "dense_face", "faces", "readers", "sfsr", "web", "locales")


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, GITHUB / "registry" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def settings(text: str) -> dict[str, Any]:
    return pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML").loads(text)


def pyproject() -> str:
    return (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_addresses_of_whoever_publishes() -> None:
    urls = script("urls")
    written = urls.with_urls(pyproject(), "some-one/dense.face")
    before, after = settings(pyproject()), settings(written)
    assert after["project"].pop("urls")["Repository"] == "https://github.com/some-one/dense.face"
    for name, file in (("Icon", "icon.png"), ("Banner", "banner.png")):
        address = after["tool"]["comfy"].pop(name)
        assert address.startswith("https://raw.githubusercontent.com/some-one/dense.face/")
        assert address.endswith(f"/docs/images/{file}")
    assert after == before
    with pytest.raises(ValueError, match="already"):
        urls.with_urls(written, "some-one/dense.face")
    for wrong in ("", "someone", 'a/b"\nx = "', "a/b/c"):
        with pytest.raises(ValueError, match="owner/name"):
            urls.with_urls(pyproject(), wrong)


def test_what_the_registry_requires() -> None:
    found = settings(pyproject())
    assert re.fullmatch(r"[a-z][a-z0-9.-]{1,98}", found["project"]["name"])
    assert "comfyui" not in found["project"]["name"]
    version = found["project"]["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert f'__version__ = "{version}"' in (ROOT / "__init__.py").read_text(encoding="utf-8")
    assert found["tool"]["comfy"]["PublisherId"] and found["tool"]["comfy"]["requires-comfyui"]


def test_icon_and_banner() -> None:
    images = script("images")
    with Image.open(images.IMAGES / "icon.png") as icon:
        assert icon.width == icon.height <= 400
    with Image.open(images.IMAGES / "banner.png") as banner:
        assert banner.width * 9 == banner.height * 21


def test_the_zip_holds_what_runs(tmp_path: Path) -> None:
    pytest.importorskip("pathspec")
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    contents = script("contents")
    files = contents.published_files()
    tops = {file.split("/")[0] for file in files}
    assert {*IN_EVERY_NODE, "__init__.py", "pyproject.toml", "requirements.txt", "LICENSE"} <= tops
    assert not tops & {"tests", "docs", "benchmarks", ".github", ".ci", "Makefile"}
    assert contents.write_zip(tmp_path / "pack.zip") < LARGEST_ZIP


def test_packages_of_pip_are_all_in_the_zip() -> None:
    """So the command line can be installed from the folder that the Manager unpacked."""
    pytest.importorskip("pathspec")
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    folders = {str(Path(file).parent) for file in script("contents").published_files()}
    for package in settings(pyproject())["tool"]["setuptools"]["packages"]:
        _, *parts = package.split(".")
        assert "/".join(parts) in folders | {""}, package


@pytest.mark.parametrize("path", sorted(GITHUB.rglob("*.yml")), ids=lambda path: path.name)
def test_workflows_and_templates_are_read(path: Path) -> None:
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.parent.name == "workflows":
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        text = json.dumps(found)
        matrix = [
            name
            for job in found["jobs"].values()
            for name in job.get("strategy", {}).get("matrix", {}).get("target", [])
        ]
        called = [name for line in re.findall(r'"make ([a-z -]+)', text) for name in line.split()]
        assert set(called) | set(matrix) <= targets
        assert found["permissions"] == {"contents": "read"}
    elif path.stem != "config":
        asked = [part for part in found["body"] if part.get("validations", {}).get("required")]
        assert asked and all(part["attributes"]["label"] for part in asked)

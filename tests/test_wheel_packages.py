"""The wheel contains every package of the product."""

from __future__ import annotations

from pathlib import Path

import pytest
from locate_host import ROOT

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
NAME = "comfyui_dense_face"
NOT_SHIPPED = {"benchmarks", "tests", "out"}


def test_every_package_is_listed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    folders = {
        path.parent.relative_to(ROOT)
        for path in ROOT.rglob("__init__.py")
        if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    }
    packages = {
        ".".join((NAME, *folder.parts))
        for folder in folders
        if folder == Path() or folder.parts[0] not in NOT_SHIPPED
    }
    assert set(settings["tool"]["setuptools"]["packages"]) == packages

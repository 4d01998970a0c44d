"""Nodes that save: any name, folder or disk gives a file in the output folder, or a sentence."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from in_host import Tiny

NAMES = [
    "C:evil", "C:\\evil", "\\evil", "/evil", "../evil", "a/../../evil", "..", ".", "", "  ",
    "a\0b", "e" * 320, "é" * 130, "d" * 240, "x/" * 3000 + "y", "NUL", "con/a", "a/COM1.txt",
    "LPT\u00b9", "trail.", "trail./a", "trail /a", "%year%/../../evil", "\ud800", "a\nb",
]  # fmt: skip
Savers = dict[str, Any]
"""Name of a node that saves -> what it saves."""


@pytest.fixture(scope="module")
def savers(tiny: Tiny) -> Savers:
    annotations = tiny.module("dense_face.annotation.annotations")
    seen = annotations.Annotations(
        torch.zeros(1, 8, 8), torch.zeros(1, 10, 8, 8), torch.rand(1, 68, 2), torch.ones(1, 68),
        "ibug",
    )  # fmt: skip
    return {
        "SaveIdentity": tiny.people(),
        "SaveExpression": tiny.run("ExpressionFromWord", "happy", 1.0, 0, 0.0),
        "SaveAnnotations": tiny.module("nodes.sockets").ImageAnnotations(seen, (8, 8)),
        "SaveAdapter": tiny.adapter,
    }


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The host's output folder, two levels below the test's own."""
    import folder_paths

    folder = tmp_path / "host" / "output"
    folder.mkdir(parents=True)
    monkeypatch.setattr(folder_paths, "output_directory", str(folder))
    return folder


def _node(tiny: Tiny, name: str) -> Any:
    return next(n for n in tiny.module("nodes").NODES if n.__name__ == name)


def save(tiny: Tiny, savers: Savers, node: str, name: str) -> str | None:
    """Save, and return the sentence of a refusal."""
    try:
        saver = _node(tiny, node)
        with torch.inference_mode():
            saver.execute(savers[node], name)
    except ValueError as error:
        assert type(error).__module__.endswith(".errors"), repr(error)
        assert "\n" not in str(error) and str(error).endswith(".")
        return str(error)
    return None


NODES = ["SaveIdentity", "SaveExpression", "SaveAnnotations", "SaveAdapter"]
FOLDERS = ["", "identities", "expressions", "dense_face"]


@pytest.mark.parametrize("node", NODES)
def test_names_that_lead_elsewhere(tiny: Tiny, savers: Savers, output: Path, node: str) -> None:
    for name in NAMES:
        message = save(tiny, savers, node, name)
        assert message is not None and "cannot be saved under the name" in message, repr(name)
        if not name.startswith("x/"):  # a plain name, which the system refuses
            assert "Give a plain name" in message
            assert "Give a plain name" in str(_node(tiny, node).validate_inputs(name))
    assert not [path for path in output.parents[1].rglob("*") if path.is_file()]


@pytest.mark.parametrize("node", NODES)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(name=st.text(st.sampled_from("ab./\\: \0%~é|?*"), max_size=12))
def test_any_name(tiny: Tiny, savers: Savers, output: Path, node: str, name: str) -> None:
    message = save(tiny, savers, node, name)
    written = [path for path in output.parents[1].rglob("*") if path.is_file()]
    assert message is not None or written
    assert all(path.is_relative_to(output) for path in written)


@pytest.mark.parametrize("node", NODES)
def test_numbers_go_on(tiny: Tiny, savers: Savers, output: Path, node: str) -> None:
    """Names in a folder, with spaces around, are saved as ever."""
    assert _node(tiny, node).validate_inputs() is True  # a name from a link
    for _ in range(2):
        assert _node(tiny, node).validate_inputs(" people/anna 1 ") is True
        assert save(tiny, savers, node, " people/anna 1 ") is None
    names = {re.sub(r"_[a-z]+\.|\.", ".", path.name) for path in output.rglob("anna*")}
    assert {name.split(".")[0] for name in names} == {"anna 1_00001", "anna 1_00002"}


@pytest.mark.parametrize("node", NODES)
def test_a_folder_that_is_a_file(tiny: Tiny, savers: Savers, output: Path, node: str) -> None:
    for place in (output / folder for folder in FOLDERS):
        place.mkdir(exist_ok=True)
        (place / "taken").write_text("x")
    message = save(tiny, savers, node, "taken/anna")
    assert message is not None and re.search("File exists|Not a directory", message)


@pytest.mark.parametrize("node", NODES)
def test_links_out_of_the_folder(tiny: Tiny, savers: Savers, output: Path, node: str) -> None:
    away = output.parent / "away"
    away.mkdir()
    for place in (output / folder for folder in FOLDERS):
        place.mkdir(exist_ok=True)
        (place / "link").symlink_to(away)
        (place / "circle").symlink_to(place / "circle")
    for name in ("link/anna", "circle/anna"):
        assert "Give a plain name" in (save(tiny, savers, node, name) or "")
    assert not list(away.iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("node", NODES)
def test_disks_that_take_nothing(
    tiny: Tiny, savers: Savers, output: Path, node: str, number: int, monkeypatch: Any
) -> None:
    """While the folder is made, and while the file is written."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    for owner, name in ((os, "mkdir"), (os, "makedirs"), (Path, "touch")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, refuse)
            message = save(tiny, savers, node, f"{name}/anna")
        if message is not None:
            assert os.strerror(number) in message
    assert not [path for path in output.rglob("*") if path.is_file() and "touch" in str(path)]
    assert message is not None


def test_previews_on_a_full_disk(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every node that shows an image has the host write it."""
    from PIL import Image

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(ValueError, match=r"preview cannot be written: No space left.*\.$"):
        tiny.run("PoseFromAngles", 0.0, 0.0, 0.0, 64)
    folder = Path(tiny.pack.__file__ or "").parent / "nodes"
    raw = [p.name for p in folder.rglob("*.py") if "ui.PreviewImage(" in p.read_text("utf-8")]
    assert raw == ["images.py"]

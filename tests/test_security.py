"""What SECURITY.md says of the whole source: nothing is run, nothing is sent; its limits."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from comfyui_dense_face import limits
from locate_host import ROOT

_NOT_SHIPPED = {"tests", "benchmarks", "out", "build", "node_modules", "docs"}
_RUN = {
    "eval", "exec", "compile", "os.system", "os.popen", "os.startfile", "torch.load", "pickle.load",
    "pickle.loads", "pickle.Unpickler", "yaml.load", "yaml.unsafe_load", "marshal.loads",
    "runpy.run_path", "torch.hub.load", "torch.jit.load", "joblib.load", "shelve.open",
}  # fmt: skip
_RUN_MODULES = {"subprocess", "marshal", "shelve", "code", "pty", "dill", "cloudpickle", "joblib"}
_NETWORK = {
    "socket", "ssl", "http", "urllib", "ftplib", "smtplib", "telnetlib", "requests", "httpx",
    "aiohttp", "urllib3", "huggingface_hub", "websockets",
}  # fmt: skip

_KNOWN = {
    "training/watch/provenance.py: subprocess",
    "nodes/host/head_images.py: aiohttp",
    "nodes/host/served_files.py: aiohttp",
    "nodes/host/served_files.py: urllib",
}
"""The pack's own version, by git, for the metadata of what is trained; answers of the
host's own server, and how an address is written."""


def _sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        inside = path.relative_to(ROOT)
        if inside.parts[0] in _NOT_SHIPPED or any(part.startswith(".") for part in inside.parts):
            continue
        yield inside.as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def _findings(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in _RUN:
                yield name
            if any(
                k.arg == "allow_pickle" and ast.unparse(k.value) != "False" for k in node.keywords
            ):
                yield "allow_pickle"
            if name.endswith("from_pretrained") and "local_files_only=True" not in ast.unparse(
                node
            ):
                yield name
        elif isinstance(node, ast.Import):
            modules = {alias.name.partition(".")[0] for alias in node.names}
            yield from modules & (_RUN_MODULES | _NETWORK)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from {node.module.partition(".")[0]} & (_RUN_MODULES | _NETWORK)


def test_nothing_is_run_and_nothing_is_sent() -> None:
    found = {f"{path}: {what}" for path, tree in _sources() for what in _findings(tree)}
    assert found == _KNOWN


@pytest.mark.parametrize(
    "source",
    [
        "eval('1')", "torch.load(p)", "import pickle\npickle.loads(b'')",
        "np.load(p, allow_pickle=x)",
        "import subprocess", "from urllib import request", "import requests", "yaml.load(text)",
        "A.from_pretrained(p)",
    ],
)  # fmt: skip
def test_such_sources_are_seen(source: str) -> None:
    assert list(_findings(ast.parse(source)))


def test_only_the_pickle_reader_knows_pickles() -> None:
    users = [
        path
        for path, tree in _sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Import) and any(a.name == "pickle" for a in node.names)
    ]
    assert users == ["readers/unpickle.py"]


def test_every_limit_is_used_and_listed() -> None:
    """A limit that no reader checks would be a promise only."""
    names = [name for name in vars(limits) if name.isupper()]
    source = "\n".join(ast.unparse(tree) for path, tree in _sources() if path != "limits.py")
    assert [name for name in names if f"limits.{name}" not in source] == []
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert [name for name in names if f"`{name}`" not in page] == []


def test_the_tests_it_names_exist() -> None:
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/.]+)`", page)
    assert len(named) > 5 and [name for name in named if not Path(ROOT / name).is_file()] == []

"""Rules of all tests: which layers can run here, and the host for those that need it."""

from __future__ import annotations

import compileall
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from comfy_server import ComfyServer
from load_pack import load_pack
from locate_host import ROOT, HostPathError, find_host
from socket_guard import GUARD

TESTS = Path(__file__).resolve().parent
_HOST_KEY = pytest.StashKey[Path | None]()

PACK_FOLDER = "comfyui-dense-face"
NO_HOST = "no ComfyUI at COMFYUI_PATH or ~/ComfyUI"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-tables", action="store_true", help="write the tables in the docs anew"
    )
    parser.addoption("--rewrite-locale", action="store_true", help="write locales/en anew")
    parser.addoption("--soak-runs", type=int, default=500, help="runs of tests/soak")


def pytest_configure(config: pytest.Config) -> None:
    GUARD.install()
    # The root's nodes/ must never shadow the host's own module of that name.
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
    try:
        config.stash[_HOST_KEY] = find_host()
    except HostPathError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Everything in tests/host needs the host, everything in tests/browser also a browser.

    Slow tests come first, so that none is left alone at the end of a parallel run; among them those
    without a server, which holds memory to the end.
    """
    items.sort(
        key=lambda item: (
            item.get_closest_marker("slow") is None,
            item.path.is_relative_to(TESTS / "host"),
        )
    )
    for item in items:
        if item.path.is_relative_to(TESTS / "browser"):
            item.add_marker("browser")
        if item.path.is_relative_to(TESTS / "host") or item.get_closest_marker("browser"):
            item.add_marker("host")
        if item.get_closest_marker("host") and config.stash[_HOST_KEY] is None:
            item.add_marker(pytest.mark.skip(reason=NO_HOST))
        if item.get_closest_marker("gpu") and not _cuda_available():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def _cuda_available() -> bool:
    import torch

    return torch.cuda.is_available()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what was not tested, and why."""
    reports: list[pytest.TestReport] = terminalreporter.stats.get("skipped", [])
    if not reports:
        return
    reasons = Counter(
        str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        for report in reports
    )
    terminalreporter.section("NOT TESTED", yellow=True, bold=True)
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count} skipped: {reason.removeprefix('Skipped: ')}", yellow=True)


@pytest.fixture(autouse=True)
def nothing_leaves_this_machine() -> Iterator[None]:
    """No test, nor anything it imports, connects to another machine or resolves its name."""
    yield
    attempts = GUARD.take()
    assert not attempts, f"tried to reach other machines: {'; '.join(attempts)}"


@pytest.fixture(scope="session")
def host_path(pytestconfig: pytest.Config) -> Path:
    """The ComfyUI checkout; tests that use it are skipped without one."""
    checkout = pytestconfig.stash[_HOST_KEY]
    if checkout is None:
        pytest.skip(NO_HOST)
    return checkout


@pytest.fixture(scope="session")
def comfy(host_path: Path, tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """ComfyUI's ``comfy`` package, importable in this process, on the CPU, writing nowhere else.

    After it, ``import comfy.sample``, ``import folder_paths``, ``import nodes`` (the host's) work.
    """
    if str(host_path) not in sys.path:
        sys.path.insert(0, str(host_path))
    from comfy.cli_args import args

    # Before anything imports comfy.model_management, which reads them once.
    args.cpu = True
    args.base_directory = str(tmp_path_factory.mktemp("comfy_base"))
    args.database_url = "sqlite:///:memory:"
    import comfy

    return comfy


@pytest.fixture(scope="session")
def pack(comfy: ModuleType) -> ModuleType:
    """The pack as the host loads it."""
    return load_pack("pack_under_test")


@pytest.fixture(scope="session")
def server(host_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """A real ComfyUI on a free port with our pack as its only custom node, started once.

    The pack is compiled beforehand: what the host reports as our import time is then that of every
    start but the very first.
    """
    compileall.compile_dir(str(ROOT), maxlevels=0, quiet=1)
    for part in ("demo", "dense_face", "faces", "nodes", "readers", "sfsr"):
        compileall.compile_dir(str(ROOT / part), quiet=1)
    base = tmp_path_factory.mktemp("comfy_server")
    with ComfyServer(host_path, base, {PACK_FOLDER: ROOT}) as running:
        yield running

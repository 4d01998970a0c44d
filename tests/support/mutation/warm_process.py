"""Runs of pytest in forks of one process that has imported torch and the host already."""

from __future__ import annotations

import importlib
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from covering_tests import CoveringTests
from source_mutants import Mutant

SURVIVED = "survived"
_HEAVY = (
    *("torch", "numpy", "PIL.Image", "cv2", "safetensors.torch", "hypothesis", "scipy.stats"),
    *("diffusers.models.unets.unet_2d_condition", "diffusers.models.controlnets.controlnet"),
    *("diffusers.models.autoencoders.autoencoder_kl", "transformers.models.clip.modeling_clip"),
    *("transformers.models.clip.tokenization_clip", "skimage.data", "onnx"),
)
_HOST = ("comfy.sd", "comfy.sample", "comfy.controlnet", "comfy_api.latest", "nodes")
_QUIET = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
_MEMORY = 8 * 2**30
_SECONDS = 120.0
"""For the tests of one mutant, which take fifteen on the unchanged code."""


class WarmProcess:
    """Tries mutants on a copy of the repository.

    Args:
        copy: The copy; its folder has the name by which tests import the package.
        out: Folder for what pytest prints.
    """

    def __init__(self, copy: Path, out: Path) -> None:
        self.copy = copy
        self.out = out
        self._sound: dict[str, bool] = {}
        os.environ["PYTHONPATH"] = str(copy.parent)
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        sys.dont_write_bytecode = True
        sys.path[:0] = [str(copy.parent), str(copy / "tests" / "support")]
        os.chdir(copy)
        _import_what_takes_seconds()

    def measure(self, packages: Sequence[str], tests: list[str], to: Path) -> None:
        """Write which tests run which lines."""

        def measure() -> int:
            CoveringTests.measure(self.copy, packages, [*tests, *_QUIET], to)
            return 0

        _in_fork(measure, 7200.0, self.out / "covered.log")

    def try_mutant(self, mutant: Mutant, tests: list[str]) -> str:
        """What notices it: a test, ``import`` or ``time``, else :data:`SURVIVED`."""
        while tests:
            with self._changed(mutant):
                code, failed = self._run(tests)
                # Behind other tests one may fail for their sake.
                alone = failed is not None and (failed == tests[0] or self._run([failed])[0] != 0)
            if code == 0:
                return SURVIVED
            if failed is None:
                return "time" if code is None else "import"
            if alone and self._passes_alone(failed):
                return failed
            tests = [test for test in tests if test != failed]
        return SURVIVED

    @contextmanager
    def _changed(self, mutant: Mutant) -> Iterator[None]:
        path = self.copy / mutant.path
        before = path.read_text(encoding="utf-8")
        path.write_text(mutant.source, encoding="utf-8")
        try:
            yield
        finally:
            path.write_text(before, encoding="utf-8")

    def _passes_alone(self, test: str) -> bool:
        """On the unchanged code: a test that needs another one before it proves nothing."""
        if test not in self._sound:
            self._sound[test] = self._run([test])[0] == 0
        return self._sound[test]

    def _run(self, tests: list[str]) -> tuple[int | None, str | None]:
        note = self.out / "failed.txt"
        note.unlink(missing_ok=True)
        arguments = [*(f"tests/{test}" for test in tests), "-x", *_QUIET]
        code = _in_fork(
            lambda: pytest.main(arguments, plugins=[_Note(note)]), _SECONDS, self.out / "last.log"
        )
        return code, note.read_text() if note.exists() else None


class _Note:
    """A pytest plugin that writes down which test failed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.path.write_text(report.nodeid)


def _import_what_takes_seconds() -> None:
    """But nothing of the pack."""
    for name in _HEAVY:
        importlib.import_module(name)
    host = importlib.import_module("locate_host").find_host()
    if host is None:
        return
    sys.path.insert(0, str(host))
    from comfy.cli_args import args

    args.cpu = True
    args.base_directory = tempfile.mkdtemp()
    args.database_url = "sqlite:///:memory:"
    for name in _HOST:
        importlib.import_module(name)


def _in_fork(work: Callable[[], int], seconds: float, log: Path) -> int | None:
    """The exit status of ``work`` in a fork, or None if it took longer; it prints into ``log``."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.setsid()
            out = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
            code = int(work())
            sys.stdout.flush()
        finally:
            os._exit(code)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None

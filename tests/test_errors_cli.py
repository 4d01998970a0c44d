"""The command line: one sentence and exit code 2 for what a user can fix, never a traceback."""

from __future__ import annotations

import argparse
import os
import pickle
import subprocess
import sys
import types

import pytest
from comfyui_dense_face import cli
from comfyui_dense_face.commands import COMMANDS
from comfyui_dense_face.errors import FacePackError, IncompatibleError, InputError, ModelFileError


def test_sentence_says_what_where_and_fix() -> None:
    error = FacePackError("the image has no face", where="a.png", fix="Use a portrait")
    assert str(error) == "the image has no face (a.png). Use a portrait."
    assert (error.what, error.where, error.fix) == (
        "the image has no face",
        "a.png",
        "Use a portrait",
    )


def test_sentence_without_the_optional_parts() -> None:
    assert str(FacePackError("too big.")) == "too big."
    assert str(FacePackError("too big", fix="Crop it.")) == "too big. Crop it."


@pytest.mark.parametrize("kind", [InputError, ModelFileError, IncompatibleError])
def test_kinds_are_one_family(kind: type[FacePackError]) -> None:
    assert issubclass(kind, FacePackError)
    assert issubclass(kind, ValueError)


def test_errors_cross_process_borders() -> None:
    """Data loader workers hand their errors over by pickle."""
    error = pickle.loads(pickle.dumps(InputError("a", where="b", fix="C")))  # noqa: S301
    assert (str(error), error.where) == ("a (b). C.", "b")


def _pretend(monkeypatch: pytest.MonkeyPatch, outcome: BaseException | int | None) -> None:
    """Make ``denseface demo`` end with this outcome."""

    def run(args: argparse.Namespace) -> int | None:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    module = types.ModuleType("pretended")
    module.__dict__.update(add_arguments=lambda parser: None, run=run)
    monkeypatch.setattr(cli, "command_module", lambda name: module)


@pytest.mark.parametrize(
    ("outcome", "code", "message"),
    [
        (None, 0, ""),
        (3, 3, ""),
        (InputError("no\nface", where="a.png", fix="Crop"), 2, "denseface: no face (a.png). Crop."),
        (KeyboardInterrupt(), 130, "denseface: stopped"),
        (ModuleNotFoundError(name="diffusers.models"), 2, "pip install -e .[pipelines]"),
    ],
    ids=["none", "number", "user error", "ctrl-c", "missing extra"],
)
def test_exit_codes(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    outcome: BaseException | int | None,
    code: int,
    message: str,
) -> None:
    _pretend(monkeypatch, outcome)
    assert cli.main(["demo"]) == code
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == (1 if message else 0)


def test_bugs_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend(monkeypatch, ModuleNotFoundError(name="comfyui_dense_face.typo"))
    with pytest.raises(ModuleNotFoundError):
        cli.main(["demo"])
    _pretend(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(["demo"])


@pytest.mark.parametrize("words", [[], ["no-such-command"], ["demo", "--no-such-option"]])
def test_wrong_arguments_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    _pretend(monkeypatch, None)
    with pytest.raises(SystemExit) as stopped:
        cli.main(words)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main([name, "--help"])
    assert stopped.value.code == 0
    assert f"denseface {name}" in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from comfyui_dense_face import cli\n"
        "cli.build_parser().format_help()\n"
        "print([m for m in ('torch', 'numpy', 'diffusers', 'PIL') if m in sys.modules])\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("words", [["--help"], ["demo"]])
def test_a_reader_who_leaves_ends_a_command_quietly(words: list[str]) -> None:
    """As ``denseface ... | head``: no traceback, neither while printing nor at Python's end."""
    script = (
        "import sys, types\n"
        "from comfyui_dense_face import cli\n"
        "def run(args):\n"
        "    for i in range(100_000): print(i)\n"
        "made = types.SimpleNamespace(add_arguments=lambda parser: None, run=run)\n"
        "cli.command_module = lambda name: made\n"
        "sys.stdin.read()\n"
        f"sys.exit(cli.main({words!r}))\n"
    )
    command = [sys.executable, "-c", script]
    # Unbuffered, argparse itself passes over it in silence.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=env) as running:
        assert running.stdin and running.stdout and running.stderr
        running.stdout.close()
        running.stdin.close()  # now it begins to print
        assert running.stderr.read() == b""
    assert running.returncode == cli.EXIT_NO_READER

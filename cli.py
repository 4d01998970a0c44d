"""The ``denseface`` command: runs one module of ``commands/`` and prints user errors in one line.

Exit codes: 0 success, 2 user error (one sentence on standard error), 130 stopped by Ctrl-C, 141 the
reader closed the pipe (``denseface ... | head``; silent), 143 stopped by SIGTERM. Any other
exception keeps its traceback and Python's exit code 1.
"""

from __future__ import annotations

import argparse
import difflib
import errno
import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import NoReturn

from . import __version__
from .commands import COMMANDS
from .errors import FacePackError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_NO_READER = 141
EXIT_TERMINATED = 143
_UNKNOWN = "unrecognized arguments: "
_STOPPED = "stopped; nothing half-written is left"
_OUTPUT_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EBADF, errno.EIO}

#: Libraries of the optional extras: top-level module to the extra that brings it.
_EXTRA_OF = {
    "torch": "pipelines",
    "diffusers": "pipelines",
    "transformers": "pipelines",
    "tqdm": "pipelines",
    "PIL": "pipelines",
    "accelerate": "train",
    "webdataset": "train",
    "matplotlib": "train",
    "ray": "cluster",
    "pyarrow": "cluster",
}


class Terminated(BaseException):
    """SIGTERM; like KeyboardInterrupt, so that blocks clean up behind themselves."""


class _OneLineParser(argparse.ArgumentParser):
    """Prints errors in one line; the usage text is one ``--help`` away."""

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix(_UNKNOWN).split()[0] if _UNKNOWN in message else ""
        close = difflib.get_close_matches(unknown, _options(self), 1) if unknown else []
        cure = f"Did you mean {close[0]}?" if close else f"See {self.prog} --help"
        self.exit(EXIT_USER_ERROR, f"{self.prog}: {message}. {cure}\n")


def _options(parser: argparse.ArgumentParser) -> list[str]:
    """The options of a parser and of those below it."""
    found: list[str] = []
    for action in parser._actions:
        found += [option for option in action.option_strings if option.startswith("--")]
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                found += _options(below)
    return found


def command_module(name: str) -> ModuleType:
    """Import the module of a command (``train-demo`` is ``commands/train_demo.py``)."""
    return importlib.import_module(f".commands.{name.replace('-', '_')}", __package__)


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands, with the arguments of ``command`` only (the others are not
    imported).
    """
    parser = _OneLineParser(prog="denseface", description="New images of the same person.")
    parser.add_argument("--version", action="version", version=f"denseface {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    for name, summary in COMMANDS.items():
        sub = commands.add_parser(name, help=summary, description=summary.capitalize() + ".")
        if name == command:
            command_module(name).add_arguments(sub)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Libraries must not download or report anything either.
    for switch in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ.setdefault(switch, "1")
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 (until the end)
    if sys.stdout is None:  # the next file opened would take its place, and get what is printed
        return _fail("standard output is closed. Send it to a file or a pipe", EXIT_USER_ERROR)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names that it cannot show, in ASCII
    try:
        with _stopped_by_sigterm():
            return _printed(arguments)
    except FacePackError as error:
        return _fail(str(error), EXIT_USER_ERROR)
    except ModuleNotFoundError as error:
        extra = _EXTRA_OF.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        cure = f"Install it with: pip install -e .[{extra}]"
        return _fail(f"the library {error.name} is not installed. {cure}", EXIT_USER_ERROR)
    except KeyboardInterrupt:
        return _fail(_STOPPED, EXIT_INTERRUPTED)
    except Terminated:
        return _fail(_STOPPED, EXIT_TERMINATED)
    except BrokenPipeError:
        _forget_output()
        return EXIT_NO_READER
    except OSError as error:
        if error.filename is not None or error.errno not in _OUTPUT_FAULTS:
            raise
        _forget_output()
        return _fail(f"standard output cannot be written: {error.strerror}", EXIT_USER_ERROR)


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Raise :class:`Terminated` in the block at SIGTERM, where signals can be handled."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def stop(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a worker that was forked: it has nothing to clean up
            os._exit(EXIT_TERMINATED)
        signal.signal(number, signal.SIG_IGN)  # once is enough: cleaning up is not stopped
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _forget_output() -> None:
    """Python flushes again on exit and would print an error."""
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _printed(arguments: list[str]) -> int:
    """Run a command and flush its output, so that a closed pipe shows up here."""
    named = next((word for word in arguments if not word.startswith("-")), None)
    try:
        args = build_parser(named if named in COMMANDS else None).parse_args(arguments)
    except SystemExit:  # after --help and --version
        sys.stdout.flush()
        raise
    code = int(command_module(args.command).run(args) or 0)
    sys.stdout.flush()
    return code


def _fail(message: str, code: int) -> int:
    # Always one line, so that scripts can show it as it is.
    print(f"denseface: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())

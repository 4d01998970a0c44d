"""Fuzzing guided by coverage: libFuzzer, by atheris, in a process for each reader."""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mutations import mutated

if TYPE_CHECKING:
    from fuzz_readers import Reader

_LONGEST = 10
"""Seconds for one file."""
_MEGABYTES = 6 * 2**10
_EXECUTED = re.compile(r"stat::number_of_executed_units:\s*(\d+)")


@dataclass(frozen=True)
class Outcome:
    """How many files a reader was given, and whether one broke it."""

    files: int
    broke: bool


def instrumented() -> contextlib.AbstractContextManager[object]:
    """A context in which the imported modules of the pack report what of them runs."""
    atheris: Any = importlib.import_module("atheris")
    return atheris.instrument_imports(include=["comfyui_dense_face"])


def fuzz(
    readers: Mapping[str, Reader], seconds: float, seed: int, out: Path
) -> Iterator[tuple[str, Outcome]]:
    """Give each reader its part of the time, beginning from its valid files.

    What breaks one, and what the process printed, are kept in ``out``.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name, reader in readers.items():
        kind = re.sub(r"\W+", "-", name)
        log = out / f"{kind}.log"
        child = os.fork()
        if child == 0:
            _child(reader, seconds / len(readers), seed, out / f"{kind}-", log)
        _, status = os.waitpid(child, 0)
        executed = _EXECUTED.findall(log.read_text(encoding="utf-8", errors="replace"))
        yield name, Outcome(int(executed[-1]) if executed else 0, status != 0)
        if status == 0:
            log.unlink()


def _child(reader: Reader, seconds: float, seed: int, kept: Path, log: Path) -> NoReturn:
    from comfyui_dense_face.errors import FacePackError

    atheris: Any = importlib.import_module("atheris")

    with log.open("wb") as stream:
        os.dup2(stream.fileno(), 2)
    with tempfile.TemporaryDirectory() as place:
        home, corpus = Path(place) / "home", Path(place) / "corpus"
        home.mkdir()
        corpus.mkdir()
        seeds = reader.seeds(home)
        for number, content in enumerate(seeds):
            (corpus / str(number)).write_bytes(content)
        path = home / f"a{reader.suffix}"

        def one(content: bytes) -> None:
            path.write_bytes(content)
            # FacePackError is the answer that a file may get.
            with contextlib.suppress(FacePackError):
                reader.read(path)

        def change(content: bytes, most: int, number: int) -> bytes:
            chance = random.Random(number)
            if chance.random() < 0.5:
                return atheris.Mutate(content, most)
            return mutated([content, *seeds], chance)[:most]

        options = {
            "max_total_time": max(1, round(seconds)),
            "seed": seed + 1,  # 0 would mean any
            "timeout": _LONGEST,
            "rss_limit_mb": _MEGABYTES,
            "max_len": 2 * max(map(len, seeds)) + 64,
            "artifact_prefix": kept,
            "print_final_stats": 1,
        }
        atheris.Setup(
            [sys.argv[0], str(corpus), *(f"-{name}={value}" for name, value in options.items())],
            one,
            custom_mutator=change,
        )
        atheris.Fuzz()
    raise SystemExit(0)  # libFuzzer has ended the process

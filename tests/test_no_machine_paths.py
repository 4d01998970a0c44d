"""What must not be in the repository: paths of one machine, print in the library, huge files."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from locate_host import ROOT

MACHINE_PATH = re.compile(r"""(?<![\w.}~-])/(?:work|farm|root|tmp|home|Users|mnt)/[A-Za-z]""")
PRINT = re.compile(r"^\s*print\(", re.MULTILINE)
MAY_PRINT = ("cli.py", "commands/", "tests/", "benchmarks/", ".github/")
WEIGHTS_BYTES = 24_000_000
REPOSITORY_BYTES = 60_000_000


def tracked_files() -> list[Path]:
    """Files that git knows; without git (an unpacked archive) there is nothing to check."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    try:
        listed = subprocess.run(command, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    names = [name for name in listed.decode().split("\0") if name]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def text_files() -> dict[str, str]:
    """Path from the root to content, of all tracked files that are text."""
    texts: dict[str, str] = {}
    for path in tracked_files():
        content = path.read_bytes()
        if b"\0" not in content[:8000]:
            texts[path.relative_to(ROOT).as_posix()] = content.decode("utf-8", errors="replace")
    return texts


def test_no_machine_path() -> None:
    found = [
        f"{name}: {line.strip()[:100]}"
        for name, text in text_files().items()
        for line in text.splitlines()
        if MACHINE_PATH.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("line", ["open('/{}/x')", "cd /{}/main", '"/{}/me/a.png"'])
@pytest.mark.parametrize("folder", ["root", "work", "home"])
def test_machine_paths_would_be_seen(line: str, folder: str) -> None:
    assert MACHINE_PATH.search(line.format(folder))


def test_library_prints_nothing() -> None:
    found = [
        name
        for name, text in text_files().items()
        if name.endswith(".py") and not name.startswith(MAY_PRINT) and PRINT.search(text)
    ]
    assert found == []


def test_sizes() -> None:
    sizes = {path: path.stat().st_size for path in tracked_files()}
    # The parity fixture is data of the tests and counts with the repository only.
    weights = [
        size
        for path, size in sizes.items()
        if path.suffix == ".safetensors" and "tests" not in path.parts
    ]
    assert sum(sizes.values()) < REPOSITORY_BYTES
    assert sum(weights) < WEIGHTS_BYTES

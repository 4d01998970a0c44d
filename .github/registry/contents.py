"""What the registry's zip holds: files that git tracks, without those named in ``.comfyignore``.

``python .github/registry/contents.py OUT.zip`` writes it as the registry's tools do and prints its
size in bytes.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pathspec

ROOT = Path(__file__).resolve().parents[2]
IGNORE = ".comfyignore"


def published_files(root: Path = ROOT) -> list[str]:
    """Paths from the root, with ``/``."""
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z"], capture_output=True, check=True
    )
    patterns = (root / IGNORE).read_text(encoding="utf-8").splitlines()
    ignored = pathspec.GitIgnoreSpec.from_lines(patterns)
    names = filter(None, listed.stdout.decode().split("\0"))
    return [name for name in names if not ignored.match_file(name) and (root / name).is_file()]


def write_zip(out: Path, root: Path = ROOT) -> int:
    """Write the zip; returns its size in bytes."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in published_files(root):
            archive.write(root / name, name)
    return out.stat().st_size


if __name__ == "__main__":
    print(write_zip(Path(sys.argv[1])))

"""Write the repository's addresses into ``pyproject.toml`` before the registry reads it.

Whoever publishes decides where the repository is: ``python .github/registry/urls.py OWNER/NAME``,
which ``.github/workflows/publish.yml`` does with its own repository.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
NAME = re.compile(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+")


def with_urls(text: str, repository: str, branch: str = "main") -> str:
    """The text of ``pyproject.toml`` with the addresses of a repository on GitHub.

    Args:
        repository: ``owner/name``.

    Raises:
        ValueError: It is not of that form, or the file names addresses already.
    """
    if not NAME.fullmatch(repository):
        raise ValueError(f"{repository!r} is not of the form owner/name")
    if re.search(r"^\[project\.urls\]", text, re.MULTILINE):
        raise ValueError("pyproject.toml names its addresses already")
    page = f"https://github.com/{repository}"
    images = f"https://raw.githubusercontent.com/{repository}/{branch}/docs/images"
    urls = f"""[project.urls]
Repository = "{page}"
Issues = "{page}/issues"
Changelog = "{page}/blob/{branch}/CHANGELOG.md"

"""
    shown = f"""[tool.comfy]
Icon = "{images}/icon.png"
Banner = "{images}/banner.png"
"""
    before, after = text.split("\n[tool.comfy]\n")
    return f"{before}\n{urls}{shown}{after}"


if __name__ == "__main__":
    PYPROJECT.write_text(
        with_urls(PYPROJECT.read_text(encoding="utf-8"), sys.argv[1]), encoding="utf-8"
    )

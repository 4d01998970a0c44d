"""Hooks of mkdocs: the nodes' help pages and the pages of the root belong to the site.

Nothing is copied. Help pages set the names of nodes in bold; here these become links.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
HELP = ROOT / "web" / "docs"
SCHEMAS = ROOT / "tests" / "data" / "node_schemas.json"
FROM_ROOT = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
NODES = "nodes"
MENU = {
    "face/dense_face": "Dense-Face",
    "face/sfsr": "SFSR",
    "face/analysis": "Analysis",
    "face/mesh": "Face mesh",
    "face/demo": "Tiny world",
}
BOLD = re.compile(r"\*\*([^*\n]+)\*\*")
OUTSIDE = re.compile(r"\]\(\.\./(" + "|".join(map(re.escape, FROM_ROOT)) + r")")


def titles() -> dict[str, str]:
    """File name of each help page -> display name of its node, by name."""
    found = {
        page.name: page.read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ").strip()
        for page in HELP.glob("*.md")
    }
    return dict(sorted(found.items(), key=lambda item: item[1]))


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the nodes into the navigation, by their menus."""
    categories = json.loads(SCHEMAS.read_text(encoding="utf-8"))
    menus: dict[str, list[Any]] = {title: [] for title in MENU.values()}
    for name, title in titles().items():
        menu = MENU[categories[Path(name).stem]["category"]]
        menus[menu].append({title: f"{NODES}/{name}"})
    sections: list[Any] = list(config.nav or ())
    sections.insert(1, {"Nodes": [{menu: pages} for menu, pages in menus.items()]})
    config.nav = sections
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not below ``docs``."""
    outside = {f"{NODES}/{name}": HELP / name for name in titles()}
    outside |= {f"{NODES}/images/{image.name}": image for image in (HELP / "images").iterdir()}
    outside |= {name: ROOT / name for name in FROM_ROOT}
    for place, path in outside.items():
        files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as they are on the site, and names of nodes as links."""
    place = page.file.src_uri
    if place in FROM_ROOT:
        markdown = markdown.replace("](docs/", "](")
    markdown = OUTSIDE.sub(r"](\1", markdown)
    folder = place.rpartition("/")[0]
    if folder not in ("", NODES):
        return markdown
    pages = {title: name for name, title in titles().items()}
    start = "" if folder == NODES else f"{NODES}/"

    def linked(match: re.Match[str]) -> str:
        name = pages.get(match[1])
        return match[0] if name is None else f"[{match[1]}]({start}{name})"

    return BOLD.sub(linked, markdown)

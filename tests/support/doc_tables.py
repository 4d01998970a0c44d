"""Tables in Markdown that are made from data; ``make tables`` writes them into their pages anew.

In a page a table stands between ``<!-- table NAME: make tables -->``, or another command that makes
it, and ``<!-- end of table -->``.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

from comfyui_dense_face import limits as bounds
from comfyui_dense_face.published_files import DOWNLOADS, Download, PublishedFile, needed_by
from comfyui_dense_face.sfsr.disfa import AU_ORDER
from comfyui_dense_face.sfsr.disfa_sources import word_table
from comfyui_dense_face.sfsr.emotion_table import emotion_words
from locate_host import ROOT
from model_patches import MOVING, PATCHES, SCALING

_END = "<!-- end of table -->"
FIRST_WORKFLOW = "11 Portrait from a photo"
"""The first way in with files of one's own."""


def model_files() -> str:
    """All published files, a row for each download."""
    header = ("download", "files", "folder", "used for", "templates", "licence")
    return markdown(
        header,
        [
            (
                _link(each),
                "<br>".join(_name(each, file, others=True) for file in each.files),
                f"`models/{each.folder}`",
                each.use,
                ", ".join(f"`{name}`" for name in each.workflows),
                each.licence,
            )
            for each in DOWNLOADS
        ],
    )


def checksums() -> str:
    """Exact sizes and sums, where they are known."""
    files = [file for each in DOWNLOADS for file in each.files if file.size or file.sha256]
    return markdown(
        ("file", "bytes", "sha256"),
        [(f"`{f.name}`", f"{f.size:,}" if f.size else "", f"`{f.sha256}`") for f in files],
    )


def first_downloads() -> str:
    """What the first way in needs, a row for each download."""
    header = ("download", "file", "size", "folder in ComfyUI", "licence")
    return markdown(
        header,
        [
            (
                _link(each),
                ", ".join(_name(each, file) for file in each.files),
                each.size,
                f"`models/{each.folder}`",
                each.licence,
            )
            for each in needed_by(FIRST_WORKFLOW)
        ],
    )


def fineface_words() -> str:
    """All words in twelve intensities; empty = absent."""
    header = ("word", "cluster", *(f"AU{unit}" for unit in AU_ORDER), "lost")
    words = emotion_words()
    return markdown(
        header,
        [
            (
                word,
                words[word].secondary,
                *(f"{value:g}" if value else "" for value in found.values.tolist()),
                ", ".join(f"AU{unit}" for unit in found.lost),
            )
            for word, found in word_table().items()
        ],
    )


def model_patches() -> str:
    """What the matrix test of the host's model patches expects of each."""
    rows = []
    for name in sorted(PATCHES, key=str.lower):
        found = "ok: the same image in all modes, before and after Apply"
        if name in MOVING:
            found += "; with a mask: one sentence"
        if name in SCALING:
            found = "ok before Apply, and after it in mode runtime; in mode weights: one sentence"
        if name == "compile":
            found += "; runs uncompiled"
        rows.append((f"`{name}`", found))
    rows.append(("hooks (a LoRA on one prompt)", "ok: the same image in all modes"))
    limit = "known limit: the host merges weights alone, and not what else Apply puts on a model"
    rows.append(("model merges with the adapted model as `model2`", limit))
    return markdown(("patch", "result"), rows)


def limits() -> str:
    """All bounds on files, with what they are for."""
    lines = ast.parse((ROOT / "limits.py").read_text(encoding="utf-8")).body
    rows: list[tuple[str, ...]] = []
    for bound, note in itertools.pairwise(lines):
        if isinstance(bound, ast.Assign) and isinstance(note, ast.Expr):
            name, text = ast.unparse(bound.targets[0]), ast.literal_eval(note.value)
            rows.append((f"`{name}`", f"{getattr(bounds, name):,.0f}", " ".join(text.split())))
    return markdown(("limit", "value", "of"), rows)


TABLES: dict[str, tuple[Path, Callable[[], str]]] = {
    "published files": (ROOT / "docs" / "model_files.md", model_files),
    "checksums": (ROOT / "docs" / "model_files.md", checksums),
    "first downloads": (ROOT / "docs" / "your_checkpoint.md", first_downloads),
    "model patches": (ROOT / "docs" / "compatibility.md", model_patches),
    "limits": (ROOT / "SECURITY.md", limits),
    "fineface words": (ROOT / "docs" / "fineface_words.md", fineface_words),
}
"""Name to page and maker."""


def table_in(page: str, name: str) -> str:
    """The table of a page's text; raises ValueError where there is none."""
    start, end = _place(page, name)
    return page[start:end]


def with_table(page: str, name: str, table: str, *, made_by: str = "make tables") -> str:
    """The page with another table in that place."""
    start, end = _place(page, name, made_by)
    return page[:start] + table + page[end:]


def _place(page: str, name: str, made_by: str = "make tables") -> tuple[int, int]:
    marker = f"<!-- table {name}: {made_by} -->\n"
    start = page.index(marker) + len(marker)
    return start, page.index(_END, start)


def _name(download: Download, file: PublishedFile, *, others: bool = False) -> str:
    if download.kind:
        return file.name
    if not others:
        return f"`{file.name}`"
    names = " or ".join(f"`{name}`" for name in (file.name, *file.others))
    return ", ".join(filter(None, (names, file.size_text)))


def _link(download: Download) -> str:
    return f"[{download.title}]({download.page})"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    cells = [[f" {cell} " if cell else " " for cell in line] for line in lines]
    return "".join(f"|{'|'.join(line)}|\n" for line in cells)

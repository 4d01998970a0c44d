"""Every page, section and Python file that code or documentation cites exists."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from locate_host import ROOT

PRUNED = {"__pycache__", "build", "dist", "node_modules", "out", "venv"}
#: Where a page may lie, from the root; the folder of the citing file comes first.
SEARCHED = ("", "docs", "docs/reference")
#: History: it may name pages that have gone.
UNCHECKED = {"CHANGELOG.md"}

_LABEL = r"(?:[A-Z]\d+(?:\.\d+)*|\d+(?:\.\d+)*|[B-H](?!\w))"
#: Between words of a citation: spaces, or the end of a line and a comment's beginning.
_GAP = r"(?:[ \t]+|[ \t]*\n[ \t]*(?:#:?[ \t]*)?)"
CITATION = re.compile(
    rf"(?<![\w/.:-])(?P<page>(?:[\w.-]+/)*[\w.-]*\w\.md)(?![\w/])`*"
    rf"(?:(?:,?{_GAP}section{_GAP}|{_GAP}|,{_GAP}(?=[A-Z]))(?P<labels>{_LABEL}(?!\w|\.?\d)"
    rf"(?:(?:,|{_GAP}and){_GAP}(?:[A-Z]\d+|\d+\.\d)(?:\.\d+)*(?!\w))*))?"
)
HEADING = re.compile(r"^#{1,6}\s+(?P<label>[A-Z](?:\d+(?:\.\d+)*)?|\d+(?:\.\d+)*)\.?(?=\s|$)")
MODULE = re.compile(r"`(?P<path>(?:[\w-]+/)*\w+\.py)`")
#: Python files of others that we name: the host's own.
FOREIGN_MODULES = {"nodes.py"}
FENCE = re.compile(r"^\s*(?:```|~~~)")


@dataclass(frozen=True)
class Citation:
    """``page`` and the ``labels`` of its sections, cited at ``place`` (file:line)."""

    page: str
    labels: tuple[str, ...]
    place: str


def citing_files(root: Path) -> Iterator[Path]:
    """All Python files, the pages of ``docs``, and those in the root."""
    for folder, names, files in os.walk(root):
        names[:] = sorted(n for n in names if n not in PRUNED and not n.startswith("."))
        here = Path(folder)
        in_docs = here == root or here.relative_to(root).parts[0] == "docs"
        for name in sorted(files):
            if name.endswith(".py") or (in_docs and name.endswith(".md") and name not in UNCHECKED):
                yield here / name


def citations(text: str, place: str) -> Iterator[Citation]:
    """What a text cites, in order."""
    for match in CITATION.finditer(text):
        labels = re.findall(_LABEL, match["labels"] or "")
        line = text.count("\n", 0, match.start()) + 1
        yield Citation(match["page"], tuple(labels), f"{place}:{line}")


def section_labels(page: Path) -> set[str]:
    """Labels of a page's headings: ``## A2.1 Parameters`` has A2.1."""
    labels: set[str] = set()
    fenced = False
    for line in page.read_text(encoding="utf-8").splitlines():
        if FENCE.match(line):
            fenced = not fenced
        elif not fenced and (heading := HEADING.match(line)):
            labels.add(heading["label"])
    return labels


def broken_citations(root: Path) -> list[str]:
    """Citations of pages or sections that do not exist, one sentence each."""
    broken: list[str] = []
    for path in citing_files(root):
        text = path.read_text(encoding="utf-8")
        for cited in citations(text, path.relative_to(root).as_posix()):
            places = dict.fromkeys((path.parent, *(root / folder for folder in SEARCHED)))
            pages = [place / cited.page for place in places if (place / cited.page).is_file()]
            if not pages:
                broken.append(f"{cited.place}: no page {cited.page}")
                continue
            known = set[str]().union(*map(section_labels, pages)) if cited.labels else set[str]()
            broken += [
                f"{cited.place}: {cited.page} has no section {label}"
                for label in cited.labels
                if label not in known
            ]
    return broken


def missing_modules(root: Path) -> list[str]:
    """Python files named in backquotes, alone or with folders, that do not exist."""
    files = [path.relative_to(root).as_posix() for path in citing_files(root)]
    known = {part for file in files for part in _endings(file)} | FOREIGN_MODULES
    missing: list[str] = []
    for file in files:
        text = (root / file).read_text(encoding="utf-8")
        for match in MODULE.finditer(text):
            if match["path"] not in known:
                line = text.count("\n", 0, match.start()) + 1
                missing.append(f"{file}:{line}: no file {match['path']}")
    return missing


def _endings(file: str) -> Iterator[str]:
    """The path itself and its ends: a/b/c, b/c, c."""
    parts = file.split("/")
    return ("/".join(parts[i:]) for i in range(len(parts)))


def test_citations_of_this_pack() -> None:
    assert broken_citations(ROOT) == []


def test_python_files_named_in_this_pack_exist() -> None:
    assert missing_modules(ROOT) == []


def test_the_pack_is_seen() -> None:
    """Without any file found, the tests above would be worthless."""
    cited = {
        Path(found.page).name
        for path in citing_files(ROOT)
        for found in citations(path.read_text(encoding="utf-8"), "")
        if found.labels
    }
    assert _md("dense_face") in cited


def _md(name: str) -> str:
    """A page's name, written so that this file does not cite it."""
    return f"{name}.md"


def _py(name: str) -> str:
    """A file's name, written so that this file does not name it."""
    return f"{name}.py"


def _tree(root: Path, citing: str, text: str) -> Path:
    reference = root / "docs" / "reference"
    reference.mkdir(parents=True)
    (reference / _md("paper")).write_text(
        "# Paper\n\n# Part A: all of it\n\n## A2 Adapter\n\n### A2.3 Where\n\n## 5. Loss\n\n"
        "## C1 Fragile\n\n### C1.10 One file\n\n```\n# A9 in a fence\n```\n",
        encoding="utf-8",
    )
    (root / "docs" / _md("guide")).write_text("# Guide\n", encoding="utf-8")
    path = root / citing
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("PAPER", _md("paper")).replace("GUIDE", _md("guide")), "utf-8")
    return root


CITING = ["a.py", "deep/a.py", f"docs/{_md('a')}", f"docs/deep/{_md('a')}"]


@pytest.mark.parametrize("citing", CITING)
@pytest.mark.parametrize(
    ("text", "named"),
    [
        (f"see docs/{_md('nowhere')}", "docs/nowhere"),
        (f"see {_md('nowhere')} A2", "nowhere"),
        (f"see `docs/reference/{_md('nowhere')}` A2", "nowhere"),
        ("see docs/PAPER", "docs/paper"),
        ("(docs/reference/PAPER A3)", "section A3"),
        ("docs/reference/PAPER A2.4, more", "section A2.4"),
        ("PAPER A2, A4", "section A4"),
        ("PAPER A2 and A4", "section A4"),
        ("`PAPER`, section 6", "section 6"),
        ("PAPER 6", "section 6"),
        ("PAPER\n    A3", "section A3"),
        ("#: PAPER\n#: A3", "section A3"),
        ("docs/reference/PAPER A9", "section A9"),
        ("docs/reference/PAPER A2.3.1", "section A2.3.1"),
        ("docs/GUIDE 5", "section 5"),
        ("docs/reference/PAPER E.", "section E"),
    ],
)
def test_broken_citations_are_seen(tmp_path: Path, citing: str, text: str, named: str) -> None:
    found = broken_citations(_tree(tmp_path, citing, text))
    assert len(found) == 1
    assert found[0].startswith(f"{citing}:1: ")
    assert named in found[0]


@pytest.mark.parametrize("citing", CITING)
@pytest.mark.parametrize(
    "text",
    [
        "docs/GUIDE",
        "(docs/reference/PAPER A2).",
        "``docs/reference/PAPER A2.3``: the middle block",
        "PAPER A2, C1.10) and PAPER 5, item 6",
        "PAPER, section 5.",
        "PAPER\n    A2.3 says",
        "docs/GUIDE: 64 images, 3 s",
        "docs/GUIDE, 64 images",
        "docs/reference/PAPER A page of facts",
        f"https://example.org/there/{_md('absent')} A7",
        'f"{name}.md" and *.md',
    ],
)
def test_right_citations_pass(tmp_path: Path, citing: str, text: str) -> None:
    assert broken_citations(_tree(tmp_path, citing, text)) == []


def test_pages_next_to_the_citing_file_count(tmp_path: Path) -> None:
    root = _tree(tmp_path, f"docs/reference/{_md('other')}", "PAPER A2")
    assert broken_citations(root) == []


def test_history_is_not_checked(tmp_path: Path) -> None:
    assert broken_citations(_tree(tmp_path, _md("CHANGELOG"), f"docs/{_md('nowhere')}")) == []


@pytest.mark.parametrize("citing", CITING)
def test_missing_modules_are_seen(tmp_path: Path, citing: str) -> None:
    known, gone = _py("known"), _py("gone")
    root = _tree(tmp_path, citing, f"``{known}``, `deep/{known}`\nand ``{gone}``.")
    (root / "deep").mkdir(exist_ok=True)
    (root / "deep" / known).write_text("", encoding="utf-8")
    assert missing_modules(root) == [f"{citing}:2: no file {gone}"]

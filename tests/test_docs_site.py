"""The documentation as a site: every link leads somewhere, every node's help page is part of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from locate_host import ROOT

pytest.importorskip("material", reason="mkdocs-material is not installed (pip install -e .[docs])")

PLAIN = "site_name: x\nstrict: true\nplugins: []\ntheme: {name: null, custom_dir: theme}\n"


def build(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build("--strict", "--site-dir", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


def test_every_help_page_is_part_of_it(site: Path) -> None:
    index = (site / "index.html").read_text(encoding="utf-8")
    for page in (ROOT / "web" / "docs").glob("*.md"):
        built = site / "nodes" / f"{page.stem}.html"
        title = page.read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ")
        assert "<h1 id=" in built.read_text(encoding="utf-8")
        assert f'href="nodes/{page.stem}.html"' in index, f"{title} is in no menu"


def test_names_of_nodes_are_links(site: Path) -> None:
    guide = (site / "first_image.html").read_text(encoding="utf-8")
    assert 'href="nodes/DenseFace_TinyPortrait.html">Tiny-World Portrait</a>' in guide
    page = (site / "nodes" / "SFSR_Apply.html").read_text(encoding="utf-8")
    assert 'href="SFSR_ExpressionTravel.html">Expression Travel</a>' in page


def test_images_of_help_pages_are_part_of_it(site: Path) -> None:
    page = (site / "nodes" / "SFSR_Apply.html").read_text(encoding="utf-8")
    assert 'src="images/SFSR_Apply.webp"' in page
    for image in (ROOT / "web" / "docs" / "images").iterdir():
        assert (site / "nodes" / "images" / image.name).read_bytes() == image.read_bytes()


def test_it_can_be_searched(site: Path) -> None:
    found = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    places = {entry["location"] for entry in found["docs"]}
    assert {"troubleshooting.html", "nodes/DenseFace_DetectFaces.html"} <= places


def test_nothing_is_fetched_by_a_reader(site: Path) -> None:
    guide = (site / "first_image.html").read_text(encoding="utf-8")
    assert "fonts.googleapis" not in guide


@pytest.mark.parametrize(("page", "anchor"), [("gone", ""), ("other", "#gone")])
def test_a_broken_link_is_an_error(tmp_path: Path, page: str, anchor: str) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (tmp_path / "theme").mkdir()
    (tmp_path / "theme" / "main.html").write_text("{{ page.content }}")
    for name, text in (("index", f"[a]({page}.md{anchor})"), ("other", "# Other")):
        (docs / f"{name}.md").write_text(text)
    settings = tmp_path / "mkdocs.yml"
    own = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    validation = own[own.index("validation:") : own.index("nav:\n  - Start")]
    settings.write_text(PLAIN + validation)
    done = build("--config-file", str(settings), "--site-dir", str(tmp_path / "site"))
    assert done.returncode != 0 and "gone" in done.stderr

"""The images of the nodes' help pages: there, small, described, and each used."""

from __future__ import annotations

import re

import pytest
from locate_host import ROOT
from PIL import Image

HELP = ROOT / "web" / "docs"
IMAGES = HELP / "images"
LARGEST, ALL_TOGETHER = 25_000, 500_000
WIDEST = 520
"""Pixels: the help panel is narrow."""
FEWEST = 20
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)]+)\)")
OFTEN = {
    "DenseFace_ApplyAdapter", "DenseFace_Composite", "DenseFace_CropFace", "DenseFace_DetectFaces",
    "DenseFace_EncodeIdentity", "DenseFace_FaceMask", "DenseFace_PoseFromAngles",
    "DenseFace_QuickPortrait", "DenseFace_TinyPortrait", "SFSR_Apply", "SFSR_Background",
    "SFSR_ExpressionFromWord", "SFSR_PreviewExpression",
}  # fmt: skip
"""What most templates use, and where a newcomer begins."""


def shown() -> dict[str, list[tuple[str, str]]]:
    """Help page -> (description, address) of its images."""
    pages = {page.stem: page.read_text(encoding="utf-8") for page in HELP.glob("*.md")}
    return {name: found for name, text in pages.items() if (found := IMAGE.findall(text))}


def test_the_nodes_used_most_have_one() -> None:
    found = shown()
    assert len(found) >= FEWEST and set(found) >= OFTEN


def test_each_is_that_of_its_node_and_described() -> None:
    for name, images in shown().items():
        assert [address for _, address in images] == [f"images/{name}.webp"], name
        assert all(len(words) >= len("A head") for words, _ in images), name


def test_none_is_missing_or_left_over() -> None:
    assert {f"{name}.webp" for name in shown()} == {path.name for path in IMAGES.iterdir()}


@pytest.mark.parametrize("path", sorted(IMAGES.iterdir()), ids=lambda path: path.stem)
def test_each_is_small(path: object) -> None:
    with Image.open(str(path)) as image:
        assert image.format == "WEBP" and image.width <= WIDEST


def test_all_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in IMAGES.iterdir()}
    assert max(sizes.values()) <= LARGEST and sum(sizes.values()) <= ALL_TOGETHER

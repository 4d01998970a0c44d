"""How the templates look when they are opened, and the subgraphs that the node library offers.

They are small enough for a screen, nothing covers anything, and links run from left to right.
``browser/test_workflows_in_browser.py`` measures the same on a real screen.
"""

from __future__ import annotations

import json
import math
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from locate_host import ROOT

TEMPLATES = sorted((ROOT / "workflows").glob("*.json"))
BLUEPRINTS = sorted((ROOT / "subgraphs").glob("*.json"))
MOST = 12
"""Nodes of an opened template."""
TITLE, SLOT = 30, 20
"""Heights in the graph's own units."""
GAP = 10
WIDE, HIGH = 1360 / 0.7, 790 / 0.7
"""What a window of 1440 x 900 shows beside the frontend's bars at 70 %: letters of 10 pixels."""

Box = tuple[float, float, float, float]


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(params=TEMPLATES, ids=[path.stem for path in TEMPLATES])
def template(request: pytest.FixtureRequest) -> dict[str, Any]:
    return read(request.param)


def box(node: dict[str, Any]) -> Box:
    """Left, top, right, bottom, with the title."""
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE, x + width, y + height


def group_box(group: dict[str, Any]) -> Box:
    x, y, width, height = group["bounding"]
    return x, y, x + width, y + height


def apart(one: Box, other: Box, gap: float = 0) -> bool:
    return (
        one[2] + gap <= other[0]
        or other[2] + gap <= one[0]
        or one[3] + gap <= other[1]
        or other[3] + gap <= one[1]
    )


def ends(template: dict[str, Any], link: list[Any]) -> tuple[tuple[float, float], ...]:
    """Where the frontend draws both ends of a link."""
    nodes = {node["id"]: node for node in template["nodes"]}
    start, end = nodes[link[1]], nodes[link[3]]
    return (
        (start["pos"][0] + start["size"][0], start["pos"][1] + (link[2] + 0.7) * SLOT),
        (end["pos"][0], end["pos"][1] + (link[4] + 0.7) * SLOT),
    )


def curve(start: tuple[float, float], end: tuple[float, float]) -> list[tuple[float, float]]:
    """Points of the frontend's spline."""
    reach = 0.25 * math.dist(start, end)
    xs = start[0], start[0] + reach, end[0] - reach, end[0]
    ys = start[1], start[1], end[1], end[1]
    points = []
    for step in range(101):
        t = step / 100
        weights = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
        x, y = (sum(w * p for w, p in zip(weights, part, strict=True)) for part in (xs, ys))
        points.append((x, y))
    return points


def test_few_nodes_and_one_note(template: dict[str, Any]) -> None:
    assert len(template["nodes"]) <= MOST
    (note,) = (node for node in template["nodes"] if node["type"] == "MarkdownNote")
    assert "**Change first**" in note["widgets_values"][0]


def test_nothing_overlaps(template: dict[str, Any]) -> None:
    nodes = template["nodes"]
    assert not [
        (a.get("title"), b.get("title"))
        for a, b in combinations(nodes, 2)
        if not apart(box(a), box(b), GAP)
    ]


def test_all_of_it_is_readable_at_once(template: dict[str, Any]) -> None:
    boxes = [*map(box, template["nodes"]), *map(group_box, template["groups"])]
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    assert max(rights) - min(lefts) <= WIDE
    assert max(bottoms) - min(tops) <= HIGH


def test_groups_are_numbered_from_the_left(template: dict[str, Any]) -> None:
    groups = template["groups"]
    assert [group["title"][:2] for group in groups] == [f"{k} " for k in range(1, len(groups) + 1)]
    places = [tuple(group["bounding"][:2]) for group in groups]
    assert places == sorted(places, key=lambda place: (place[0], place[1])) or places == sorted(
        places, key=lambda place: (place[1], place[0])
    )


def test_links_run_from_left_to_right(template: dict[str, Any]) -> None:
    for link in template["links"]:
        (left, _), (right, _) = ends(template, link)
        assert left < right, link


def test_no_link_runs_behind_a_node(template: dict[str, Any]) -> None:
    hidden = []
    for link in template["links"]:
        points = curve(*ends(template, link))
        for node in template["nodes"]:
            left, top, right, bottom = box(node)
            if node["id"] not in (link[1], link[3]) and any(
                left < x < right and top < y < bottom for x, y in points
            ):
                hidden.append((link, node.get("title")))
    assert hidden == []


def test_numbers_are_used_once(template: dict[str, Any]) -> None:
    """The frontend gives a node whose number is taken another, and its result in the API, too."""
    parts = [template, *template["definitions"]["subgraphs"]]
    numbers = [node["id"] for part in parts for node in part["nodes"]]
    assert len(numbers) == len(set(numbers))


def test_what_is_shown_of_a_subgraph_is_in_it(template: dict[str, Any]) -> None:
    kinds = {each["id"]: each for each in template["definitions"]["subgraphs"]}
    for node in template["nodes"]:
        if node["type"] not in kinds:
            continue
        kind = kinds[node["type"]]
        assert [slot["name"] for slot in node["inputs"]] == [s["name"] for s in kind["inputs"]]
        assert [slot["name"] for slot in node["outputs"]] == [s["name"] for s in kind["outputs"]]
        assert kind["description"]
        inside = {str(each["id"]): each for each in kind["nodes"]}
        labels = []
        for number, name in node["properties"]["proxyWidgets"]:
            (found,) = (slot for slot in inside[number]["inputs"] if slot["name"] == name)
            labels.append(found["label"])
        assert len(labels) == len(set(labels))


def test_the_five_blueprints() -> None:
    assert [path.stem for path in BLUEPRINTS] == [
        "Annotate while Sampling",
        "Expression",
        "Face into a Scene",
        "Portrait of a Person",
        "Turn the Head",
    ]


@pytest.mark.parametrize("path", BLUEPRINTS, ids=[path.stem for path in BLUEPRINTS])
def test_a_blueprint_is_the_subgraph_of_a_template(path: Path) -> None:
    saved = read(path)
    (kind,) = saved["definitions"]["subgraphs"]
    (node,) = saved["nodes"]
    assert node["type"] == kind["id"] and kind["name"] == path.stem
    assert kind["description"]
    used = [
        each
        for template in map(read, TEMPLATES)
        for each in template["definitions"]["subgraphs"]
        if each["name"] == path.stem
    ]
    assert any(
        all(each[part] == kind[part] for part in ("nodes", "links", "inputs", "outputs"))
        for each in used
    )

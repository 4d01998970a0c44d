"""Every socket type of the pack has a colour, and colour-blind readers can tell all apart."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from locate_host import ROOT
from skimage.color import deltaE_ciede2000, rgb2lab

# Machado, Oliveira and Fernandes 2009, severity 1: what is seen of linear RGB.
SEEN = {
    "all cones": np.eye(3),
    "no long ones": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]
    ),
    "no middle ones": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]]
    ),
    "no short ones": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
         [0.004733, 0.691367, 0.303900]]
    ),
}  # fmt: skip
NODE = "#353535"
"""A node's background in the host's default palette."""
OF_THE_HOST = (
    "#64B5F6",
    "#81C784",
    "#B39DDB",
    "#FFD500",
    "#FF6E6E",
    "#FFA931",
    "#FF9CF9",
    "#AAAAAA",
)
"""IMAGE, MASK, MODEL, CLIP, VAE, CONDITIONING and LATENT there, and types without a colour."""


def table() -> dict[str, str]:
    """Type to colour, as ``web/js/socket_colours.js`` has them."""
    script = (ROOT / "web" / "js" / "socket_colours.js").read_text(encoding="utf-8")
    return dict(re.findall(r'^  ([A-Z_0-9]+): "(#[0-9a-f]{6})",$', script, re.MULTILINE))


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(colour: str, eyes: str) -> np.ndarray:
    seen = np.clip(SEEN[eyes] @ linear(colour), 0, 1)
    return rgb2lab(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055))


def light(colour: str) -> float:
    return float(linear(colour) @ [0.2126, 0.7152, 0.0722])


def test_every_type_of_the_pack_has_a_colour(schemas: dict[str, Any]) -> None:
    items = [item for each in schemas.values() for item in (*each.inputs, *each.outputs)]
    types = {item.io_type for item in items if item.io_type.startswith(("DENSEFACE_", "SFSR_"))}
    assert len(types) >= 10 and set(table()) == types


@pytest.mark.parametrize("eyes", SEEN)
def test_no_two_types_look_alike(eyes: str) -> None:
    seen = {name: lab(colour, eyes) for name, colour in table().items()}
    for one, other in combinations(seen, 2):
        assert deltaE_ciede2000(seen[one], seen[other]) > 14, (one, other)


@pytest.mark.parametrize("theirs", OF_THE_HOST)
def test_none_looks_like_one_of_the_hosts(theirs: str) -> None:
    for name, colour in table().items():
        assert deltaE_ciede2000(lab(colour, "all cones"), lab(theirs, "all cones")) > 17, name


def test_all_stand_out_from_a_node() -> None:
    for name, colour in table().items():
        assert (light(colour) + 0.05) / (light(NODE) + 0.05) > 2, name

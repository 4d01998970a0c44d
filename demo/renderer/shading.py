"""Colours and light of the visible samples, as functions of chart coordinates.

Everything is evaluated per sample, so it is sharp at every resolution.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...faces.parts import PART_INDEX
from .brushes import hair_colour, rgb
from .face_geometry import FaceGeometry, bump, smoothstep
from .head_surface import BEARD, EAR, FRAME, HAIR, JEWEL, LENS, NECK, SHIRT, SKIN, word
from .paint_skin import paint_skin
from .palette import COLOURS, skin_colour


def paint_hair(face: FaceGeometry, chart: Tensor, beard: bool) -> tuple[Tensor, Tensor]:
    """Colour [N,3] and gloss [N] of hair samples."""
    x, y, phi = chart.unbind(1)
    style = word(face, "hair_style")
    base = hair_colour(face)
    if beard:
        waves = torch.sin(34 * y + 4 * torch.sin(11 * x))
        strand = torch.sin(55 * x + 5 * torch.sin(9 * y)) * waves
    elif style == "afro":
        waves = torch.sin(34 * y + 4 * torch.sin(16 * phi))
        strand = torch.sin(30 * phi + 4 * torch.sin(20 * y)) * waves
    elif style == "buzzed":
        strand = 0.4 * torch.sin(61 * phi + 9 * y) * torch.sin(83 * y)
    elif style == "mohawk":
        strand = torch.sin(60 * y + 10 * x)
    else:
        fine = 0.38 * torch.sin(47 * phi + 4 * y)
        strand = 0.62 * torch.sin(19 * phi + 2.2 * torch.sin(5 * y)) + fine
    amount = 0.13 + 0.05 * float(base.mean() > 0.6)
    colour = base * (1 + amount * strand)[:, None] + 0.02 * strand[:, None]
    if style == "buzzed" and not beard:
        skin = skin_colour(face.identity["skin"], face.identity["skin_tone"])
        colour = colour * 0.72 + 0.28 * skin
    gloss = torch.full_like(x, 0.10 if beard or style in ("afro", "buzzed") else 0.34)
    return colour, gloss


def paint(
    face: FaceGeometry, shirt: int, surface: Tensor, chart: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Colour [N,3], gloss [N] and part label [N] of all visible samples."""
    colour = torch.zeros(len(surface), 3)
    gloss = torch.full((len(surface),), 0.12)
    label = torch.zeros(len(surface), dtype=torch.uint8)
    skin = skin_colour(face.identity["skin"], face.identity["skin_tone"])
    for kind in (SKIN, EAR, NECK, SHIRT, HAIR, BEARD, FRAME, LENS, JEWEL):
        where = (surface == kind).nonzero()[:, 0]
        if not where.numel():
            continue
        local = chart[where]
        if kind == SKIN:
            colour[where], gloss[where], label[where] = paint_skin(face, local)
        elif kind in (HAIR, BEARD):
            colour[where], gloss[where] = paint_hair(face, local, kind == BEARD)
            if kind == BEARD:
                label[where] = PART_INDEX["skin"]
        elif kind == EAR:
            inner = bump(local[:, 1], local[:, 2], -0.05, 0.0, 0.55, 0.5) * (local[:, 0] > 0)
            colour[where] = skin * (1 - 0.38 * inner)[:, None] * rgb(255, 240, 236)
        elif kind == NECK:
            shade = 0.62 + 0.26 * smoothstep(0.95, 1.5, local[:, 1])
            colour[where] = skin * shade[:, None]
        elif kind == SHIRT:
            colour[where] = COLOURS["shirt"][shirt]
        elif kind == FRAME:
            colour[where] = COLOURS["frame_color"][int(face.identity["frame_color"])]
            gloss[where] = 0.6
        elif kind == LENS:
            colour[where] = rgb(30, 32, 40) + 0.10 * (0.3 - local[:, 1:2]).clamp(0, 1)
            gloss[where] = 0.8
        else:
            colour[where] = COLOURS["earrings"][int(face.identity["earrings"])]
            gloss[where] = 0.8
    return colour, gloss, label


def illuminate(colour: Tensor, gloss: Tensor, normal: Tensor, light: list[float]) -> Tensor:
    """Wrapped Lambert, sky light, rim and specular highlight.

    Args:
        colour: [N, 3] in 0..1.
        gloss: [N], strength of the highlight.
        normal: [N, 3], unit normals in camera space.
        light: Side, height, warmth, strength (``Heads.light``).

    Returns:
        [N, 3] in 0..1.
    """
    side, height, warmth, strength = light
    towards = torch.tensor([0.75 * side, -0.55 - 0.25 * height, 0.9])
    towards = towards / towards.norm()
    half = towards + torch.tensor([0.0, 0.0, 1.0])
    half = half / half.norm()
    facing = normal @ towards
    diffuse = ((facing + 0.25) / 1.25).clamp(0, 1)
    sky = 0.5 - 0.5 * normal[:, 1]
    tint = torch.tensor([1 + 0.06 * warmth, 1.0, 1 - 0.08 * warmth])
    power = (0.80 + 0.08 * strength) * diffuse + 0.30 + 0.10 * sky
    rim = (1 - normal[:, 2].clamp(0, 1)) ** 4
    shine = gloss * (normal @ half).clamp(min=0) ** 28
    lit = colour * (power[:, None] * tint) * (1 - 0.22 * rim)[:, None]
    return (lit + 0.50 * shine[:, None]).clamp(0, 1)

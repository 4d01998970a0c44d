"""Icon and banner of the registry, drawn with the tiny world: ``make registry-images``.

The registry shows a square icon of at most 400 px and a banner of 21:9.
"""

from __future__ import annotations

from pathlib import Path

from comfyui_dense_face.demo.expression_heads import portrait
from comfyui_dense_face.faces.pixels import to_array
from PIL import Image, ImageDraw, ImageFont

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
ICON, BANNER = 400, (1680, 720)
PERSON, SCENE = 31, 3
YAWS = (-50.0, -25.0, 0.0, 25.0, 50.0)
PAPER, INK, FAINT = (245, 243, 238), (32, 34, 38), (104, 108, 116)
TITLE, LINE = "Dense-Face", "One portrait. New head poses, expressions, scenes."
_SMOOTH = Image.Resampling.LANCZOS


def head(yaw: float, side: int) -> Image.Image:
    """The person at ``side`` px, drawn at twice that."""
    pixels, _ = portrait(PERSON, SCENE, (yaw, 0.0, 0.0), 2 * side)
    return Image.fromarray(to_array(pixels)[0]).resize((side, side), _SMOOTH)


def icon() -> Image.Image:
    """One head, a little turned."""
    return head(20.0, ICON)


def banner() -> Image.Image:
    """The same person in five head poses, below the name."""
    width, height = BANNER
    image = Image.new("RGB", BANNER, PAPER)
    side, gap = 300, 18
    left = (width - len(YAWS) * side - (len(YAWS) - 1) * gap) // 2
    for i, yaw in enumerate(YAWS):
        image.paste(head(yaw, side), (left + i * (side + gap), height - side - 72))
    pen = ImageDraw.Draw(image)
    pen.text((left, 84), TITLE, INK, ImageFont.load_default(120))
    pen.text((left, 232), LINE, FAINT, ImageFont.load_default(44))
    return image


if __name__ == "__main__":
    for name, drawn in (("icon", icon()), ("banner", banner())):
        drawn.quantize(256).save(IMAGES / f"{name}.png", optimize=True)

"""Photos of the tiny world's people, as files."""

from __future__ import annotations

from pathlib import Path

from comfyui_dense_face.demo.people import sample_heads
from comfyui_dense_face.demo.renderer.renderer import render
from PIL import Image


def write_photos(folder: Path, people: int, each: int, *, flat: bool = False) -> None:
    """``each`` photos of 192 px of so many people.

    Args:
        flat: All in one folder, ``1-0.png``, ``0-0.png``, ...; else a subfolder for each person.
    """
    for person in range(people):
        for number in range(each):
            head = sample_heads([1000 + 10 * person + number], identity_seeds=[person])
            pixels = (render(head, 192).rgb[0] * 255).byte().permute(1, 2, 0).numpy()
            name = f"{number}-{person}.png" if flat else f"person {person}/{number}.png"
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

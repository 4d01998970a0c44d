"""A word's own images: which are used, and errors for bad ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.faces.face import Face
from comfyui_dense_face.sfsr.exemplars import BY_SEED, exemplar_expression, exemplar_files
from comfyui_dense_face.sfsr.expression import Expression
from torch import Tensor


class Reader:
    """Finds a smile as wide as the image is bright, and no face in black images."""

    name = "reader"

    def find(self, image: Tensor) -> list[Face]:
        value = float(image.mean())
        if value == 0:
            return []
        points = torch.zeros(0, 2)
        box = (8.0, 8.0, 56.0, 56.0)
        shapes = {"mouthSmileLeft": value}
        return [Face((64, 64), box, 1.0, points, "none", self.name, blendshapes=shapes)]


def read_image(path: Path) -> Tensor:
    return torch.full((3, 64, 64), float(path.read_text()))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "bliss"
    folder.mkdir()
    for i, value in enumerate((0.1, 0.5, 0.6, 0.9, 0.55)):
        (folder / f"{i}.png").write_text(str(value))
    (folder / "notes.txt").write_text("no image")
    (folder / "._0.png").write_text("what archives leave behind")
    return tmp_path


def read(root: Path, word: str = "bliss", **choice: object) -> Expression:
    return exemplar_expression([root / "none", root], word, Reader(), read_image, **choice)


def test_medoid(root: Path) -> None:
    seen: list[None] = []
    code = read(root, each=lambda: seen.append(None))
    assert code.named() == {"mouthSmileLeft": pytest.approx(0.55)}
    assert code.source == "exemplar bliss/4.png by reader" and len(seen) == 5


def test_seed_picks_one_and_reads_no_other(root: Path) -> None:
    (root / "bliss" / "0.png").write_text("damaged")
    found = set()
    for seed in range(30):
        try:
            found.add(read(root, choice=BY_SEED, seed=seed).source)
        except ValueError:
            found.add("damaged")
        else:
            assert read(root, choice=BY_SEED, seed=seed).source in found
    assert len(found) == 5


def test_bad_images_are_named(root: Path) -> None:
    def strict(path: Path) -> Tensor:
        if path.stem == "3":
            raise OSError("truncated")
        return read_image(path)

    (root / "bliss" / "1.png").write_text("0")
    with pytest.raises(InputError) as message:
        exemplar_expression([root], "bliss", Reader(), strict)
    sentence = str(message.value)
    assert "1.png: no face was found; 3.png: it cannot be read" in sentence
    assert str(root / "bliss") in sentence and "Replace or remove these files" in sentence


def test_no_images(root: Path) -> None:
    with pytest.raises(InputError, match="there are no exemplar images of rage"):
        read(root, "rage")
    with pytest.raises(InputError, match=r"'blis' is not one of the 135 words.*bliss"):
        read(root, "blis")
    with pytest.raises(InputError, match="the choice 'first' is unknown"):
        read(root, choice="first")


def test_files_of_several_places_in_one_order(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "bliss"
    other.mkdir(parents=True)
    (other / "2b.JPG").write_text("1")
    files = exemplar_files([root, other.parent], "Bliss")
    assert [file.name for file in files] == ["0.png", "1.png", "2.png", "2b.JPG", "3.png", "4.png"]

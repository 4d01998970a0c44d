"""Fitting a flame map: it finds a linear relation, reports honest errors, and can be resumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_dense_face import cli
from comfyui_dense_face.commands import fit_flame
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.faces.blendshapes import ARKIT_INDEX, ARKIT_NAMES
from comfyui_dense_face.faces.face import Face
from comfyui_dense_face.faces.mediapipe import landmarker
from comfyui_dense_face.pipelines.images import to_pil
from comfyui_dense_face.sfsr.arc2face.flame_map import load_flame_map
from comfyui_dense_face.training.photos.flame_faces import read_flame_faces
from comfyui_dense_face.training.photos.flame_map import fit_flame_map
from torch import Tensor

STILL = "cheekPuff"


def relation() -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(5)
    return torch.randn(51, 55, generator=chance), torch.randn(55, generator=chance)


def faces(count: int, noise: float = 0.0, seed: int = 6) -> tuple[Tensor, Tensor, list[int]]:
    """Blendshapes, FLAME's numbers by :func:`relation`, and four faces of each person."""
    chance = torch.Generator().manual_seed(seed)
    blendshapes = torch.rand(count, 51, generator=chance)
    blendshapes[:, ARKIT_INDEX[STILL]] = 0.001 * blendshapes[:, ARKIT_INDEX[STILL]]
    weight, bias = relation()
    flame = blendshapes @ weight + bias
    flame += noise * torch.randn(flame.shape, generator=chance)
    return blendshapes, flame, [number // 4 for number in range(count)]


def test_a_linear_relation_is_found() -> None:
    fit = fit_flame_map(*faces(400))
    weight, bias = relation()
    rows = torch.arange(51) != ARKIT_INDEX[STILL]
    columns = torch.cat([torch.arange(50), torch.arange(52, 55)])
    assert torch.allclose(fit.flame_map.weight[rows], weight[rows][:, columns], atol=0.01)
    assert torch.allclose(fit.flame_map.bias, bias[columns], atol=0.02)
    assert fit.still == (STILL,) and not fit.flame_map.weight[~rows].any()
    assert fit.r2_expression > 0.999 and fit.r2_jaw > 0.999 and fit.error_expression < 0.01
    assert fit.held_out == 80


def test_the_errors_are_those_of_people_it_has_not_seen() -> None:
    """Numbers without any relation are fitted in part, and explained of nobody."""
    blendshapes, _, people = faces(120)
    flame = torch.randn(120, 55, generator=torch.Generator().manual_seed(7))
    fit = fit_flame_map(blendshapes, flame, people)
    assert fit.r2_expression < 0.05
    assert 0.6 < fit.error_expression < 1.0  # of a normal number: 0.8
    noisy = fit_flame_map(*faces(400, noise=2.0))
    assert noisy.penalty > 1e-6
    blendshapes, flame, _ = faces(4000, noise=2.0, seed=10)
    truth = flame[:, :50]
    error = (blendshapes @ noisy.flame_map.weight + noisy.flame_map.bias)[:, :50] - truth
    elsewhere = 1 - float(error.square().sum() / (truth - truth.mean(0)).square().sum())
    assert noisy.r2_expression == pytest.approx(elsewhere, abs=0.05)


def test_the_order_of_the_faces_does_not_matter() -> None:
    blendshapes, flame, people = faces(200, noise=1.0)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(8))
    mixed = [people[i] for i in order.tolist()]
    one, two = (
        fit_flame_map(blendshapes, flame, people),
        fit_flame_map(blendshapes[order], flame[order], mixed),
    )
    assert torch.allclose(one.flame_map.weight, two.flame_map.weight, atol=1e-5)
    assert one.r2_expression == pytest.approx(two.r2_expression)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (faces(99), "99 faces of 25 people are too few"),
        ((*faces(120)[:2], [1] * 120), "120 faces of 1 people are too few"),
        ((torch.ones(120, 51), torch.zeros(120, 55), [*range(120)]), "the same expression"),
    ],
    ids=["faces", "people", "expressions"],
)
def test_too_little(given: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        fit_flame_map(*given)


# ---- photographs --------------------------------------------------------------------------------


class ByColour:
    """Reads blendshapes out of the corner's colours; black: no face. FLAME's by the relation."""

    name = "colours"

    def __init__(self) -> None:
        self.images = 0

    def find(self, image: Tensor) -> list[Face]:
        self.images += 1
        if not image.any():
            return []
        flat = image[:, :32, :32:2].flatten()[:51]
        weight, bias = relation()
        named = dict(zip(ARKIT_NAMES, flat.tolist(), strict=True))
        little, large = (0.0, 0.0, 9.0, 9.0), (0.0, 0.0, 20.0, 20.0)
        rest = dict.fromkeys(ARKIT_NAMES, 0.0)
        small = Face((64, 64), little, 1.0, torch.zeros(0, 2), "none", "test", blendshapes=rest)
        small = replace(small, flame=torch.zeros(55))
        flame = 0.1 * (flat @ weight + bias)
        flame[50:] = flame[50:].clamp(0, 0.1)
        found = Face(
            (64, 64), large, 1.0, torch.zeros(0, 2), "none", "test", blendshapes=named, flame=flame
        )
        return [small, found]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six people with ten photographs each, one without a face and one that is none."""
    folder = tmp_path_factory.mktemp("photos")
    chance = torch.Generator().manual_seed(9)
    for person in range(6):
        (folder / f"person {person}").mkdir()
        for number in range(10):
            image = torch.rand(3, 64, 64, generator=chance)
            to_pil(image).save(folder / f"person {person}" / f"{number}.png")
    to_pil(torch.zeros(3, 64, 64)).save(folder / "person 0" / "black.png")
    (folder / "person 1" / "broken.png").write_bytes(b"no image")
    return folder


def test_each_photograph_is_read_as_it_is_and_mirrored(photos: Path) -> None:
    found = read_flame_faces(photos, ByColour, "")
    assert found.blendshapes.shape == (120, 51) and found.flame.shape == (120, 55)
    assert found.images == 60 and sorted(set(found.people)) == [1, 2, 3, 4, 5, 6]
    assert found.people[:60] == found.people[60:]
    assert not torch.allclose(found.blendshapes[:60], found.blendshapes[60:], atol=0.1)
    assert len(found.skipped) == 2 and any("black.png: no face" in line for line in found.skipped)


def test_few_people_are_counted_by_photographs(photos: Path) -> None:
    assert len(set(read_flame_faces(photos / "person 2", ByColour, "").people)) == 10


def test_a_stopped_run_continues(photos: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"

    class Stopped(ByColour):
        def find(self, image: Tensor) -> list[Face]:
            if self.images == 25:
                raise KeyboardInterrupt
            return super().find(image)

    with pytest.raises(KeyboardInterrupt):
        read_flame_faces(photos, Stopped, "one", kept)
    again, anew = ByColour(), ByColour()
    resumed = read_flame_faces(photos, lambda: again, "one", kept)
    whole = read_flame_faces(photos, lambda: anew, "one")
    assert torch.equal(resumed.blendshapes, whole.blendshapes)
    assert torch.equal(resumed.flame, whole.flame) and resumed.people == whole.people
    assert again.images <= anew.images - 24
    read_flame_faces(photos, _never, "one", kept)
    with pytest.raises(AssertionError, match="measured anew"):  # by other files
        read_flame_faces(photos, _never, "two", kept)


def _never() -> ByColour:
    raise AssertionError("measured anew")


@pytest.fixture
def command(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """``denseface fit-flame`` on these photographs."""
    monkeypatch.setattr(landmarker, "Landmarker", lambda path: ByColour())
    monkeypatch.setattr(fit_flame, "with_smirk", lambda args, finder: finder)
    for name in ("smirk.pt", "face.task"):
        (tmp_path / name).write_bytes(b"weights")

    def run(**changes: Any) -> int:
        options: dict[str, Any] = {
            "pictures": photos,
            "out": tmp_path / "maps" / "map.safetensors",
            "landmarker": tmp_path / "face.task",
            "smirk": tmp_path / "smirk.pt",
            **changes,
        }
        return cli.main(
            ["fit-flame", *(str(w) for k, v in options.items() if v for w in (f"--{k}", v))]
        )

    return run


def test_command(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command() == 0
    printed, noted = capsys.readouterr()
    assert "60 photos of 6 people" in printed and "expression R2 1.000" in printed
    assert printed.splitlines()[-1] == str(tmp_path / "maps" / "map.safetensors")
    assert "skipped: " in noted and "black.png" in noted
    made = load_flame_map(tmp_path / "maps" / "map.safetensors")
    assert made.about["images"] == "60" and made.about["faces"] == "120"
    assert float(made.about["r2_expression"]) > 0.9 and made.about["channel_order"] == "RGB"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"out": "map.pt"}, "Name it map.pt.safetensors"),
        ({"pictures": "nowhere"}, "the folder is missing"),
        ({"smirk": "gone.pt"}, "gone.pt"),
        ({"landmarker": None}, "no face landmarker file was given"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_command_refuses(
    command: Callable[..., int],
    changes: dict[str, Any],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("DENSEFACE_TASK_FILE", raising=False)
    assert command(**changes) == 2
    message = capsys.readouterr().err
    assert says in message and message.count("\n") == 1
    assert not list((tmp_path / "maps").glob("*"))

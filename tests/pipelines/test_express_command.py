"""``denseface express`` and ``evaluate sfsr``: what they write, and their errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from comfyui_dense_face import cli
from comfyui_dense_face.evaluation import gallery as gallery
from comfyui_dense_face.evaluation import held_out
from comfyui_dense_face.evaluation import sfsr as evaluate_sfsr
from comfyui_dense_face.pipelines.images import open_rgb, tensor_of, to_pil
from comfyui_dense_face.pipelines.tiny.dense_face import DenseFacePipeline
from photograph import astronaut
from PIL import Image
from torch import Tensor


class Command:
    """``denseface express`` with usual arguments; ``files`` are those of its output folder."""

    def __init__(self, folder: Path, weights: Path, portrait: Path) -> None:
        self.out = folder / "out" / "x.png"
        self.usual = {
            "--identity": portrait,
            "--word": "joy",
            "--scene": portrait,
            "--out": self.out,
            "--weights": weights,
            "--steps": 1,
        }

    def __call__(self, *flags: str, **changes: object) -> int:
        options = self.usual | {f"--{k}": v for k, v in changes.items()}
        words = [str(word) for pair in options.items() if pair[1] is not None for word in pair]
        return cli.main(["express", *words, *flags])

    @property
    def files(self) -> list[str]:
        folder = self.out.parent
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


@pytest.fixture
def express(tmp_path: Path, sfsr_weights: Path, portrait: Path) -> Command:
    return Command(tmp_path, sfsr_weights, portrait)


@pytest.fixture
def known_head(monkeypatch: pytest.MonkeyPatch, hole: Tensor) -> Tensor:
    """A mask [1, 128, 128] that stands for the head of every scene."""
    monkeypatch.setattr(DenseFacePipeline, "scene_mask", lambda *_: hole)
    return hole


def test_a_word_in_a_scene(
    express: Command, portrait: Path, known_head: Tensor, capsys: pytest.CaptureFixture[str]
) -> None:
    assert express("--json", intensity=0.5) == 0
    printed = capsys.readouterr()
    assert "note" not in printed.err
    report = json.loads(printed.out)
    assert report["image"] == str(express.out)
    assert report["expression"] == "word joy, intensity 0.5, seed 0"
    assert 0 < report["blendshapes"]["mouthSmileLeft"] <= 1
    made, scene = (tensor_of(open_rgb(path)) for path in (express.out, portrait))
    outside = (known_head == 0).expand_as(scene)
    assert torch.equal(made[outside], scene[outside]) and not torch.equal(made, scene)
    with Image.open(express.out) as image:
        assert json.loads(image.info["denseface"])["seed"] == 0
    first = express.out.read_bytes()
    assert express("--json", intensity=0.5) == 0 and express.out.read_bytes() == first
    assert express.files == ["x.png"]


@pytest.mark.usefixtures("known_head")
def test_the_expression_of_an_image_and_a_scene_of_words(
    express: Command, portrait: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Fewer steps would give a scene in which no face is found.
    changes = {"word": None, "expression": portrait, "scene": None, "steps": 6}
    assert express(**changes, prompt="in a spaceship") == 0
    printed = capsys.readouterr()
    assert printed.out.strip() == str(express.out) and "spaceship" in printed.err


@pytest.mark.usefixtures("known_head")
def test_a_large_scene_keeps_its_size_and_all_but_the_head(
    express: Command, tmp_path: Path, portraits: Tensor
) -> None:
    wide = torch.nn.functional.interpolate(portraits[1:], (240, 300), mode="bilinear")
    path = tmp_path / "wide.png"
    to_pil(wide).save(path)
    scene = tensor_of(open_rgb(path))
    assert express(scene=path) == 0
    made = tensor_of(open_rgb(express.out))
    assert made.shape == scene.shape
    changed = (made != scene).any(1)[0].nonzero()
    assert len(changed) > 1000
    # The mask is the middle of the crop: a border of the crop, and all beyond it, is the scene's.
    low, high = changed.min(0).values, changed.max(0).values
    assert low.min() > 0 and int(high[0]) < 239 and int(high[1]) < 299


@pytest.mark.usefixtures("known_head")
def test_a_transparent_scene_stays_transparent(
    express: Command, tmp_path: Path, portraits: Tensor
) -> None:
    alpha = torch.linspace(0, 1, 128).expand(1, 128, 128)
    path = tmp_path / "scene.png"
    to_pil(torch.cat([portraits[1], alpha])).save(path)
    assert express(scene=path) == 0
    with Image.open(path) as scene, Image.open(express.out) as made:
        assert made.mode == "RGBA"
        assert made.getchannel("A").tobytes() == scene.getchannel("A").tobytes()


@pytest.mark.parametrize("role", ["identity", "expression", "scene"])
def test_a_photograph_is_refused(
    express: Command, tmp_path: Path, role: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "photograph.png"
    to_pil(astronaut()).save(path)
    given: dict[str, Path | None] = {role: path, "weights": None}
    if role == "expression":
        given["word"] = None
    assert express(**given) == 2
    said = capsys.readouterr().err
    assert "this is a photograph" in said and "as --base" in said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"word": "joyy"}, "'joyy' is not one of the 135 words. The closest are joy"),
        ({"intensity": 2}, "--intensity is out of range (2)"),
        ({"word": None}, "one of the arguments --word --expression --flame is required"),
        ({"expression": "a.png"}, "not allowed with"),
        ({"scene": None}, "one of the arguments --scene --prompt is required"),
        ({"prompt": "a"}, "not allowed with"),
        ({"identity": "nowhere.png"}, "the identity is missing (nowhere.png)"),
        ({"word": None, "expression": "nowhere.png"}, "the expression is missing (nowhere.png)"),
        ({"word": None, "expression": "a.png", "intensity": 1}, "only words have an intensity"),
        ({"scene": "nowhere.png"}, "the scene is missing (nowhere.png)"),
        ({"balance": 2}, "--balance is out of range (2)"),
        ({"guidance": 0}, "guidance is 0"),
        ({"yaw": 0}, "the tiny world has no use for this option (--yaw)"),
        ({"steps": 0}, "--steps is out of range (0)"),
        ({"out": "x.docx"}, "format is unknown"),
        ({"weights": "/nowhere"}, "a file of the tiny world is missing (/nowhere/tiny_base"),
    ],
)
def test_bad_input_is_one_line(
    express: Command,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, object],
    message: str,
) -> None:
    try:
        code = express(**changes)
    except SystemExit as left:  # the parser's own way out
        code = left.code
    assert code == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.out == ""
    assert express.files == []


KEYS = {
    "identity_top1",
    "identity_ceiling_top1",
    "identity_latent_ceiling_top1",
    "expression_correlation",
    "expression_ceiling_correlation",
    "expression_latent_ceiling_correlation",
    "visible_blendshapes",
    "expression_error",
    "expression_error_of_scene",
    "leak_expression_owner",
    "leak_scene",
    "leak_stranger",
    "leak_expression_owner_chance",
    "leak_scene_chance",
    "leak_scene_ceiling",
    "background_psnr_db",
    "pose_mae_deg",
    "malformed",
    "malformed_ceiling",
    "malformed_latent_ceiling",
    "from_image.expression_correlation",
    "from_image.leak_expression_owner",
    "from_image.leak_expression_owner_chance",
    "control.identity_off.identity_top1",
    "control.expression_off.expression_correlation",
    "control.shuffled_identities.identity_top1",
    "control.shuffled_expressions.expression_correlation",
    "control.hint_off.background_psnr_db",
    "control.trained_briefly.midpoint.expression_correlation",
    "control.trained_briefly.one_step.expression_correlation",
    "control.trained_briefly.one_step.identity_top1",
    "other.tiny_sfsr.identity_top1",
}


def test_evaluate_prints_pure_json(
    sfsr_weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (held_out, gallery, evaluate_sfsr):  # five people instead of 64
        monkeypatch.setattr(module, "PEOPLE", 5)
    words = ["evaluate", "sfsr", "--seed", "5", "--count", "3", "--steps", "1", "--json"]
    other = ["--other", str(sfsr_weights / "tiny_sfsr.safetensors")]
    assert cli.main([*words, *other, "--weights", str(sfsr_weights)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {f"sfsr.{name}" for name in KEYS} | {"seconds.per_image"} <= report.keys()
    assert report["sfsr.background_change_after_composite"] == 0
    same = "sfsr.other.tiny_sfsr.identity_top1"
    assert report[same] == report["sfsr.identity_top1"]
    assert all(value is None or isinstance(value, float | int) for value in report.values())


def test_other_files_are_for_sfsr(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["evaluate", "dense-face", "--other", "a.safetensors"])
    assert "unrecognized arguments: --other" in capsys.readouterr().err

"""``denseface generate``, ``evaluate`` and ``demo``: what they write, and their errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from comfyui_dense_face import cli
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.evaluation import demo, demo_people, demo_sfsr, held_out
from comfyui_dense_face.evaluation import dense_face as evaluate
from comfyui_dense_face.evaluation import gallery as gallery
from comfyui_dense_face.evaluation import sfsr as evaluate_sfsr
from comfyui_dense_face.pipelines.images import read_image, to_pil
from comfyui_dense_face.pipelines.sampling import clean_schedule
from comfyui_dense_face.pipelines.tiny import dense_face
from comfyui_dense_face.storage import read_weights
from measured_world import blind_world, linked_world
from photograph import astronaut
from PIL import Image
from safetensors.torch import save_file


class Command:
    """``denseface generate`` with usual arguments; ``files`` are those of its output folder."""

    def __init__(self, folder: Path, weights: Path, portrait: Path) -> None:
        self.out = folder / "out" / "x.png"
        self.usual = {
            "--reference": portrait,
            "--out": self.out,
            "--weights": weights,
            "--steps": 2,
        }

    def __call__(self, **changes: object) -> int:
        options = self.usual | {f"--{k.replace('_', '-')}": v for k, v in changes.items()}
        words = [str(word) for pair in options.items() if pair[1] is not None for word in pair]
        return cli.main(["generate", *words])

    @property
    def files(self) -> list[str]:
        folder = self.out.parent
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


@pytest.fixture
def generate(tmp_path: Path, weights: Path, portrait: Path) -> Command:
    return Command(tmp_path, weights, portrait)


def test_an_image_is_written_again_the_same(
    generate: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(prompt="smiling, in a forest", yaw=25, seed=4) == 0
    assert capsys.readouterr().out.strip() == str(generate.out)
    first = generate.out.read_bytes()
    with Image.open(generate.out) as image:
        about = json.loads(image.info["denseface"])
        assert image.size == (128, 128)
    assert about["prompt"] == "a close-up photo of *, smiling, in a forest"
    assert about["angles"] == [25.0, 0.0, 0.0] and about["seed"] == 4
    assert generate(prompt="smiling, in a forest", yaw=25, seed=4) == 0
    assert generate.out.read_bytes() == first
    assert generate.files == ["x.png"]


def test_a_photograph_is_refused_and_a_larger_portrait_is_not(
    generate: Command, portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    large, photograph = tmp_path / "large.png", tmp_path / "photograph.png"
    with Image.open(portrait) as image:
        image.resize((192, 192)).save(large)
    assert generate(reference=large, steps=1) == 0
    assert "note:" not in capsys.readouterr().err
    to_pil(astronaut()).save(photograph)
    for role in ("reference", "scene"):
        assert generate(**{role: photograph, "weights": None}) == 2
        said = capsys.readouterr().err
        assert "this is a photograph" in said and "as --base" in said


def test_a_transparent_scene_stays_transparent(
    generate: Command, portrait: Path, monkeypatch: pytest.MonkeyPatch, hole: torch.Tensor
) -> None:
    monkeypatch.setattr(dense_face.DenseFacePipeline, "scene_mask", lambda *_: hole)
    with Image.open(portrait) as image:
        image.putalpha(100)
        image.resize((200, 160)).save(portrait)
    assert generate(scene=portrait, steps=1) == 0
    with Image.open(generate.out) as made:
        assert made.size == (128, 128) and set(made.getchannel("A").tobytes()) == {100}


def test_a_scene_is_kept_outside_the_head(
    generate: Command, portrait: Path, monkeypatch: pytest.MonkeyPatch, hole: torch.Tensor
) -> None:
    monkeypatch.setattr(dense_face.DenseFacePipeline, "scene_mask", lambda *_: hole)
    assert generate(scene=portrait, pitch=5) == 0
    made, scene = read_image(generate.out), read_image(portrait)
    outside = (hole == 0).expand_as(scene)
    assert torch.equal(made[outside], scene[outside])
    assert not torch.equal(made, scene)


def test_a_scene_can_be_generated_from_a_prompt(
    generate: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(scene_prompt="by a window in a spaceship", scene_seed=2) == 0
    assert "spaceship" in capsys.readouterr().err
    assert generate.files == ["x.png"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": " "}, "the prompt is empty"),
        ({"prompt": "a*"}, "touches another word"),
        ({"yaw": 60.5}, "yaw of 60.5 degrees is beyond the trained range. Choose a value between"),
        ({"roll": "nan"}, "roll of nan"),
        ({"yaw": "left"}, "invalid float value"),
        ({"reference": "nowhere.png"}, "the reference is missing (nowhere.png)"),
        ({"scene": "nowhere.png"}, "the scene is missing (nowhere.png)"),
        ({"scene": "a.png", "scene_prompt": "b"}, "not allowed with"),
        ({"steps": 0}, "--steps is out of range (0)"),
        ({"guidance": -1}, "--guidance is out of range (-1)"),
        ({"seed": -1}, "--seed is out of range (-1)"),
        ({"out": "/proc/none/x.png"}, "cannot be written"),
        ({"out": "/tmp"}, "is a folder"),  # noqa: S108
        ({"out": "x.docx"}, "format is unknown"),
        ({"weights": "/nowhere"}, "a file of the tiny world is missing (/nowhere/tiny_base"),
    ],
)
def test_bad_input_is_one_line(
    generate: Command,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, object],
    message: str,
) -> None:
    try:
        code = generate(**changes)
    except SystemExit as left:  # the parser's own way out
        code = left.code
    assert code == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.out == ""
    assert "Traceback" not in printed.err
    assert generate.files == []


def test_a_reference_without_a_face(
    generate: Command,
    weights: Path,
    tmp_path: Path,
    portrait: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    blind = blind_world(weights, tmp_path / "blind")
    assert generate(weights=blind) == 2
    message = capsys.readouterr().err
    assert "not an image of the tiny world" in message and str(portrait) in message
    assert "for a photograph give a Stable Diffusion 1.5 checkpoint as --base" in message
    assert generate.files == []


def test_a_scene_without_a_head(weights: Path, tmp_path: Path, portraits: torch.Tensor) -> None:
    blind = dense_face.DenseFacePipeline.load(blind_world(weights, tmp_path / "blind"))
    with pytest.raises(InputError, match="no head was found"):
        blind.scene_mask(portraits)


@pytest.mark.parametrize("name", ["tiny_base", "tiny_dense_face", "tiny_analyzer"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "altered"])
def test_damaged_weights_are_named(
    generate: Command,
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    damage: str,
) -> None:
    folder = linked_world(weights, tmp_path / "harmed")
    path = folder / f"{name}.safetensors"
    content = path.read_bytes()
    tensors, metadata = read_weights(path)
    path.unlink()
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "altered":
        next(iter(tensors.values())).reshape(-1)[0] += 1
        save_file(tensors, path, metadata)
    assert generate(weights=folder) == 2
    message = capsys.readouterr().err
    assert damage in message and str(path) in message and message.count("\n") == 1
    assert generate.files == []


def test_files_of_another_version_are_named(
    generate: Command, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = linked_world(weights, tmp_path / "mixed")
    path = folder / "tiny_analyzer.safetensors"
    path.unlink()
    path.symlink_to(weights / "tiny_evaluator.safetensors")
    assert generate(weights=folder) == 2
    assert "another version of the network" in capsys.readouterr().err


def test_ctrl_c_leaves_nothing(
    generate: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> None:
        assert generate.files != []  # the temporary file
        raise KeyboardInterrupt

    monkeypatch.setattr(dense_face, "sample", stop)
    assert generate() == 130
    assert "stopped" in capsys.readouterr().err
    assert generate.files == []


KEYS = {
    "identity_top1",
    "identity_ceiling_top1",
    "identity_cosine",
    "identity_cosine_stranger",
    "pose_mae_deg",
    "background_psnr_db",
    "prompt_accuracy",
    "malformed",
    "malformed_latent_ceiling",
    "prompt_malformed",
    "prompt_malformed_ceiling",
}
CONTROLS = {
    "control.adapter_off.identity_top1",
    "control.shuffled_references.identity_top1",
    "control.pose_branch_off.pose_mae_deg",
}


@pytest.fixture
def village(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five people instead of 64: quality is not tested here."""
    for module in (held_out, gallery, evaluate, evaluate_sfsr):
        monkeypatch.setattr(module, "PEOPLE", 5)


@pytest.mark.usefixtures("village")
def test_evaluate_prints_pure_json(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "dense-face", "--seed", "5", "--count", "4", "--steps", "1", "--json"]
    assert cli.main([*words, "--weights", str(weights)]) == 0
    report = json.loads(capsys.readouterr().out)
    expected = {f"dense_face.{name}" for name in KEYS | CONTROLS}
    assert expected | {"seconds.total", "seconds.per_image"} <= report.keys()
    assert report["dense_face.background_change_after_composite"] == 0
    assert all(value is None or isinstance(value, float | int) for value in report.values())


@pytest.mark.usefixtures("village")
def test_evaluate_prints_a_table(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "dense-face", "--count", "1", "--steps", "1", "--weights", str(weights)]
    assert cli.main(words) == 0
    table = capsys.readouterr().out
    assert "dense_face.identity_top1 " in table and "never trained on" in table


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--count", "0"], "cannot evaluate 0 images"),
        (["--seed", "-1"], "seed -1 is outside"),
        (["--weights", "/nowhere"], "missing (/nowhere/tiny_base.safetensors)"),
    ],
)
def test_evaluate_refuses_bad_input(
    weights: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    usual = [] if "--weights" in words else ["--weights", str(weights)]
    assert cli.main(["evaluate", "dense-face", *words, *usual]) == 2
    assert message in capsys.readouterr().err


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch, village: None) -> None:
    """A demo of one row and few images of one step."""
    monkeypatch.setattr(dense_face, "clean_schedule", lambda steps: clean_schedule(1))
    for name, value in {"COUNT": 1, "PROMPTS": 1, "SCENES": 1, "TURNS": (-40,)}.items():
        monkeypatch.setattr(demo, name, value)
    monkeypatch.setattr(demo, "SCENES_OF_ROWS", demo.SCENES_OF_ROWS[:1])
    monkeypatch.setattr(demo, "COLUMNS", ("reference", "base", "result", "turned", "other"))
    monkeypatch.setattr(demo_people, "PEOPLE", 1)
    monkeypatch.setattr(demo_people, "IMAGES", demo_people.IMAGES[:1])
    # A scene sampled in one step has no head that could be redrawn.
    head = torch.zeros(1, 128, 128)
    head[:, 30:90, 30:90] = 1
    monkeypatch.setattr(dense_face.DenseFacePipeline, "scene_mask", lambda *_: head)
    for name, value in {"COUNT": 2, "PERSONS": 1, "WORDS": ("joy",)}.items():
        monkeypatch.setattr(demo_sfsr, name, value)


@pytest.mark.usefixtures("hurry")
def test_demo_writes_sheet_and_report(
    tmp_path: Path, sfsr_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    assert cli.main(["demo", "--out", str(out), "--weights", str(sfsr_weights)]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "dense_face.png",
        "people.png",
        "report.json",
        "sfsr.png",
    ]
    report = json.loads((out / "report.json").read_text())
    expected = {f"dense_face.{name}" for name in KEYS} | {"seconds.total", "seconds.per_image"}
    assert expected <= report.keys()
    assert {"sfsr.identity_top1", "sfsr.expression_correlation"} <= report.keys()
    with Image.open(out / "sfsr.png") as sheet:
        assert sheet.width > 3 * 128 and sheet.height > 2 * 128
    with Image.open(out / "dense_face.png") as sheet:
        assert sheet.width > 5 * 128 and sheet.height > 128
    assert str(out / "report.json") in capsys.readouterr().out


@pytest.mark.usefixtures("hurry")
def test_demo_stopped_leaves_nothing(
    tmp_path: Path, sfsr_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "labelled_sheet", stop)
    out = tmp_path / "demo"
    assert cli.main(["demo", "--out", str(out), "--weights", str(sfsr_weights)]) == 130
    assert list(out.iterdir()) == []


def test_demo_into_a_file(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "demo").write_text("in the way")
    words = ["demo", "--out", str(tmp_path / "demo"), "--weights", str(weights)]
    assert cli.main(words) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_prompts_of_the_demo_are_words_of_the_tiny_world() -> None:
    from comfyui_dense_face.pipelines.tiny.prompts import unread_words

    for row in demo.SCENES_OF_ROWS:
        for scene in row:
            assert unread_words(f"{scene.base_prompt} {scene.rest}") == []
    for _, prompt, _ in demo_people.IMAGES:
        assert unread_words(prompt) == []

"""``denseface evaluate photos`` on a small base of random weights: that it runs, not how well."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from comfyui_dense_face.commands import evaluate_photos, evaluate_photos_drawing
from comfyui_dense_face.faces.analyzers import manual_face
from comfyui_dense_face.pipelines.images import open_rgb, tensor_of, to_pil, write_image
from comfyui_dense_face.pipelines.real import pipeline
from comfyui_dense_face.pipelines.real.scene import scene_crop
from photo_people import ColourRecogniser, MiddleFaces, photo, write_people
from PIL import Image
from real_files import ENCODER, Command

EVALUATOR = "insightface/glintr100"


class Photos:
    """Calls the command with usual options."""

    def __init__(self, command: Command, folder: Path) -> None:
        self.command, self.out = command, folder / "out"
        self.references = folder / "people"
        self.usual: dict[str, Any] = {
            "base": "base.safetensors",
            "references": self.references,
            "evaluator": folder / "evaluator.onnx",
            "identity_adapter": "faceid.bin",
            "expression_adapter": "fineface.bin",
            "prompt": "a photo of a person",
            "word": ["joy", "fear"],
            "out": self.out,
            "size": 64,
            "steps": 1,
        }

    def __call__(self, **changes: Any) -> int:
        return self.command("evaluate photos", **{**self.usual, **changes})

    @property
    def images(self) -> dict[str, bytes]:
        folder = self.out / "images"
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.png"))}

    @property
    def rows(self) -> list[dict[str, str]]:
        with (self.out / "metrics.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.out / "summary.json").read_text(encoding="utf-8"))


@pytest.fixture
def photos(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Photos:
    write_people(tmp_path / "people")
    (tmp_path / "evaluator.onnx").write_bytes(b"an evaluator")
    for name, found in {
        "finder_of": MiddleFaces(),
        "recogniser_of": ColourRecogniser(ENCODER, 1),
        "evaluator_of": ColourRecogniser(EVALUATOR, 2),
    }.items():
        monkeypatch.setattr(evaluate_photos, name, lambda _, found=found: found)
    return Photos(command, tmp_path)


@pytest.fixture
def no_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if the base is loaded."""

    def loaded(*_: Any, **__: Any) -> NoReturn:
        pytest.fail("the base is loaded")

    monkeypatch.setattr(evaluate_photos_drawing, "load_real", loaded)


def test_images_metrics_summary_and_sheet(
    photos: Photos, capsys: pytest.CaptureFixture[str]
) -> None:
    assert photos(scene="scene.png") == 0
    said = capsys.readouterr()
    assert "background_change" in said.out and "6 images of 3 people, seed 0" in said.out
    rows, summary = photos.rows, photos.summary
    assert [(row["person"], row["word"]) for row in rows] == [
        (name, word) for name in ("ada", "ben", "eve") for word in ("joy", "fear")
    ]
    assert {row["face_found"] for row in rows} == {"1.0"}
    assert {row["background_change"] for row in rows} == {"0.0"}
    assert len({row["noise_seed"] for row in rows}) == 6
    assert float(rows[0]["expression_error"]) < float(rows[0]["expression_error_rest"])  # a smile
    assert float(rows[0]["units_error"]) < float(rows[0]["units_error_rest"])
    assert float(rows[1]["units_error"]) > float(rows[1]["units_error_rest"])  # not afraid
    metrics, ceiling = summary["metrics"], summary["ceiling"]
    own = [float(row["identity_cosine"]) for row in rows]
    assert metrics["identity_cosine"]["mean"] == pytest.approx(sum(own) / 6, abs=1e-5)
    assert metrics["identity_cosine"]["people"] == 3
    assert ceiling["identity_cosine"]["people"] == 1  # only Ada has two photos
    assert ceiling["identity_cosine"]["mean"] > 0.99
    assert ceiling["identity_top1"]["mean"] == 1
    assert set(summary["settings"]["files"]) >= {"base", "identity_adapter", "expression_adapter"}
    assert "evaluator.onnx" in summary["evaluator"]
    with Image.open(photos.out / "sheet.png") as sheet:
        assert sheet.width > 4 * 160 and sheet.height > 3 * 160


def test_a_stopped_run_continues(
    photos: Photos, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    assert photos() == 0
    whole, metrics = photos.images, (photos.out / "metrics.csv").read_bytes()
    first, second, *_ = whole
    (photos.out / "images" / first).unlink()
    (photos.out / "images" / second).write_bytes(whole[second][:-200])  # damaged
    drawn: list[Any] = []
    draw = pipeline.run_sampler
    monkeypatch.setattr(
        pipeline, "run_sampler", lambda *args, **more: drawn.append(args[3]) or draw(*args, **more)
    )
    assert photos() == 0
    assert photos.images == whole
    noise = {row["image"]: int(row["noise_seed"]) for row in photos.rows}
    assert sorted(drawn) == sorted(noise[name] for name in (first, second))
    assert (photos.out / "metrics.csv").read_bytes() == metrics
    request.getfixturevalue("no_base")
    assert photos() == 0
    assert (photos.out / "metrics.csv").read_bytes() == metrics


def test_ctrl_c_keeps_what_is_drawn(photos: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, drawn = pipeline.run_sampler, []

    def stopped(*args: Any, **more: Any) -> torch.Tensor:
        drawn.append(1)
        if len(drawn) == 3:
            raise KeyboardInterrupt
        return draw(*args, **more)

    monkeypatch.setattr(pipeline, "run_sampler", stopped)
    assert photos() == 130
    assert len(photos.images) == 2 and not (photos.out / "metrics.csv").exists()
    assert photos() == 0 and len(drawn) == 3 + 4 and len(photos.images) == 6


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({"steps": 2}, "steps"),
        ({"seed": 1}, "seed, noise_seed"),
        ({"identity_adapter": "portrait.bin"}, "files"),
        ({"balance": 0.5}, "balance"),
    ],
)
def test_other_settings_are_refused(
    photos: Photos,
    changes: dict[str, Any],
    differs: str,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    assert photos(word="joy") == 0
    before = photos.images
    request.getfixturevalue("no_base")
    assert photos(**changes) == 2
    said = capsys.readouterr().err
    assert f"drawn with other settings are here (3), the first differs in {differs} (" in said
    assert photos.images == before


def test_another_photo_of_a_person_is_another_setting(
    photos: Photos, capsys: pytest.CaptureFixture[str]
) -> None:
    assert photos(word="joy") == 0
    to_pil(photo("ben", 5)).save(photos.references / "ben.png")
    assert photos(word="joy") == 2
    assert "drawn with other settings are here (1)" in (said := capsys.readouterr().err)
    assert "photos_sha256" in said


def test_more_words_and_people_add_images(photos: Photos) -> None:
    assert photos(word="joy") == 0
    before = photos.images
    (photos.references / "eve.png").rename(photos.references / "fay.png")
    assert photos() == 0
    assert len(photos.rows) == 6 and len(photos.images) == 7  # Eve's image is left there
    assert before.items() <= photos.images.items()


@pytest.mark.usefixtures("no_base")
def test_everything_wrong_is_named_before_the_base_is_loaded(
    photos: Photos, capsys: pytest.CaptureFixture[str]
) -> None:
    to_pil(torch.zeros(1, 3, 64, 64)).save(photos.references / "nobody.png")
    (photos.references / "Ben").mkdir()
    to_pil(photo("ben", 2)).save(photos.references / "Ben" / "1.png")
    to_pil(photo("eve")).save(photos.references / "ada" / "again.bmp")
    assert photos(word=["joyy", "joy"], scene="nowhere.png", vae="nowhere.safetensors") == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    for part in (
        "4 inputs cannot be used",
        "two people have the name ben",
        "the same photo is there twice",
        "'joyy' is not one of the 135 words",
        "2 files or folders to read are missing",
        "--vae",
        "nowhere.safetensors",
        "--scene",
        "nowhere.png",
    ):
        assert part in said
    (photos.references / "Ben" / "1.png").unlink()
    (photos.references / "Ben").rmdir()
    (photos.references / "ada" / "again.bmp").unlink()
    assert photos(scene=photos.references / "nobody.png") == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "no face was found" in said and "nobody.png" in said
    assert not (photos.out / "images").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"references": "nowhere"},
        {"evaluator": "nowhere.onnx"},
        {"clip_vision": "nowhere.safetensors"},
        {"words": "nowhere.txt"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_missing_files_are_seen_before_anything_is_loaded(
    photos: Photos,
    changes: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("check_base", "finder_of", "recogniser_of", "evaluator_of", "draw_pending"):
        monkeypatch.setattr(evaluate_photos, name, lambda *_, name=name: pytest.fail(name))
    assert photos(**changes) == 2
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.usefixtures("no_base")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"references": "nowhere"}, "the folder of the references is missing or holds no photo"),
        ({"sampler": "magic"}, "the sampler 'magic' is unknown"),
        ({"words": "nowhere.txt"}, "the list cannot be read (nowhere.txt)"),
        ({"intensity": 3}, "--intensity is out of range (3)"),
    ],
)
def test_bad_input(
    photos: Photos, changes: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert photos(**changes) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"expression_adapter": None}, "no adapter draws the expression"),
        ({"identity_adapter": "plus.bin"}, "also reads CLIP vision, and none is given"),
        ({"size": 100}, "images of 100 px"),
        ({"balance": 2}, "--balance is out of range (2)"),
        (
            {"identity_adapter": None, "dense_face": "dense.safetensors", "prompt": "a photo of *"},
            "Dense-Face reads identities of tiny-world, and the photos are measured by InsightFace",
        ),
    ],
)
def test_what_the_files_do_not_allow_is_refused_before_the_first_image(
    photos: Photos, changes: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert photos(**changes) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in said and "inputs cannot be used" not in said
    assert not (photos.out / "images").exists()


def test_a_prompt_without_its_star_is_refused_before_the_first_image(
    photos: Photos, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ColourRecogniser("tiny-world", 1)  # as the Dense-Face file wants it
    monkeypatch.setattr(evaluate_photos, "recogniser_of", lambda _: own)
    dense: dict[str, Any] = {"dense_face": "dense.safetensors", "identity_adapter": None}
    alone = {**dense, "expression_adapter": None, "word": None}
    assert photos(**alone, prompt=["a photo of *", "a photo"]) == 2
    assert "*" in capsys.readouterr().err and not (photos.out / "images").exists()
    assert photos(**alone, prompt="a photo of *") == 0


@pytest.mark.usefixtures("no_base")
@pytest.mark.parametrize(("name", "seed"), [("buffalo_l", 3), ("insightface/renamed", 1)])
def test_the_conditioning_recogniser_does_not_evaluate(
    photos: Photos,
    name: str,
    seed: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    same = ColourRecogniser(name, seed)
    monkeypatch.setattr(evaluate_photos, "evaluator_of", lambda _: same)
    assert photos() == 2
    assert f"the evaluator {name} also measures what the adapters read" in capsys.readouterr().err


def test_each_image_is_conditioned_on_its_person(
    photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[torch.Tensor] = []
    inputs = evaluate_photos_drawing.real_inputs

    def recorded(args: Any, loaded: Any, people: Any, *more: Any, **others: Any) -> Any:
        given.append(torch.stack([one.vector for one in people]))
        return inputs(args, loaded, people, *more, **others)

    monkeypatch.setattr(evaluate_photos_drawing, "real_inputs", recorded)
    assert photos(word="joy") == 0
    ada, ben, eve = given[-3:]
    assert [len(each) for each in (ada, ben, eve)] == [2, 1, 1]
    assert float((ben @ eve.T).max()) < 0.9 and float((ada @ ben.T).max()) < 0.9


def test_without_adapters_anybody_is_drawn(photos: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    """A control: no word by default then, and no person, so any recogniser may evaluate."""
    same = ColourRecogniser(EVALUATOR, 2)
    monkeypatch.setattr(evaluate_photos, "recogniser_of", lambda _: same)
    (photos.references / "ada" / "1.png").unlink()
    none = dict.fromkeys(("identity_adapter", "expression_adapter", "word", "prompt"))
    assert photos(**none) == 0
    rows = photos.rows
    assert len(rows) == 9 and {row["word"] for row in rows} == {""}
    assert {row["units_error"] for row in rows} == {""}
    assert photos.summary["ceiling"] is None and photos.summary["metrics"]["units_error"] is None


def test_lists_in_files(photos: Photos, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("Joy\n\nanger\njoy\n", encoding="utf-8")
    (tmp_path / "prompts.txt").write_text("a man\na woman\n", encoding="utf-8")
    assert photos(word=None, words=tmp_path / "words.txt", prompts=tmp_path / "prompts.txt") == 0
    assert [(row["prompt"], row["word"]) for row in photos.rows[:6]] == [
        (prompt, word) for prompt in ("a photo of a person", "a man", "a woman")
        for word in ("joy", "anger")
    ]  # fmt: skip


def test_a_change_in_the_scene_is_seen(photos: Photos) -> None:
    """The measuring, by an image altered by hand in its corner, with its settings kept."""
    assert photos(scene="scene.png", word="joy") == 0
    name = next(iter(photos.images))
    path = photos.out / "images" / name
    with Image.open(path) as file:
        about = json.loads(file.info["denseface"])
    image = tensor_of(open_rgb(path))
    image[..., 0, 0] = 1 - image[..., 0, 0].round()
    write_image(path, image, about)
    assert photos(scene="scene.png", word="joy") == 0
    changed = {row["image"]: float(row["background_change"]) for row in photos.rows}
    assert changed.pop(name) > 100 and set(changed.values()) == {0.0}


def test_insightface_itself_and_an_evaluator_of_one_file(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("insightface")
    pytest.importorskip("onnx")
    from real_files import write_photos
    from tiny_onnx import write_recogniser, write_sface, write_yunet

    write_photos(tmp_path)
    (tmp_path / "people").mkdir()
    for name in ("photo.png", "other_photo.png"):
        (tmp_path / name).rename(tmp_path / "people" / name)
    write_recogniser(tmp_path / "glintr100.onnx", seed=1)
    (tmp_path / "mine.onnx").write_bytes((tmp_path / "buffalo" / "w600k_r50.onnx").read_bytes())
    photos = Photos(command, tmp_path)
    photos.usual |= {"insightface": tmp_path / "buffalo", "word": "joy"}
    assert photos(evaluator=tmp_path / "mine.onnx") == 2
    assert "the evaluator insightface/mine also measures" in capsys.readouterr().err
    assert photos(evaluator=tmp_path / "glintr100.onnx") == 0
    said = capsys.readouterr()
    assert "without --landmarker expressions are not measured" in said.err
    assert "no ceiling: nobody has two photos" in said.out
    assert [row["face_found"] for row in photos.rows] == ["0.0", "0.0"]  # no red square
    assert [row["identity_top1"] for row in photos.rows] == ["0.0", "0.0"]
    assert {row["identity_cosine"] for row in photos.rows} == {""}
    assert set(photos.summary["settings"]["files"]["insightface"]) == {
        "1k3d68.onnx", "det_10g.onnx", "w600k_r50.onnx"
    }  # fmt: skip
    write_yunet(tmp_path / "yunet.onnx", 640)
    write_sface(tmp_path / "sface.onnx")
    files = {"yunet": tmp_path / "yunet.onnx", "evaluator": tmp_path / "sface.onnx"}
    photos.out = tmp_path / "found_by_yunet"
    assert photos(**files, out=photos.out) == 0
    assert set(photos.summary["settings"]["files"]["yunet"]) == {"yunet.onnx"}
    assert set(photos.summary["evaluator"]) == {"sface.onnx"}


def test_the_pasted_mask_is_where_a_scene_changes() -> None:
    image = torch.rand(3, 90, 70, generator=torch.Generator().manual_seed(0))
    face = manual_face((70, 90), box=(20, 25, 50, 60))
    crop = scene_crop(image, face, 64)
    changed = (crop.paste(1 - crop.crop)[0] != image).any(0)
    mask = crop.pasted_mask()
    assert torch.equal(changed, mask > 0)
    assert 0 < int(changed.sum()) < changed.numel() and float(mask.max()) == 1

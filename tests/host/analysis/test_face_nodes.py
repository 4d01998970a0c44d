"""Detect, crop, paste, mask and draw: on the real insightface with tiny models.

A face is a red square of 16 pixels on the detector's grid; its box reaches 48 pixels around it.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from in_host import Tiny
from landmarker_file import landmarker_file
from torch import Tensor
from torch.nn import functional as F

pytest.importorskip("insightface")
pytest.importorskip("onnx")

SIDE = 320
THREE = ((208, 64), (64, 160), (160, 208))
TWELVE = tuple((x, y) for y in (32, 144, 256) for x in (16, 96, 192, 272))


@pytest.fixture(scope="module")
def analyzer(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Any:
    import numpy as np
    from insightface.data import get_object
    from tiny_onnx import write_detector, write_landmarks, write_recogniser

    folder = tmp_path_factory.mktemp("packs") / "tiny"
    folder.mkdir()
    write_detector(folder / "det.onnx")
    write_recogniser(folder / "rec.onnx")
    write_landmarks(folder / "lmk.onnx", np.asarray(get_object("meanshape_68.pkl")))
    finder = tiny.module("faces.insightface.analyzer").InsightFaceAnalyzer(
        folder, detection_size=SIDE
    )
    return tiny.module("nodes.sockets").LoadedAnalyzer(None, finder.encoder, finder)


def squares(*places: tuple[int, int], seed: int = 0) -> Tensor:
    """IMAGE of one soft grey image with these red squares."""
    noise = torch.rand(1, 1, 20, 20, generator=torch.Generator().manual_seed(seed))
    grey = 0.3 + 0.3 * F.interpolate(noise, (SIDE, SIDE), mode="bicubic").clamp(0, 1)
    result = grey.repeat(1, 3, 1, 1)
    for x, y in places:
        result[0, :, y : y + 16, x : x + 16] = torch.tensor([1.0, 0, 0])[:, None, None]
    return result.movedim(1, -1).contiguous()


def detect(tiny: Tiny, analyzer: Any, image: Tensor, **changes: Any) -> Any:
    inputs = {
        "order": "left to right",
        "face_index": -1,
        "min_score": 0.0,
        "min_size": 0,
        "on_missing": "error",
        "retry": True,
    }
    return tiny.run("DetectFaces", analyzer, image, **{**inputs, **changes})


def lefts(faces: Any) -> list[list[float]]:
    return [[round(face.box[0]) for face in some] for some in faces.images]


# ---- detect ------------------------------------------------------------------------------------


def test_three_faces_in_order_and_by_index(tiny: Tiny, analyzer: Any) -> None:
    image = squares(*THREE)
    faces, count, preview, same, report = detect(tiny, analyzer, image)
    assert lefts(faces) == [[16, 112, 160]] and count == 3
    assert same is image and report == "1 of 1 images with a face, 3 faces"
    assert preview.shape == (1, 512, 512, 3)
    down = detect(tiny, analyzer, image, order="top to bottom")[0]
    assert lefts(down) == [[160, 16, 112]]
    one, count, *_ = detect(tiny, analyzer, image, face_index=1)
    assert lefts(one) == [[112]] and one.numbers == ((1,),) and count == 1
    with pytest.raises(ValueError, match=r"face index 3 does not exist: 3 faces found \(Detect"):
        detect(tiny, analyzer, image, face_index=3)


def test_the_picker_gets_fractions_of_the_image(tiny: Tiny, analyzer: Any) -> None:
    """The preview that it shows is larger than a small image."""
    node = tiny.module("nodes.analysis.detect").DetectFaces
    image = squares((64, 112))[:, :240]
    with torch.inference_mode():
        ui = node.execute(analyzer, image, "left to right", -1, 0.0, 0, "error", True).ui
    ((box,),) = ui["face_boxes"]
    assert box == pytest.approx([16 / SIDE, 64 / 240, 96 / SIDE, 96 / 240], abs=0.01)


def test_limits_leave_out_after_counting(tiny: Tiny, analyzer: Any) -> None:
    image = squares(*THREE)
    with pytest.raises(ValueError, match="3 faces found, but too unsure or too small"):
        detect(tiny, analyzer, image, min_size=97)
    assert detect(tiny, analyzer, image, min_size=96)[1] == 3
    image[0, 64:80, 208:224, 0] = 0.97  # less red, less sure
    sure = [face.score for face in detect(tiny, analyzer, image)[0].images[0]]
    kept = detect(tiny, analyzer, image, min_score=(sure[0] + sure[2]) / 2)[0]
    assert sure[2] < sure[0] and kept.numbers == ((0, 1),)


def test_a_batch_shows_its_progress_and_can_be_stopped(
    tiny: Tiny, analyzer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.model_management as mm
    import comfy.utils

    seen: list[tuple[int, int]] = []

    def hook(value: int, total: int, *_: Any, **__: Any) -> None:
        seen.append((value, total))
        if seen[-1] == (1, 4):
            mm.interrupt_current_processing()

    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
    images = squares((64, 64))
    detect(tiny, analyzer, images.repeat(3, 1, 1, 1))
    # The host hands on the first and the last step always, those between not too often.
    assert seen[0] == (1, 3) and seen[-1] == (3, 3)
    seen.clear()
    with pytest.raises(mm.InterruptProcessingException):
        detect(tiny, analyzer, images.repeat(4, 1, 1, 1))
    assert seen == [(1, 4)]


BAD = torch.cat([squares(), torch.full((1, SIDE, SIDE, 3), float("nan")), 255 * squares((64, 64))])
TROUBLES = (
    "image 2: no face was found; image 3: the image holds values that are not numbers; "
    "image 4: the image holds values from"
)


@pytest.fixture(scope="module")
def partly_bad() -> Tensor:
    return torch.cat([squares((64, 64)), BAD, squares(*THREE)])


def test_error_names_every_bad_image(tiny: Tiny, analyzer: Any, partly_bad: Tensor) -> None:
    with pytest.raises(ValueError, match=TROUBLES) as message:
        detect(tiny, analyzer, partly_bad)
    assert "(Detect Faces). Use other images, or choose skip or pass through." in str(message.value)


def test_skip_leaves_out_the_bad_ones_only(tiny: Tiny, analyzer: Any, partly_bad: Tensor) -> None:
    faces, count, preview, image, report = detect(tiny, analyzer, partly_bad, on_missing="skip")
    assert lefts(faces) == [[16], [16, 112, 160]] and count == 4
    assert torch.equal(image, partly_bad[[0, 4]])
    assert len(preview) == 5 and bool(preview.isfinite().all())
    assert report.startswith("2 of 5 images with a face, 4 faces; " + TROUBLES)


def test_pass_through_keeps_all(tiny: Tiny, analyzer: Any, partly_bad: Tensor) -> None:
    faces, count, _, image, _ = detect(tiny, analyzer, partly_bad, on_missing="pass through")
    assert [len(some) for some in faces.images] == [1, 0, 0, 0, 3] and count == 4
    assert image is partly_bad


def test_twenty_images_with_two_bad_ones_give_eighteen(tiny: Tiny, analyzer: Any) -> None:
    image = torch.cat([squares(*(() if i in (3, 11) else ((64, 64),)), seed=i) for i in range(20)])
    faces, _, _, left, report = detect(tiny, analyzer, image, on_missing="skip")
    crops, placed = tiny.run("CropFace", faces, left, 64, 0.0)
    done = tiny.run("PasteFace", left, 1 - crops, placed, 0.06, False)
    assert len(crops) == len(done) == 18 and report.startswith("18 of 20 images with a face")
    assert "image 4: no face was found; image 12: no face was found" in report


def test_skip_with_nothing_left_stops_what_follows(tiny: Tiny, analyzer: Any) -> None:
    from comfy_execution.graph_utils import ExecutionBlocker

    faces, count, preview, image, report = detect(tiny, analyzer, squares(), on_missing="skip")
    for value in (faces, image):
        assert isinstance(value, ExecutionBlocker) and value.message is None
    assert count == 0 and len(preview) == 1
    assert report == "0 of 1 images with a face, 0 faces; no face was found"


def test_twelve_faces(tiny: Tiny, analyzer: Any) -> None:
    faces, count, *_ = detect(tiny, analyzer, squares(*TWELVE))
    assert count == 12
    crops, placed = tiny.run("CropFace", faces, squares(*TWELVE), 32, 0.0)
    assert crops.shape == (12, 32, 32, 3) and len(placed.places[0]) == 12


def one_trouble(image: Tensor, sentence: str) -> Any:
    return pytest.param(image, sentence, id=sentence[:24])


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        one_trouble(torch.zeros(0, 64, 64, 3), "the image is empty"),
        one_trouble(torch.rand(1, 1, 1, 3) / 2, "no face was found"),
        one_trouble(squares() * float("inf"), "values that are not numbers"),
        one_trouble(255 * squares((64, 64)), "instead of 0 to 1"),
        one_trouble((255 * squares()).byte(), "uint8 values"),
        one_trouble(squares()[..., :2], "an image has the shape"),
        one_trouble(squares((64, 64))[..., :1], "no face was found"),  # grey: nothing is red
    ],
)
def test_bad_images_are_one_sentence(
    tiny: Tiny, analyzer: Any, image: Tensor, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence) as message:
        detect(tiny, analyzer, image)
    assert "(Detect Faces)." in str(message.value) and "\n" not in str(message.value)


def test_alpha_is_no_obstacle(tiny: Tiny, analyzer: Any) -> None:
    rgba = torch.cat([squares((64, 64)), torch.rand(1, SIDE, SIDE, 1)], -1)
    faces, *_ = detect(tiny, analyzer, rgba)
    crops, placed = tiny.run("CropFace", faces, rgba, 64, 0.0)
    done = tiny.run("PasteFace", rgba, 1 - crops, placed, 0.06, False)
    assert crops.shape[-1] == 3 and torch.equal(done[..., 3], rgba[..., 3])


# ---- crop and paste ----------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [0.0, 0.25])
def test_unchanged_crops_come_back(tiny: Tiny, analyzer: Any, padding: float) -> None:
    image = squares(*THREE)
    faces, *_ = detect(tiny, analyzer, image)
    crops, placed = tiny.run("CropFace", faces, image, 512, padding)
    done = tiny.run("PasteFace", image, crops, placed, 0.06, False)
    changed = (done != image).any(-1)
    assert int(changed.sum()) > 0
    assert float((done - image).abs()[changed].mean()) < 1.5 / 255
    negative = tiny.run("PasteFace", image, 1 - crops, placed, 0.06, False)
    y, x = torch.meshgrid(*[torch.arange(SIDE) + 0.5] * 2, indexing="ij")
    outside = torch.ones(SIDE, SIDE, dtype=torch.bool)
    for place in placed.places[0]:
        inside = place.points_in_crop(torch.stack([x, y], -1).reshape(-1, 2)).reshape(SIDE, SIDE, 2)
        outside &= ((inside < 0) | (inside > 512)).any(-1)
    assert torch.equal(negative[:, outside], image[:, outside])
    assert not torch.equal(negative[:, ~outside], image[:, ~outside])


def test_images_without_a_face_pass_through(tiny: Tiny, analyzer: Any) -> None:
    image = torch.cat([squares(), squares((64, 64))])
    faces, _, _, image, _ = detect(tiny, analyzer, image, on_missing="pass through")
    crops, placed = tiny.run("CropFace", faces, image, 64, 0.0)
    done = tiny.run("PasteFace", image, 1 - crops, placed, 0.06, False)
    assert len(crops) == 1 and torch.equal(done[0], image[0]) and not torch.equal(done, image)
    alone = detect(tiny, analyzer, image[:1], on_missing="pass through")[0]
    crops, placed = tiny.run("CropFace", alone, image[:1], 64, 0.0)
    assert crops.shape == (1, 64, 64, 3) and not bool(crops.any())
    assert torch.equal(tiny.run("PasteFace", image[:1], crops, placed, 0.06, False), image[:1])


def test_several_crops_of_one_face(tiny: Tiny, analyzer: Any) -> None:
    image = squares((64, 64))
    _, placed = tiny.run("CropFace", detect(tiny, analyzer, image)[0], image, 64, 0.0)
    done = tiny.run("PasteFace", image, torch.rand(4, 96, 96, 3), placed, 0.06, False)
    assert done.shape == (4, SIDE, SIDE, 3)


def test_mismatched_inputs_are_refused(tiny: Tiny, analyzer: Any) -> None:
    image = squares((64, 64))
    faces, *_ = detect(tiny, analyzer, image)
    with pytest.raises(ValueError, match="found in an image of 320x320 px, this one has 160x320"):
        tiny.run("CropFace", faces, image[:, :, :160], 64, 0.0)
    with pytest.raises(ValueError, match=r"these faces were not cropped \(Paste Face\)"):
        tiny.run("PasteFace", image, image, faces, 0.06, False)
    crops, placed = tiny.run("CropFace", faces, image, 64, 0.0)
    with pytest.raises(ValueError, match="image of 320x320 px, this one has 160x320"):
        tiny.run("PasteFace", image[:, :, :160], crops, placed, 0.06, False)
    with pytest.raises(ValueError, match="faces are those of 2 images, the batch has 3"):
        two = detect(tiny, analyzer, image.repeat(2, 1, 1, 1))[0]
        tiny.run("CropFace", two, image.repeat(3, 1, 1, 1), 64, 0.0)


# ---- masks and drawings ------------------------------------------------------------------------


def mask(tiny: Tiny, faces: Any, image: Tensor, one_for: str = "a picture", **changes: Any) -> Any:
    switches = {"face": True, "eyes": False, "brows": False, "nose": False, "mouth": False}
    inputs = {"grow": 0.0, "feather": 0.0, **switches}
    return tiny.run("MaskFaces", faces, image, one_for, **{**inputs, **changes})


def test_masks_for_images_faces_and_crops(tiny: Tiny, analyzer: Any) -> None:
    image = torch.cat([squares(*THREE), squares()])
    faces, *_ = detect(tiny, analyzer, image, on_missing="pass through")
    whole = mask(tiny, faces, image)
    assert whole.shape == (2, SIDE, SIDE) and not bool(whole[1].any())
    each = mask(tiny, faces, image, "a face")
    assert len(each) == 3 and torch.equal(each.amax(0), whole[0])
    with pytest.raises(ValueError, match=r"not cropped \(Mask from Faces\)"):
        mask(tiny, faces, image, "a crop")
    crops, placed = tiny.run("CropFace", faces, image, 96, 0.0)
    on_crops = mask(tiny, placed, image, "a crop", feather=4.0)
    assert on_crops.shape == (3, 96, 96)
    done = tiny.run("PasteFace", image, 1 - crops, placed, 0.0, False, on_crops)
    changed = (done[0] != image[0]).any(-1)
    beyond = mask(tiny, faces, image, grow=0.05)[0] == 0
    assert bool(changed.any()) and not bool((changed & beyond).any())


def test_parts_of_faces(tiny: Tiny, analyzer: Any) -> None:
    image = squares((160, 160))
    faces, *_ = detect(tiny, analyzer, image)
    eyes = mask(tiny, faces, image, face=False, eyes=True)
    assert 0 < float(eyes.sum()) < float(mask(tiny, faces, image).sum())
    wide = mask(tiny, faces, image, face=False, eyes=True, grow=0.1)
    assert float(wide.sum()) > float(eyes.sum())
    with pytest.raises(ValueError, match="no part of the face was chosen"):
        mask(tiny, faces, image, face=False)
    none = detect(tiny, analyzer, squares(), on_missing="pass through")[0]
    assert mask(tiny, none, image, "a face").shape == (1, SIDE, SIDE)


def test_drawing_names_faces_as_detection_does(tiny: Tiny, analyzer: Any) -> None:
    image = squares(*THREE)
    faces, *_ = detect(tiny, analyzer, image, face_index=2)
    drawn = tiny.run("DrawFaces", faces, image, True, False, False, False)
    changed = (drawn != image).any(-1)[0]
    assert bool(changed[:, 150:].any()) and not bool(changed[:, :150].any())
    numbered = tiny.run("DrawFaces", faces, image, False, True, False, False)
    renamed = type(faces)(faces.images)
    assert not torch.equal(
        numbered, tiny.run("DrawFaces", renamed, image, False, True, False, False)
    )
    with pytest.raises(ValueError, match="this one has 320x160"):
        tiny.run("DrawFaces", faces, image[:, :160], True, True, True, True)


# ---- a photograph ------------------------------------------------------------------------------


def test_three_faces_of_a_photograph_by_the_landmarker(tiny: Tiny) -> None:
    file = landmarker_file()
    data = pytest.importorskip("skimage.data")
    head = torch.from_numpy(data.astronaut()[:256, 100:356].copy())[None].float() / 255
    image = torch.cat([head, head.flip(2), head], 2)
    finder = tiny.module("faces.mediapipe.landmarker").Landmarker(file)
    landmarker = tiny.module("nodes.sockets").LoadedAnalyzer(None, "", finder)
    faces, count, *_ = detect(tiny, landmarker, image)
    assert count == 3 and [face.scheme for face in faces.images[0]] == ["mesh"] * 3
    crops, placed = tiny.run("CropFace", faces, image, 512, 0.25)
    done = tiny.run("PasteFace", image, crops, placed, 0.06, False)
    changed = (done != image).any(-1)
    assert float((done - image).abs()[changed].mean()) < 1.5 / 255
    eyes = mask(tiny, placed, image, "a crop", face=False, eyes=True)
    for one in eyes:  # level, and above the middle: the crops are upright
        rows = one.sum(1).nonzero()
        assert int(rows.min()) > 150 and int(rows.max()) < 260 and len(rows) < 60
    agreement, text = tiny.run("MeasureExpression", landmarker, head.flip(2), head.flip(2))
    assert agreement == pytest.approx(1, abs=1e-3) and "by landmarker" in text
    with pytest.raises(ValueError, match="no encoder was chosen"):
        tiny.run("MeasureLikeness", landmarker, head, head)

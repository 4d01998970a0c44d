"""Nodes that load analyzers, convert other nodes' faces, and save identities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from in_host import Tiny
from torch import Tensor

DEFAULTS = {
    "task_file": "first one found",
    "insightface_pack": "first one found",
    "pose_file": "first one found",
    "threshold": 0.5,
    "detection_size": 320,
    "look_twice": True,
}
ENCODER = {
    "ir_se50_file": "first one found",
    "insightface_pack": "first one found",
    "channel_order": "RGB",
    "alignment": "five points",
}


@pytest.fixture
def places(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty model and output folders of the host."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path / "models"))
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path / "output"))
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", {})
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    tiny.module("nodes.host.folders").register_folders()
    return tmp_path


@pytest.fixture
def grey() -> Tensor:
    return torch.full((2, 60, 80, 3), 0.5)


def load(tiny: Tiny, finder: str, **changes: Any) -> Any:
    return tiny.run("LoadAnalyzer", **{"finder": finder, **DEFAULTS, **changes})


def manual_face(tiny: Tiny, image: Tensor, **changes: Any) -> Any:
    box = {"x": 10, "y": 5, "width": 40, "height": 50}
    angles = {"yaw": 0.0, "pitch": 0.0, "roll": 0.0}
    rest = {"five_points": "", "pose_known": False}
    return tiny.run("FacesByHand", **{"image": image, **box, **rest, **angles, **changes})


POINTS = "20, 20; 40, 20; 30, 30; 22, 40; 38, 40"

# ---- loaders -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("finder", "said"),
    [
        ("landmarker", ["face_landmarker_v2_with_blendshapes.task", "dense_face", "Apache-2.0"]),
        ("insightface", ["buffalo_l", "insightface", "non-commercial research"]),
        ("6DRepNet", ["6DRepNet_300W_LP_AFLW2000.pth", "dense_face", "research data"]),
        ("YuNet", ["face_detection_yunet_2023mar.onnx", "dense_face", "MIT"]),
    ],
)
def test_a_missing_model_is_explained(
    tiny: Tiny, places: Path, finder: str, said: list[str]
) -> None:
    """Which file, which folder, where from, its licence, what works without it."""
    with pytest.raises(ValueError, match="is missing") as error:
        load(tiny, finder)
    text = str(error.value)
    assert str(places / "models") in text and "\n" not in text
    for words in (*said, "Without it", "published at https://"):
        assert words in text
    cls = next(n for n in tiny.module("nodes").NODES if n.__name__ == "LoadAnalyzer")
    assert cls.fingerprint_inputs(finder=finder, **DEFAULTS) == ""


def test_a_missing_encoder_is_explained(tiny: Tiny, places: Path) -> None:
    analyzer = tiny.module("nodes.sockets").LoadedAnalyzer(None, "")
    with pytest.raises(ValueError, match=r"IR-SE50 file is missing .*MIT.*ir_se50.safetensors"):
        tiny.run("LoadEncoder", analyzer, "IR-SE50", **ENCODER)
    with pytest.raises(ValueError, match=r"pack antelopev2 is missing .*insightface"):
        tiny.run(
            "LoadEncoder", analyzer, "insightface", **{**ENCODER, "insightface_pack": "antelopev2"}
        )
    with pytest.raises(ValueError, match=r"SFace file is missing .*2021dec\.onnx.*Apache-2\.0"):
        tiny.run("LoadEncoder", analyzer, "SFace", **ENCODER)


@pytest.mark.parametrize(
    "name", ["ip-adapter-faceid_sd15.bin", "sd15_attn_processors.ckpt", "sd15_au_encoder.ckpt"]
)
def test_a_missing_file_names_page_and_licence(tiny: Tiny, places: Path, name: str) -> None:
    published = tiny.module("published_files").download_of(name)
    with pytest.raises(ValueError, match=r"IP-Adapter .* is missing .*ipadapter") as error:
        tiny.run("LoadSFSRAdapter", adapter_name=f"ipadapter/{name}")
    assert published.page in str(error.value) and published.licence in str(error.value)


def test_no_adapter_at_all(tiny: Tiny, places: Path) -> None:
    with pytest.raises(ValueError, match="there is no SFSR adapter yet") as error:
        tiny.run("LoadSFSRAdapter", adapter_name="none yet")
    for key in ("faceid", "fineface"):
        assert tiny.module("published_files").BY_KEY[key].where_to_get in str(error.value)


def test_files_that_are_something_else(tiny: Tiny, places: Path) -> None:
    folder = places / "models" / "dense_face"
    (folder / "face_landmarker.task").write_text("no zip")
    with pytest.raises(ValueError, match=r"not a \.task file"):
        load(tiny, "landmarker")
    torch.save({"a": torch.ones(1)}, folder / "6DRepNet.pth")
    with pytest.raises(ValueError, match=r"6DRepNet in 6DRepNet\.pth lacks"):
        load(tiny, "6DRepNet")
    torch.save({"a": torch.ones(1)}, folder / "model_ir_se50.pth")
    with pytest.raises(ValueError, match=r"IR-SE50 in model_ir_se50\.pth lacks"):
        tiny.run("LoadEncoder", load(tiny, "tiny world"), "IR-SE50", **ENCODER)
    # Files of analyzers are no adapters.
    assert tiny.module("nodes.host.folders").list_files("dense_face") == []


def test_insightface_packs_of_all_places(tiny: Tiny, places: Path) -> None:
    import folder_paths

    packs = tiny.module("nodes.host.face_models").insight_packs
    for folder in ("models/insightface/models/buffalo_l", "models/insightface/models/a/a", "own/b"):
        (places / folder).mkdir(parents=True)
        (places / folder / "det.onnx").touch()
    (places / "models/insightface/models/empty").mkdir()
    assert packs() == {
        "a": places / "models/insightface/models/a",
        "buffalo_l": places / "models/insightface/models/buffalo_l",
    }
    folder_paths.folder_names_and_paths["insightface"] = ([str(places / "own")], set())
    assert list(packs()) == ["b", "a", "buffalo_l"]
    resolved = tiny.module("nodes.host.face_models").insight_pack("a")
    assert resolved == places / "models/insightface/models/a/a"


def test_insightface_from_its_folder(tiny: Tiny, places: Path) -> None:
    pytest.importorskip("insightface")
    pytest.importorskip("onnx")
    from tiny_onnx import write_detector, write_recogniser

    folder = places / "models/insightface/models/tiny"
    folder.mkdir(parents=True)
    write_detector(folder / "det.onnx")
    write_recogniser(folder / "rec.onnx")
    analyzer = load(tiny, "insightface")
    image = torch.full((1, 320, 320, 3), 0.5)
    image[0, 64:80, 160:176] = torch.tensor([1.0, 0, 0])
    people, score, report = tiny.run("EncodeIdentity", analyzer, image, "one person")
    assert people.identities[0].encoder == "insightface/rec" and score > 0.5
    assert report.startswith("1 of 1 images with a face")
    # The same recogniser, with the detector's points typed in.
    points = "144.5 48.5 176.5 48.5 160.5 64.5 147.7 80.5 173.3 80.5"
    faces = manual_face(tiny, image, five_points=points, width=0, height=0)
    other = tiny.run("LoadEncoder", load(tiny, "tiny world"), "insightface", **ENCODER)
    again, *_ = tiny.run("EncodeIdentity", other, image, "one person", faces)
    assert float(again.vectors[0] @ people.vectors[0]) > 0.999


def test_likeness_by_yunet_and_sface(tiny: Tiny, places: Path) -> None:
    """Found and recognised without InsightFace; the same files are no adapters."""
    pytest.importorskip("onnx")
    from tiny_onnx import write_sface, write_yunet

    folder = places / "models" / "dense_face"
    write_yunet(folder / "face_detection_yunet_2023mar.onnx", 640)
    write_sface(folder / "face_recognition_sface_2021dec.onnx")
    finder = load(tiny, "YuNet")
    image = torch.full((1, 320, 320, 3), 0.5)
    image[0, 64:80, 160:176] = torch.tensor([1.0, 0, 0])
    with pytest.raises(ValueError, match=r"without an identity.*Load Face Encoder"):
        tiny.run("EncodeIdentity", finder, image, "one person")
    analyzer = tiny.run("LoadEncoder", finder, "SFace", **ENCODER)
    likeness, text, _ = tiny.run("MeasureLikeness", analyzer, image, image)
    assert likeness == pytest.approx(1, abs=1e-5) and "by opencv/sface" in text
    masks = tiny.run("FaceMask", finder, image, "face", 0.0, 0.0)
    assert masks[0, 64:80, 160:176].min() == 1
    nodes = {node.__name__: node for node in tiny.module("nodes").NODES}
    mark = nodes["LoadAnalyzer"].fingerprint_inputs(finder="YuNet", **DEFAULTS)
    assert mark and mark != nodes["LoadEncoder"].fingerprint_inputs(encoder="SFace", **ENCODER)


def test_networks_are_managed_by_the_host(
    tiny: Tiny, places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host loads and unloads IR-SE50 and 6DRepNet."""
    import comfy.model_management as mm

    module = tiny.module("nodes.host.encoder")
    six_d = tiny.module("faces.encoders.six_d_rep_net")

    class Small(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(3, 6)

        def forward(self, images: Tensor) -> Tensor:
            return six_d.rotation_from_6d(self.layer(images.mean((2, 3))))

    monkeypatch.setattr(module, "load_six_d_rep_net", lambda path: Small().eval())
    network = module.load_pose_network(Path("x"))
    loaded = []
    inner = mm.load_models_gpu
    monkeypatch.setattr(mm, "load_models_gpu", lambda m, **k: loaded.extend(m) or inner(m, **k))
    (face,) = network.find(torch.rand(3, 50, 40))
    assert face.pose is not None and len(loaded) == 1 and isinstance(loaded[0].model, Small)


# ---- faces of other nodes-----------------------------------------------------------------------


def test_a_graph_runs_without_any_model(tiny: Tiny, grey: Tensor) -> None:
    faces = manual_face(tiny, grey, pose_known=True, yaw=25.0, pitch=-10.0, roll=5.0)
    assert len(faces) == 2 and faces.images[0][0].box == (10, 5, 50, 55)
    poses, image, yaw, pitch, roll = tiny.run("PoseFromFaces", faces, 128)
    assert (yaw, pitch, roll) == pytest.approx((25, -10, 5), abs=1e-6)
    assert len(poses) == 2 and image.shape == (2, 128, 128, 3)
    pointed = manual_face(tiny, grey, five_points=POINTS, width=0, height=0)
    assert pointed.images[0][0].require_five()[2].tolist() == [30, 30]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0, "height": 0}, "neither a box nor points"),
        ({"width": 0}, "is empty"),
        ({"five_points": "1 2 3"}, "ten numbers, 3 were given"),
        ({"five_points": "a b"}, "not numbers"),
        ({"image": torch.zeros(0, 8, 8, 3)}, "image is empty"),
    ],
)
def test_numbers_that_are_no_face(
    tiny: Tiny, grey: Tensor, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        manual_face(tiny, changes.pop("image", grey), **changes)


def test_faces_of_the_host(tiny: Tiny, grey: Tensor) -> None:
    points = torch.rand(478, 2) * 50
    frames = [[{"landmarks_xy": points.numpy(), "score": 0.9}], []]
    value = {"frames": frames, "image_size": (60, 80)}
    faces = tiny.run("FacesFromLandmarks", value)
    assert [len(found) for found in faces.images] == [1, 0]
    box = {"x": 1, "y": 2, "width": 30, "height": 40}
    faces = tiny.run("FacesFromBoxes", [[box], [box, box]], grey)
    assert [len(found) for found in faces.images] == [1, 2]
    with pytest.raises(ValueError, match="no frames"):
        tiny.run("FacesFromLandmarks", {"someday": 1})


def test_poses_that_cannot_be_read(tiny: Tiny, grey: Tensor) -> None:
    with pytest.raises(ValueError, match=r"face in image 1 comes without a head pose"):
        tiny.run("PoseFromFaces", manual_face(tiny, grey), 128)
    posed = manual_face(tiny, grey, pose_known=True)
    with pytest.raises(ValueError, match="face index 3 does not exist: 1 face found"):
        tiny.run("PoseFromFaces", posed, 128, 3)


def test_reading_of_the_papers_estimator(tiny: Tiny, grey: Tensor) -> None:
    posed = manual_face(tiny, grey, pose_known=True, yaw=30.0)
    *_, yaw, pitch, _ = tiny.run("PoseFromFaces", posed, 128, 0, "as 6DRepNet reads it")
    assert yaw == pytest.approx(1.22 * 30 - 0.7, abs=0.3)
    assert pitch == pytest.approx(-4.6 / 0.8, abs=2)
    # What 6DRepNet itself measured is not converted again.
    from dataclasses import replace

    own = replace(posed.images[0][0], source="6drepnet")
    faces = type(posed)(((own,),))
    *_, yaw, _, _ = tiny.run("PoseFromFaces", faces, 128, 0, "as 6DRepNet reads it")
    assert yaw == pytest.approx(30, abs=1e-6)


def test_another_packs_model(tiny: Tiny) -> None:
    class Model:
        def get(self, image: Any) -> list[Any]:
            return []

    analyzer = tiny.run("AnalyzerFromPack", Model())
    assert analyzer.find(torch.zeros(3, 20, 20)) == []
    with pytest.raises(ValueError, match="finds no faces"):
        tiny.run("AnalyzerFromPack", object())


# ---- identities --------------------------------------------------------------------------------


def test_identity_needs_an_encoder_that_makes_one(tiny: Tiny, grey: Tensor) -> None:
    finder_only = tiny.module("nodes.sockets").LoadedAnalyzer(None, "", object())
    with pytest.raises(ValueError, match=r"without an identity.*Load Face Encoder"):
        tiny.run("EncodeIdentity", finder_only, grey, "one person", manual_face(tiny, grey))
    with pytest.raises(ValueError, match="face index 2 does not exist"):
        tiny.run("EncodeIdentity", finder_only, grey, "one person", manual_face(tiny, grey), 2)
    three = torch.cat([grey, grey[:1]])
    with pytest.raises(ValueError, match="faces are those of 2 images, the batch has 3"):
        tiny.run("EncodeIdentity", finder_only, three, "one person", manual_face(tiny, grey))


def test_identities_of_another_analyzer_are_not_taken(tiny: Tiny, grey: Tensor) -> None:
    from dataclasses import replace

    faces = manual_face(tiny, grey)
    (who,) = tiny.people(1, encoder="insightface/buffalo_l").identities
    known = type(faces)(((replace(faces.images[0][0], identity=who),),))
    analyzer = tiny.module("nodes.sockets").LoadedAnalyzer
    with pytest.raises(ValueError, match=r"encoded by 'insightface/buffalo_l'.*'tiny-world'"):
        tiny.run("EncodeIdentity", analyzer(None, "tiny-world"), grey, "one person", known)
    same = analyzer(None, "insightface/w600k_r50")
    tiny.run("EncodeIdentity", same, grey, "one person", known)
    people, *_ = tiny.run("EncodeIdentity", analyzer(None, ""), grey, "one person", known)
    assert people.identities[0].encoder == "insightface/buffalo_l"


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.full((1, 8, 8, 3), float("nan")), "not numbers"),
        (torch.full((1, 8, 8, 3), float("inf")), "not numbers"),
        (torch.full((1, 8, 8, 3), 255.0), "from 255 to 255 instead of 0 to 1"),
        (torch.zeros(1, 8, 8, 3, dtype=torch.uint8), "uint8 values"),
        (torch.zeros(0, 8, 8, 3), "image is empty"),
        (torch.zeros(1, 0, 8, 3), "image is empty"),
        (torch.zeros(1, 1, 1, 3), "no face was found"),
    ],
)
def test_images_that_cannot_be_measured(tiny: Tiny, image: Tensor, message: str) -> None:
    class Nobody:
        name = "nobody"

        def find(self, image: Tensor) -> list[Any]:
            return []

    analyzer = tiny.module("nodes.sockets").LoadedAnalyzer(None, "", Nobody())
    for node, *rest in (("EncodeIdentity", "one person"), ("PoseFromImage", 128)):
        with pytest.raises(ValueError, match=message) as error:
            tiny.run(node, analyzer, image, *rest)
        assert "\n" not in str(error.value)


def test_images_are_weighed_and_compared(tiny: Tiny) -> None:
    sockets, identity = tiny.module("nodes.sockets"), tiny.module("faces.identity").Identity

    class Colours:
        """Identifies a person by the mean colour."""

        encoder = "colours"

        def identify(self, pixels: Tensor, face: Any) -> Any:
            return identity.from_features(pixels.mean((1, 2)), self.encoder)

    image = torch.tensor([[1.0, 0, 0], [0.9, 0.1, 0], [1, 0.1, 0.1], [0, 0, 1]])
    image = image[:, None, None].expand(4, 60, 80, 3)
    analyzer = sockets.LoadedAnalyzer(None, "colours", object(), Colours())
    faces = manual_face(tiny, image)
    people, _, report = tiny.run("EncodeIdentity", analyzer, image, "one person", faces)
    assert "image 4 may show another person" in report
    assert people.vectors[0, 2] > 0.2
    weighed, *_ = tiny.run("EncodeIdentity", analyzer, image, "one person", faces, 0, "1, 1, 1, 0")
    assert weighed.vectors[0, 2] < 0.1
    for wrong, message in (
        ("1, 2", "4 images were given"),
        ("a", "not numbers"),
        ("-1 1 1 1", "4 i"),
    ):
        with pytest.raises(ValueError, match=message):
            tiny.run("EncodeIdentity", analyzer, image, "one person", faces, 0, wrong)


def test_identities_are_saved_and_loaded(tiny: Tiny, places: Path) -> None:
    with pytest.raises(ValueError, match=r"no identity is saved yet.*Save Identity"):
        tiny.run("LoadIdentity", "none yet")
    people = tiny.people(2, encoder="ir-se50")
    assert tiny.run("SaveIdentity", people, "anna") == "anna_00001.safetensors"
    assert tiny.run("SaveIdentity", people, "anna") == "anna_00002.safetensors"
    assert tiny.run("SaveIdentity", people, "family/bob") == "family/bob_00001.safetensors"
    assert (places / "output" / "identities" / "anna_00001.safetensors").is_file()
    back, encoder = tiny.run("LoadIdentity", "anna_00002.safetensors")
    assert encoder == "ir-se50" and torch.equal(back.vectors, people.vectors)
    assert tiny.module("nodes.host.folders").list_files("dense_face_identities") == [
        "anna_00001.safetensors",
        "anna_00002.safetensors",
        str(Path("family") / "bob_00001.safetensors"),
    ]
    for name in ("", "../out", str(places / "x")):
        with pytest.raises(ValueError, match="cannot be saved under the name"):
            tiny.run("SaveIdentity", people, name)
    with pytest.raises(ValueError, match=r"gone\.safetensors is missing"):
        tiny.run("LoadIdentity", "gone.safetensors")


def test_capitals_in_a_suffix_do_not_matter(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the host lists as a model file, our lists show and our loaders read."""
    import shutil

    import folder_paths

    folders = tiny.module("nodes.host.folders")
    shutil.copy(tiny.folder / "tiny_dense_face.safetensors", tmp_path / "MINE.SafeTensors")
    registered = ([str(tmp_path)], {".safetensors"})
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "dense_face", registered)
    assert folder_paths.get_filename_list("dense_face") == ["MINE.SafeTensors"]
    assert folders.list_files("dense_face") == ["MINE.SafeTensors"]
    assert tiny.run("LoadAdapter", "MINE.SafeTensors")[0].name == "MINE.SafeTensors"

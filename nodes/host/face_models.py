"""Files of published face models: where they are found, and what to do when one is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import folder_paths

from ...errors import ModelFileError
from ...faces.encoders.load import SFACE_MARK
from ...faces.insightface.model_pack import pack_folder
from ...published_files import BY_KEY, DOWNLOADS
from .folders import full_path, list_files, places

FIRST = "first one found"
"""Entry of the file lists; it lets a shared workflow run whatever the file's name is."""
FOLDER = "dense_face"
NETWORKS = (".safetensors", ".pth", ".pt")
ONNX = (".onnx",)
_INSIGHTFACE = "insightface"
_WITHOUT = (
    "Without it you can use the tiny world (bundled, rendered heads only), the host's own face "
    "landmarks with Faces from Face Landmarks, or Faces by Hand"
)


@dataclass(frozen=True)
class FaceModel:
    """A published model file.

    what: Its name in messages.
    suffixes: Of its file.
    marks: Lower-case parts of its file name, any of which identifies it where several kinds of
        networks share a suffix; empty if the suffix is enough.
    get: Which file to get, from where, its size and licence (``published_files``).
    without: What works without it.
    """

    what: str
    suffixes: tuple[str, ...]
    marks: tuple[str, ...]
    get: str
    without: str


LANDMARKER = FaceModel(
    "face landmarker file",
    (".task",),
    (),
    f"Put {BY_KEY['landmarker'].where_to_get} there",
    _WITHOUT,
)
IR_SE50 = FaceModel(
    "IR-SE50 file",
    NETWORKS,
    ("ir_se50", "ir-se50", "irse50"),
    f"Put {BY_KEY['ir_se50'].where_to_get} there, or ir_se50.safetensors as converted from the "
    "authors' checkpoint",
    "Without it identities of InsightFace or the tiny world work, with adapters trained on them",
)
POSE_NETWORK = FaceModel(
    "6DRepNet file",
    NETWORKS,
    ("6drepnet", "sixdrepnet"),
    f"Put {BY_KEY['6drepnet'].where_to_get} there",
    "Without it the landmarker estimates head poses as well",
)
SMIRK = FaceModel(
    "SMIRK file",
    (".pt",),
    ("smirk",),
    f"Put {BY_KEY['smirk'].where_to_get} there",
    "Without it FLAME's numbers can be typed in (Expression from FLAME)",
)
YUNET = FaceModel(
    "YuNet file",
    ONNX,
    ("yunet",),
    f"Put {BY_KEY['yunet'].where_to_get} there",
    f"{_WITHOUT}, or the landmarker",
)
SFACE = FaceModel(
    "SFace file",
    ONNX,
    (SFACE_MARK,),
    f"Put {BY_KEY['sface'].where_to_get} there",
    "Without it InsightFace's recogniser measures likeness as well, for research",
)


def model_file(model: FaceModel, name: str) -> Path:
    """The file of an entry in a list.

    Raises:
        ModelFileError: It is missing; the message says which file goes where, its source and
            licence, and what works without it.
    """
    if name != FIRST:
        return full_path(FOLDER, name, model.what)
    found = [
        file
        for file in list_files(FOLDER, suffixes=model.suffixes)
        if not model.marks or any(mark in file.lower() for mark in model.marks)
    ]
    if not found:
        raise ModelFileError(
            f"the {model.what} is missing",
            where=places(FOLDER),
            fix=f"{model.get}. {model.without}",
        )
    return full_path(FOLDER, found[0], model.what)


def insight_packs() -> dict[str, Path]:
    """InsightFace packs by name, from ``insightface/models/<pack>``, as other nodes keep them."""
    packs: dict[str, Path] = {}
    for place in _insight_places():
        for folder in sorted(place.iterdir()) if place.is_dir() else ():
            if folder.name == "models" or not folder.is_dir():
                continue
            if any(folder.glob("*.onnx")) or any(folder.glob("*/*.onnx")):
                packs.setdefault(folder.name, folder)
    return packs


def insight_pack(name: str) -> Path:
    """The folder of a listed pack.

    Raises:
        ModelFileError: It is missing; the message says what goes where.
    """
    packs = insight_packs()
    if name == FIRST and packs:
        return pack_folder(next(iter(packs.values())))
    if name not in packs:
        which = "InsightFace pack" if name == FIRST else f"InsightFace pack {name}"
        raise ModelFileError(
            f"the {which} is missing",
            where=", ".join(map(str, _insight_places())),
            fix=_where_to_get_pack(name),
        )
    return pack_folder(packs[name])


def _where_to_get_pack(name: str) -> str:
    place = f"{_INSIGHTFACE}/models/{name}"
    published = next((each for each in DOWNLOADS if each.folder == place), BY_KEY["buffalo_l"])
    folder = Path(published.folder).name
    return (
        f"Put the files into a folder {folder} there: {published.where_to_get}. "
        f"{_WITHOUT}, or the landmarker"
    )


def _insight_places() -> Sequence[Path]:
    registered = folder_paths.folder_names_and_paths.get(_INSIGHTFACE, ([], set()))[0]
    own = str(Path(folder_paths.models_dir) / _INSIGHTFACE)
    roots = [Path(root) for root in dict.fromkeys([*registered, own])]
    # Paths in extra_model_paths.yaml name either the folder or the one inside it.
    return [place for root in roots for place in (root / "models", root)]

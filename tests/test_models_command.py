"""``denseface models``: files of ComfyUI's folders against the table of published files."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comfyui_dense_face.cli import main
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.pipelines.installed_files import check_files, extra_model_paths
from comfyui_dense_face.published_files import (
    BY_KEY,
    DOWNLOADS,
    Download,
    PublishedFile,
    needed_by,
    workflow_names,
)
from locate_host import ROOT
from own_files import needs_own_files
from safetensors.numpy import save_file
from ui_to_api import nodes_of

CONTENT = b"weights"
FIRST, TEXT = (
    f"model.diffusion_model.input_blocks.{name}.weight"
    for name in ("0.0", "1.1.transformer_blocks.0.attn2.to_k")
)
SDXL = "model.diffusion_model.input_blocks.4.1.transformer_blocks.1.attn2.to_k.weight"
SIZE_UNKNOWN = {"SMIRK_em1.pt"}
"""Published where no size is stated."""
CORE_NODES = {
    "CheckpointLoaderSimple", "CLIPLoader", "CLIPVisionLoader", "ControlNetLoader", "LoraLoader",
    "LoraLoaderModelOnly", "UNETLoader",
}  # fmt: skip


@pytest.fixture
def comfyui(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path


def published(name: str = "a.bin", **changes: Any) -> PublishedFile:
    about = {"size": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest(), **changes}
    return PublishedFile(name, 1.0, **about)


def download(*files: PublishedFile, folder: str = "ipadapter", kind: str = "") -> Download:
    return Download("key", "title", "use", files, folder, "licence", "page", (), ("a",), kind)


def put(root: Path, path: str, content: bytes = CONTENT) -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def state(comfyui: Path, of: Download) -> tuple[str, str]:
    (row,) = check_files(comfyui, [of])
    return row.state, row.detail


def test_found_missing_altered(comfyui: Path) -> None:
    of = download(published())
    assert state(comfyui, of) == ("missing", "")
    file = put(comfyui, "models/ipadapter/deep/er/a.bin")
    assert state(comfyui, of) == ("found", "")
    file.write_bytes(CONTENT[::-1])
    assert state(comfyui, of) == ("altered", "its sha256 differs from the published one")
    file.write_bytes(CONTENT[:-1])
    assert state(comfyui, of) == ("altered", "6 bytes instead of 7")
    put(comfyui, "models/ipadapter/a.bin")  # a good one beside the bad one
    assert state(comfyui, of) == ("found", "")


def test_what_is_not_known_is_not_compared(comfyui: Path) -> None:
    of = download(published(size=None, sha256="", others=("a.safetensors",)))
    file = put(comfyui, "models/ipadapter/a.safetensors", b"something else")
    assert state(comfyui, of) == ("found", "")
    file.rename(file.with_name("a.bin")).write_bytes(b"")
    assert state(comfyui, of) == ("altered", "the file is empty")


@pytest.mark.parametrize(
    ("shapes", "metadata", "kind"),
    [
        ({FIRST: (320, 4, 3, 3), TEXT: (320, 768)}, None, "sd15"),
        ({FIRST: (320, 9, 3, 3), TEXT: (320, 768)}, None, "sd15-inpainting"),
        ({FIRST: (320, 4, 3, 3), TEXT: (320, 1024)}, None, ""),
        ({FIRST: (320, 4, 3, 3), SDXL: (640, 2048)}, None, "sdxl"),
        ({FIRST: (320, 9, 3, 3), SDXL: (640, 2048)}, None, ""),
        ({FIRST: (320, 4, 3, 3)}, None, ""),
        ({"a": (1,)}, {"format": "denseface-adapter/1"}, "denseface-adapter/1"),
    ],
)
def test_files_of_any_name(
    comfyui: Path, shapes: dict[str, Any], metadata: dict[str, str] | None, kind: str
) -> None:
    path = put(comfyui, "models/checkpoints/mine.safetensors")
    save_file({k: np.zeros(s, np.float16) for k, s in shapes.items()}, path, metadata)
    put(comfyui, "models/checkpoints/damaged.safetensors")
    for each in ("sd15", "sd15-inpainting", "sdxl", "denseface-adapter/1"):
        of = download(published("any"), folder="checkpoints", kind=each)
        assert state(comfyui, of)[0] == ("found" if each == kind else "missing")


def test_checkpoints_by_their_published_name(comfyui: Path) -> None:
    put(comfyui, "models/checkpoints/sd-v1-5-inpainting.ckpt")
    assert state(comfyui, BY_KEY["sd15_inpainting"])[0] == "found"
    assert state(comfyui, BY_KEY["sd15"])[0] == "missing"


def test_extra_model_paths(comfyui: Path, tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    (comfyui / "extra_model_paths.yaml").write_text(
        "nothing:\n"
        "other:\n"
        "  base_path: elsewhere\n"
        "  is_default: true\n"
        "  ipadapter: |\n    one\n    two\n"
        "  insightface: insight\n"
    )
    adapter = download(published())
    pack = download(published("b.onnx"), folder="insightface/models/buffalo_l")
    put(comfyui, "elsewhere/two/a.bin")
    assert state(comfyui, adapter)[0] == "found"
    for place in ("insight/models/buffalo_l", "insight/buffalo_l"):
        file = put(comfyui, f"elsewhere/{place}/b.onnx")
        assert state(comfyui, pack)[0] == "found"
        file.unlink()
    assert state(comfyui, pack)[0] == "missing"


@pytest.mark.parametrize("text", ["a: [", "a: text", "- 1"])
def test_broken_extra_model_paths(tmp_path: Path, text: str) -> None:
    pytest.importorskip("yaml")
    file = tmp_path / "extra_model_paths.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match="extra model paths cannot be read"):
        extra_model_paths(file)


# ---- the command --------------------------------------------------------------------------------


def test_command_lists_everything(comfyui: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--comfyui", str(comfyui)]) == 0
    out = capsys.readouterr().out
    for each in DOWNLOADS:
        for file in each.files:
            assert re.search(rf"^missing +{re.escape(file.name)} ", out, re.MULTILINE), file.name
    assert list(comfyui.rglob("*")) == [comfyui / "models"]


def test_command_for_a_workflow(comfyui: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["models", "--comfyui", str(comfyui), "--for", "19 Faces of a photo"]
    assert main(arguments) == 1
    out = capsys.readouterr().out
    landmarker = BY_KEY["landmarker"]
    assert landmarker.page in out and f"licence: {landmarker.licence}" in out
    put(comfyui, "models/dense_face/face_landmarker_v2_with_blendshapes.task")
    assert main(arguments) == 0
    assert landmarker.page not in capsys.readouterr().out
    assert main([*arguments[:-1], "19 Faces of a photo.json"]) == 0
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["state"] == "found" and row["folder"] == "models/dense_face"
    assert row["workflows"] == list(landmarker.workflows)


def test_command_says_what_is_altered(comfyui: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = put(comfyui, "models/ipadapter/ip-adapter-faceid_sd15.bin")
    assert main(["models", "--comfyui", str(comfyui), "--for", "11 Portrait from a photo"]) == 1
    out = capsys.readouterr().out
    assert f"{path} is not the published file: 7 bytes instead of 96,740,574" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--comfyui", "nowhere"], "no models folder (nowhere). Give ComfyUI's folder"),
        (
            ["--for", "02 Smile"],
            "no published file is listed for a workflow '02 Smile'. Choose",
        ),
    ],
)
def test_wrong_arguments(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", *arguments]) == 2
    assert says in capsys.readouterr().err


# ---- the table ----------------------------------------------------------------------------------


def test_the_table_is_consistent() -> None:
    schemas = json.loads((ROOT / "tests" / "data" / "node_schemas.json").read_text("utf-8"))
    names = [
        name for each in DOWNLOADS for file in each.files for name in (file.name, *file.others)
    ]
    assert len(names) == len(set(names)) and len(BY_KEY) == len(DOWNLOADS)
    for each in DOWNLOADS:
        assert each.page.startswith("https://") and each.licence and each.nodes
        assert set(each.nodes) <= {*schemas, *CORE_NODES}, each.key
        assert not Path(each.folder).is_absolute() and ".." not in each.folder
        for file in each.files:
            assert re.fullmatch("([0-9a-f]{64})?", file.sha256)
            assert file.size is None or abs(file.size / 1e6 - file.megabytes) < 0.06
            known = file.name not in SIZE_UNKNOWN
            assert bool(file.megabytes) == (known and not each.kind)
    assert all(needed_by(name) for name in workflow_names())


def test_sizes_and_sums_are_those_of_the_reference() -> None:
    folder = ROOT / "docs" / "reference"
    pages = "".join(
        (folder / name).read_text("utf-8") for name in ("published_weights.md", "libraries.md")
    )
    for each in DOWNLOADS:
        for file in each.files:
            assert file.sha256 in pages
            assert file.size is None or f"{file.size:,}" in pages


def test_templates_that_need_files_are_in_the_table() -> None:
    needing = {p.stem for p in (ROOT / "workflows").glob("*.json") if needs_own_files(p)}
    assert needing and needing <= set(workflow_names())


def test_workflows_name_files_of_the_table() -> None:
    """Names in the properties that the host's missing-models dialog reads."""
    for path in sorted((ROOT / "workflows").glob("*.json")):
        for node in nodes_of(json.loads(path.read_text(encoding="utf-8"))):
            for model in node.get("properties", {}).get("models", ()):
                name = Path(model["name"]).name
                found = [d for d in DOWNLOADS for f in d.files if name in (f.name, *f.others)]
                if found:
                    assert path.stem in found[0].workflows, f"{path.name}: {model['name']}"
                    folder = model.get("directory", found[0].folder)
                    inside = f"{folder}/{Path(model['name']).parent}"
                    assert found[0].folder in (folder, inside)
                else:
                    folders = {each.folder for each in DOWNLOADS if each.kind}
                    assert model.get("directory") in folders, f"{path.name}: {model['name']}"

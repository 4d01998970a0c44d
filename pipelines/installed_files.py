"""Which published files an installation of ComfyUI has: found, missing, or altered."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from .. import limits
from ..errors import InputError
from ..published_files import Download, PublishedFile
from ..readers.files import read_text
from ..storage import file_sha256

FOUND, MISSING, ALTERED = "found", "missing", "altered"
_INPUT = "model.diffusion_model.input_blocks.0.0.weight"
_TEXT = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
_SD15_TEXT = 768
_SDXL_KEYS = "model.diffusion_model.input_blocks.4.1.transformer_blocks.1.attn2.to_k.weight"
_SDXL_TEXT = 2048
_KIND_OF_CHANNELS = {4: "sd15", 9: "sd15-inpainting"}


@dataclass(frozen=True)
class FileStatus:
    """One row: a published file and what is there.

    Args:
        state: :data:`FOUND`, :data:`MISSING` or :data:`ALTERED`.
        path: The file that was found, None if missing.
        detail: What differs from the published file; empty otherwise.
    """

    download: Download
    file: PublishedFile
    state: str
    path: Path | None = None
    detail: str = ""


def comfyui_folder(given: Path | None) -> Path:
    """The folder of ComfyUI: the given one, ``COMFYUI_PATH``, or ``~/ComfyUI``.

    Raises:
        InputError: It has no ``models`` folder.
    """
    folder = (given or Path(os.environ.get("COMFYUI_PATH") or Path.home() / "ComfyUI")).expanduser()
    if not (folder / "models").is_dir():
        raise InputError(
            "there is no models folder",
            where=str(folder),
            fix="Give ComfyUI's folder with --comfyui, or set COMFYUI_PATH",
        )
    return folder


def check_files(comfyui: Path, downloads: Iterable[Download]) -> Iterator[FileStatus]:
    """The state of every file, in the table's order; sums of large files take seconds.

    Raises:
        InputError: ``extra_model_paths.yaml`` cannot be read.
    """
    extra = extra_model_paths(comfyui / "extra_model_paths.yaml")
    for download in downloads:
        folders = list(_folders(comfyui / "models", download.folder, extra))
        for file in download.files:
            yield _status(download, file, folders)


def extra_model_paths(path: Path) -> dict[str, list[Path]]:
    """Folder name to further paths, as ComfyUI reads ``extra_model_paths.yaml``; empty without.

    Raises:
        InputError: PyYAML is missing, or the file is no such table.
    """
    if not path.is_file():
        return {}
    found: dict[str, list[Path]] = {}
    try:
        import yaml

        text = read_text(path, limits.CONFIG_BYTES)
        if text.count("[") + text.count("{") > limits.TREE_DEPTH:  # PyYAML's time grows fast
            raise ValueError("it is nested too deep")
        sections: dict[str, dict[str, Any]] = yaml.safe_load(text) or {}
        for section in filter(None, sections.values()):
            base = Path(os.path.expandvars(section.get("base_path", ""))).expanduser()
            for name, lines in section.items():
                # Not lists: a few aliases of aliases make texts without end of them.
                if name not in ("base_path", "is_default") and isinstance(lines, str | int | float):
                    places = filter(None, str(lines).split("\n"))
                    found.setdefault(name, []).extend(path.parent / base / p for p in places)
    except Exception as error:  # YAML's own errors, and whatever a broken file may raise
        raise _unreadable(path, error) from error
    return found


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        f"the extra model paths cannot be read: {error}",
        where=str(path),
        fix="Correct the file, and install PyYAML (ComfyUI's Python has it)",
    )


def _folders(models: Path, folder: str, extra: dict[str, list[Path]]) -> Iterator[Path]:
    """All places of a folder of models; paths in the YAML name InsightFace's root or the inside."""
    yield models / folder
    name, _, inside = folder.partition("/")
    for place in extra.get(name, ()):
        yield place / inside
        yield place / inside.removeprefix("models/")


def _status(download: Download, file: PublishedFile, folders: list[Path]) -> FileStatus:
    """Whether one of the files under a known name is the published one."""
    names = (file.name, *file.others)
    present = sorted({p for folder in folders for p in folder.rglob("*") if p.is_file()})
    if download.kind:
        found = next((p for p in present if p.name in names or _kind(p) == download.kind), None)
        return FileStatus(download, file, FOUND if found else MISSING, found)
    candidates = sorted(
        (path for path in present if path.name in names), key=lambda path: names.index(path.name)
    )
    wrong: list[FileStatus] = []
    for path in candidates:
        differs = _difference(path, file) if path.name == file.name else ""
        if not differs:
            return FileStatus(download, file, FOUND, path)
        wrong.append(FileStatus(download, file, ALTERED, path, differs))
    return wrong[0] if wrong else FileStatus(download, file, MISSING)


def _difference(path: Path, file: PublishedFile) -> str:
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        return f"{size:,} bytes instead of {file.size:,}"
    if file.sha256 and file_sha256(path) != file.sha256:
        return "its sha256 differs from the published one"
    return "" if size else "the file is empty"


def _kind(path: Path) -> str:
    """What a safetensors file is, by its header alone; empty for everything else."""
    if path.suffix.lower() != ".safetensors":
        return ""
    try:
        with safe_open(path, framework="np") as file:
            kind: str = dict(file.metadata() or {}).get("format", "")
            names = set(file.keys())
            if {_INPUT, _SDXL_KEYS} <= names and _TEXT not in names:
                channels = file.get_slice(_INPUT).get_shape()[1]
                text = file.get_slice(_SDXL_KEYS).get_shape()[1]
                return "sdxl" if (channels, text) == (4, _SDXL_TEXT) else kind
            if not {_INPUT, _TEXT} <= names:
                return kind
            if file.get_slice(_TEXT).get_shape()[1] != _SD15_TEXT:
                return kind
            return _KIND_OF_CHANNELS.get(int(file.get_slice(_INPUT).get_shape()[1]), kind)
    except Exception:  # a broken or hostile file may raise anything
        return ""

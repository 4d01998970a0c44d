"""The pack's folders in the host: ``models/dense_face``, ``models/sfsr``, saved identities."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import folder_paths

from ...errors import ModelFileError
from ...published_files import download_of

EXTENSIONS = {".safetensors"}
IP_ENDINGS = {".safetensors", ".bin", ".ckpt", ".pt", ".pth"}
FOLDERS = {"dense_face": {".safetensors", ".task", ".pth", ".pt", ".onnx"}, "sfsr": EXTENSIONS}
"""Model folders and the suffixes of their files: our weights and those of face analyzers."""
IDENTITIES = "dense_face_identities"
"""The host's name for the folders of saved identities: one in the output folder, where they are
written, and one in models/dense_face."""
IDENTITY_FOLDER = "identities"
IP_ADAPTERS = "ipadapter"
"""The folder of IP-Adapter files, under the name that other packs use; we never create it."""
BUNDLED = "tiny world (bundled)"
"""First entry of our file lists: the weights that come with the pack."""


def register_folders() -> None:
    """Register our folders with the host, after the paths from extra_model_paths.yaml."""
    for name, endings in FOLDERS.items():
        own = str(Path(folder_paths.models_dir) / name)
        _register(name, [own], endings)
        # Created so that people see where files go; a read-only models folder is not an error.
        try:
            Path(own).mkdir(parents=True, exist_ok=True)
        except OSError:
            continue

    _register(IP_ADAPTERS, [str(Path(folder_paths.models_dir) / IP_ADAPTERS)], IP_ENDINGS)
    models = Path(folder_paths.models_dir) / "dense_face" / IDENTITY_FOLDER
    _register(IDENTITIES, [str(identities_folder()), str(models)], EXTENSIONS)


def identities_folder() -> Path:
    """Where identities are saved."""
    return Path(folder_paths.get_output_directory()) / IDENTITY_FOLDER


def list_files(
    folder: str, *, bundled: bool = False, suffixes: Collection[str] = (".safetensors",)
) -> list[str]:
    """Names of the files in a registered folder; with ``bundled``, :data:`BUNDLED` comes first.

    As for the host, capitals in a suffix do not matter.
    """
    names = [
        n for n in folder_paths.get_filename_list(folder) if Path(n).suffix.lower() in suffixes
    ]
    return [BUNDLED, *names] if bundled else names


def full_path(folder: str, name: str, what: str) -> Path:
    """The path of a listed file.

    Raises:
        ModelFileError: It is in no registered place; the message names all of them, and the page
            and licence of a published file.
    """
    found = folder_paths.get_full_path(folder, name)
    if found is None:
        published = download_of(Path(name).name)
        file = "the file" if published is None else published.where_to_get
        raise ModelFileError(
            f"the {what} {name} is missing",
            where=places(folder),
            fix=f"Put {file} into one of these folders, or choose another in the list",
        )
    return Path(found)


def places(folder: str) -> str:
    """All paths registered for a folder, for messages."""
    return ", ".join(folder_paths.get_folder_paths(folder))


def file_mark(path: Path) -> str:
    """A fingerprint that changes when a file is overwritten, so that the host reloads it.

    Empty for a missing file.
    """
    try:
        state = path.stat()
    except OSError:
        return ""
    return f"{state.st_mtime_ns}-{state.st_size}"


def output_path(prefix: str, width: int, height: int) -> Path:
    """Path of the next output file, numbered by the host, without suffix."""
    root = folder_paths.get_output_directory()
    folder, name, counter, _, _ = folder_paths.get_save_image_path(prefix, root, width, height)
    return Path(folder) / f"{name}_{counter:05}"


def _register(name: str, own: Sequence[str], endings: set[str]) -> None:
    """Add paths to a folder of the host, after those that the user configured."""
    paths, extensions = folder_paths.folder_names_and_paths.get(name, ([], set()))
    paths = [*paths, *(path for path in own if path not in paths)]
    folder_paths.folder_names_and_paths[name] = (paths, set(extensions) | endings)

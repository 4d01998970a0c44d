"""Where the host keeps our model files: ``models/dense_face`` and ``models/sfsr``."""

from __future__ import annotations

from pathlib import Path

import folder_paths

from ...errors import ModelFileError

FOLDERS = ("dense_face", "sfsr")
EXTENSIONS = {".safetensors"}
BUNDLED = "tiny world (bundled)"
"""First entry of our file lists: the weights that come with the pack."""


def register_folders() -> None:
    """Make our folders known to the host; paths from extra_model_paths.yaml are kept."""
    for name in FOLDERS:
        own = str(Path(folder_paths.models_dir) / name)
        paths, extensions = folder_paths.folder_names_and_paths.get(name, ([], set()))
        if own not in paths:
            paths = [*paths, own]
        folder_paths.folder_names_and_paths[name] = (paths, set(extensions) | EXTENSIONS)
        # Made so that people see where files go; a read-only models folder is no reason to fail.
        try:
            Path(own).mkdir(parents=True, exist_ok=True)
        except OSError:
            continue


def list_files(folder: str, *, bundled: bool) -> list[str]:
    """Names of the weight files in one of our folders, the bundled one first if it is wanted."""
    names = folder_paths.get_filename_list(folder)
    return [BUNDLED, *names] if bundled else names


def full_path(folder: str, name: str, what: str) -> Path:
    """The path of a listed file.

    Raises:
        ModelFileError: No registered place has it; the sentence names all of them.
    """
    found = folder_paths.get_full_path(folder, name)
    if found is None:
        places = ", ".join(folder_paths.get_folder_paths(folder))
        raise ModelFileError(
            f"the {what} {name} is missing",
            where=places,
            fix="Put the file into one of these folders, or choose another in the list",
        )
    return Path(found)


def file_mark(path: Path) -> str:
    """Changes when a file is overwritten; the host then loads it anew. Empty for a missing one."""
    try:
        state = path.stat()
    except OSError:
        return ""
    return f"{state.st_mtime_ns}-{state.st_size}"


def output_path(prefix: str, width: int, height: int) -> Path:
    """Path of the next file in the output folder, numbered by the host, without a suffix."""
    root = folder_paths.get_output_directory()
    folder, name, counter, _, _ = folder_paths.get_save_image_path(prefix, root, width, height)
    return Path(folder) / f"{name}_{counter:05}"

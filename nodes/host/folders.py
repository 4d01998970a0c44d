"""The pack's folders in the host: ``models/dense_face``, ``models/sfsr``, saved identities."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import folder_paths

from ...errors import InputError, ModelFileError
from ...published_files import Download, download_of
from ...readers.files import inside, stays_inside

EXTENSIONS = {".safetensors"}
IP_ENDINGS = {".safetensors", ".bin", ".ckpt", ".pt", ".pth"}
FOLDERS = {"dense_face": {".safetensors", ".task", ".pth", ".pt", ".onnx"}, "sfsr": EXTENSIONS}
"""Model folders and the suffixes of their files: our weights and those of face analyzers."""
IDENTITIES = "dense_face_identities"
"""The host's name for the folders of saved identities: one in the output folder, where they are
written, and one in models/dense_face."""
IDENTITY_FOLDER = "identities"
EXPRESSIONS = "sfsr_expressions"
"""The same for saved expressions: in the output folder and in models/sfsr."""
EXPRESSION_FOLDER = "expressions"
TRAINED = "dense_face_trained"
"""The host's name for the folder of trained and saved adapters, in the output folder."""
TRAINED_FOLDER = "dense_face"
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
    _register(TRAINED, [str(output_folder(TRAINED_FOLDER))], EXTENSIONS)
    models = Path(folder_paths.models_dir)
    for name, folder, own in (
        (IDENTITIES, IDENTITY_FOLDER, "dense_face"),
        (EXPRESSIONS, EXPRESSION_FOLDER, "sfsr"),
    ):
        _register(name, [str(output_folder(folder)), str(models / own / folder)], EXTENSIONS)


def output_folder(name: str) -> Path:
    """Where identities, expressions or adapters are saved."""
    return Path(folder_paths.get_output_directory()) / name


def new_file(folder: str, name: str, where: str) -> tuple[Path, str]:
    """The next free ``<name>_00001.safetensors`` in an output folder: its path, its name there.

    Args:
        where: The node, for messages.

    Raises:
        InputError: The name is no plain one, or its folder cannot be searched.
    """
    root, given = output_folder(folder), Path(name.strip())
    number = 1
    with _refused_names(root, name, "_00001.safetensors", where):
        while (path := root / given.parent / f"{given.name}_{number:05}.safetensors").exists():
            number += 1
    return path, path.relative_to(root).as_posix()


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


def full_path(folder: str, name: str, what: str, published: Download | None = None) -> Path:
    """The path of a listed file.

    Args:
        published: What to get where the name is none of a published file.

    Raises:
        ModelFileError: It is in no registered place; the message names all of them, and the page
            and licence of a published file.
    """
    found = folder_paths.get_full_path(folder, name)
    if found is None:
        published = download_of(Path(name).name) or published
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


def output_path(prefix: str, width: int, height: int, ending: str, where: str) -> Path:
    """Path of the next output file, numbered by the host, without its ending.

    Args:
        prefix: Of the file's name in the output folder, with the host's variables (``%width%``).
        ending: The longest that the file will get.
        where: The node, for messages.

    Raises:
        InputError: The prefix is no plain name, or its folder cannot be searched or made.
    """
    root, prefix = folder_paths.get_output_directory(), prefix.strip()
    with _refused_names(Path(root), prefix, f"_00001{ending}", where):
        folder, name, counter, _, _ = folder_paths.get_save_image_path(prefix, root, width, height)
    return Path(folder) / f"{name}_{counter:05}"


def usable_name(folder: str, name: object, where: str) -> bool | str:
    """For ``validate_inputs``: True, or why no file can be saved under that name.

    Args:
        folder: In the output folder; empty for that itself.
        name: As it is typed in; None, from a link, is not validated.
        where: The node.
    """
    if name is None:
        return True
    try:
        with _refused_names(output_folder(folder), str(name), "_00001.safetensors", where):
            return True
    except InputError as error:
        return str(error)


@contextmanager
def _refused_names(root: Path, name: str, ending: str, where: str) -> Iterator[None]:
    """Raise InputError unless a file of that name is in ``root``, and can be looked up there."""
    what, given = f"a file cannot be saved under the name {name!r}", Path(name.strip())
    try:
        # With its number and ending, the name must still be one.
        if not stays_inside(str(given)) or inside(root, f"{given}{ending}") is None:
            raise InputError(what, where=where, fix="Give a plain name such as anna")
        yield
    except OSError as error:
        raise InputError(
            f"{what}: {error.strerror or error}",
            where=f"{where}, {root}",
            fix="Give another name, or the output folder room and permissions",
        ) from error


def _register(name: str, own: Sequence[str], endings: set[str]) -> None:
    """Add paths to a folder of the host, after those that the user configured."""
    paths, extensions = folder_paths.folder_names_and_paths.get(name, ([], set()))
    paths = [*paths, *(path for path in own if path not in paths)]
    folder_paths.folder_names_and_paths[name] = (paths, set(extensions) | endings)

"""Names and SHA-256 of the files that an image depends on; never where they lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...faces.insightface.model_pack import onnx_files
from ...sfsr.ip_adapter.load import partner_file
from ...storage import file_sha256
from .problems import Problems

TOKENIZER_FILES = ("vocab.json", "merges.txt")


def fingerprints(
    options: Mapping[str, Path | None], problems: Problems
) -> dict[str, dict[str, str]]:
    """Option -> file name -> SHA-256, for the options that are given.

    ``insightface`` names a folder, ``tokenizer`` another; beside ``expression_adapter`` lies the
    second file of FineFace.

    Collects:
        ModelFileError: A file or folder is missing or cannot be read.
    """
    found: dict[str, dict[str, str]] = {}
    for option, path in options.items():
        if path is not None:
            with problems.collect():
                found[option] = {file.name: file_sha256(file) for file in _files(option, path)}
    return found


def _files(option: str, path: Path) -> list[Path]:
    if option in ("insightface", "evaluator"):
        return onnx_files(path)
    if option == "tokenizer":
        return [path / name for name in TOKENIZER_FILES]
    partner = partner_file(path) if option == "expression_adapter" else None
    return [path] if partner is None else sorted([path, partner])

"""``denseface models``: which published model files ComfyUI has. Nothing is downloaded."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..pipelines.installed_files import FileStatus

EXIT_LACKING = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to look, for which template, and the form of the answer."""
    parser.add_argument(
        "--comfyui",
        type=Path,
        metavar="DIR",
        help="ComfyUI's folder; COMFYUI_PATH or ~/ComfyUI by default",
    )
    parser.add_argument(
        "--for",
        dest="workflow",
        metavar="WORKFLOW",
        help="only the files of this template; exit code 1 if one is missing or altered",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list, an object per file")


def run(args: argparse.Namespace) -> int:
    """Print the state of each file; 1 if a file of ``--for`` is missing or altered."""
    from ..pipelines.installed_files import FOUND, check_files, comfyui_folder
    from ..published_files import DOWNLOADS, needed_by

    downloads = DOWNLOADS if args.workflow is None else needed_by(Path(args.workflow).stem)
    rows = list(check_files(comfyui_folder(args.comfyui), downloads))
    if args.json:
        print(json.dumps([_json(row) for row in rows], indent=1))
    else:
        _print(rows, details=args.workflow is not None)
    lacking = any(row.state != FOUND for row in rows)
    return EXIT_LACKING if args.workflow is not None and lacking else 0


def _print(rows: list[FileStatus], *, details: bool) -> None:
    """One table, what differs in altered files, and where to get what is not there."""
    from ..pipelines.installed_files import ALTERED, FOUND

    cells = [("state", "file", "folder", "size", "needed by")]
    for row in rows:
        file, download = row.file, row.download
        folder, templates = f"models/{download.folder}", ", ".join(download.workflows)
        cells.append((row.state, file.name, folder, file.size_text, templates))
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)).rstrip())
    for row in rows:
        if row.state == ALTERED:
            print(f"\n{row.path} is not the published file: {row.detail}")
    lacking = dict.fromkeys(row.download for row in rows if row.state != FOUND)
    if lacking and not details:
        print("\nWhere to get them, and licences: docs/model_files.md, --for WORKFLOW, or --json")
    for download in lacking if details else ():
        print(f"\n{download.title}: {download.use}")
        print(f"  {download.names}, into models/{download.folder}")
        print(f"  {download.page}")
        print(f"  licence: {download.licence}")


def _json(row: FileStatus) -> dict[str, object]:
    file, download = row.file, row.download
    return {
        "state": row.state,
        "name": file.name,
        "other_names": list(file.others),
        "path": None if row.path is None else str(row.path),
        "detail": row.detail,
        "title": download.title,
        "use": download.use,
        "folder": f"models/{download.folder}",
        "bytes": file.size,
        "megabytes": file.megabytes or None,
        "sha256": file.sha256 or None,
        "licence": download.licence,
        "page": download.page,
        "nodes": list(download.nodes),
        "workflows": list(download.workflows),
    }

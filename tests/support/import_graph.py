"""Which folder of the house imports which, read from the source without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SIDE_FOLDERS = {"tests", "benchmarks", "docs", "out", "build", "node_modules"}

#: Part of the house to the parts it may import; itself and FOUNDATION always. A folder that is not
#: listed here must not exist (docs/architecture.md).
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "storage": set(),
    "state_dict": set(),
    "faces": set(),
    "dense_face": {"faces"},
    "sfsr": {"faces"},
    "demo": {"faces", "dense_face", "sfsr"},
    "training": {"dense_face", "sfsr", "faces", "demo", "pipelines"},
    "pipelines": {"dense_face", "sfsr", "faces", "demo"},
    "nodes": {"dense_face", "sfsr", "faces", "demo"},
    "evaluation": {"pipelines", "dense_face", "sfsr", "faces", "demo"},
    "commands": {"evaluation", "pipelines", "training", "dense_face", "sfsr", "faces", "demo"},
    "cli": {"commands"},
    "__init__": {"nodes"},
}
FOUNDATION = {"errors", "storage", "state_dict", "__init__"}

HOST = {"comfy", "comfy_api", "comfy_extras", "folder_paths", "nodes", "execution", "server"}
#: Libraries that may only be imported by these parts at module level, and anywhere by ANYWHERE.
AT_MODULE_LEVEL: dict[str, set[str]] = {
    **{name: {"nodes"} for name in HOST},
    "latent_preview": {"nodes"},
    "diffusers": {"evaluation", "pipelines", "training"},
    "transformers": {"pipelines", "training"},
    "accelerate": {"training"},
    "webdataset": {"training"},
    "cv2": set(),
    "insightface": set(),
    "onnxruntime": set(),
}
#: The same with imports inside functions: heavy libraries may be lazy, the host never leaks.
ANYWHERE: dict[str, set[str]] = {name: {"nodes", "__init__"} for name in HOST}


@dataclass(frozen=True)
class Import:
    """One import statement: ``part`` of the house imports ``target`` at ``place`` (file:line)."""

    part: str
    target: str
    ours: bool
    lazy: bool
    place: str


def part_of(path: Path) -> str:
    """The folder below the root, or the stem of a file in the root."""
    return path.parts[0] if len(path.parts) > 1 else path.stem


def imports_of(root: Path) -> Iterator[Import]:
    """All imports of the package's own files; those for type checkers only do not count."""
    for file in sorted(root.rglob("*.py")):
        path = file.relative_to(root)
        if path.parts[0] in SIDE_FOLDERS or any(part.startswith(".") for part in path.parts):
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
        yield from _walk(tree, path, lazy=False)


def _walk(node: ast.AST, path: Path, lazy: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and _is_type_checking(child.test):
            continue
        if isinstance(child, ast.Import | ast.ImportFrom):
            for target, ours in _targets(child, path):
                place = f"{path.as_posix()}:{child.lineno}"
                yield Import(part_of(path), target, ours, lazy, place)
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _walk(child, path, lazy or inside)


def _is_type_checking(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def _targets(node: ast.Import | ast.ImportFrom, path: Path) -> Iterator[tuple[str, bool]]:
    """(part or library, whether it is ours) for each name of one statement."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.name.split(".")[0], alias.name.startswith("comfyui_dense_face")
    elif node.level == 0:
        module = node.module or ""
        yield module.split(".")[0], module.startswith("comfyui_dense_face")
    else:
        folder = list(path.parts[:-1])
        base = folder[: len(folder) - (node.level - 1)]
        full = base + (node.module.split(".") if node.module else [])
        if full:
            yield full[0], True
        else:  # "from .. import name": the name itself is a part, or an attribute of the root
            for alias in node.names:
                yield (alias.name if alias.name in ALLOWED else "__init__"), True


def wrong_arrows(root: Path) -> list[str]:
    """One line for each import that the design forbids."""
    wrong: list[str] = []
    for found in imports_of(root):
        arrow = f"{found.place}: {found.part} -> {found.target}"
        if found.part not in ALLOWED:
            wrong.append(f"{found.place}: {found.part} is no part of the house")
        elif found.target == "comfyui_dense_face":
            wrong.append(f"{arrow} (imports inside the pack are relative)")
        elif found.ours:
            if found.target not in ALLOWED[found.part] | FOUNDATION | {found.part}:
                wrong.append(arrow)
        else:
            allowed = ANYWHERE if found.lazy else AT_MODULE_LEVEL
            if found.part not in allowed.get(found.target, {found.part}):
                wrong.append(arrow)
    return wrong

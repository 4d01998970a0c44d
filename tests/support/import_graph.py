"""Which folder of the pack imports which, read from the source without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SIDE_FOLDERS = {"tests", "docs", "out", "build", "node_modules"}

#: Part (folder or root file) to the parts it may import besides itself and FOUNDATION. A part
#: that is not listed must not exist (docs/architecture.md).
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "storage": set(),
    "state_dict": set(),
    "published_files": set(),
    "limits": set(),
    "startup_check": set(),
    "readers": set(),
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
    "benchmarks": {
        "commands",
        "evaluation",
        "pipelines",
        "training",
        "nodes",
        "dense_face",
        "sfsr",
        "faces",
        "demo",
    },
    "__init__": {"nodes", "startup_check"},
}
FOUNDATION = {
    "errors",
    "limits",
    "storage",
    "state_dict",
    "published_files",
    "readers",
    "__init__",
}

HOST = {
    "comfy",
    "comfy_api",
    "comfy_execution",
    "comfy_extras",
    "execution",
    "folder_paths",
    "latent_preview",
    "nodes",
    "server",
}
#: Library to the parts that may import it. Libraries that are not listed are free.
AT_MODULE_LEVEL: dict[str, set[str]] = {
    **{name: {"nodes"} for name in HOST},
    "comfy": {"nodes", "benchmarks"},
    "diffusers": {"evaluation", "pipelines", "training"},
    "transformers": {"pipelines", "training"},
    "accelerate": {"training", "benchmarks"},
    "webdataset": {"training"},
    "cv2": set(),
    "insightface": set(),
    "onnxruntime": set(),
    "matplotlib": set(),
    "skimage": set(),
    "timm": set(),
    "ray": set(),
    "scipy": set(),
}
#: Library to further parts that may import it inside functions.
IN_FUNCTIONS: dict[str, set[str]] = {
    **{name: {"__init__"} for name in HOST},
    "nodes": {"__init__", "benchmarks"},
    "cv2": {"faces"},
    "insightface": {"faces"},
    "onnxruntime": {"faces"},
    "matplotlib": {"benchmarks", "training"},
    "skimage": {"benchmarks"},
    "timm": {"faces"},
    "ray": {"training"},
    "scipy": {"training"},
}
_BY_NAME = {"import_module", "__import__"}


@dataclass(frozen=True)
class Import:
    """One import: ``part`` of the pack imports ``target`` at ``place`` (file:line)."""

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
        yield from _imports_below(tree, path, lazy=False)


def _imports_below(node: ast.AST, path: Path, lazy: bool) -> Iterator[Import]:
    children: Iterable[ast.AST] = ast.iter_child_nodes(node)
    if isinstance(node, ast.If) and _last_name(node.test) == "TYPE_CHECKING":
        children = node.orelse
    for child in children:
        if isinstance(child, ast.Import | ast.ImportFrom | ast.Call):
            for target, ours in _targets(child, path):
                place = f"{path.as_posix()}:{child.lineno}"
                yield Import(part_of(path), target, ours, lazy, place)
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _imports_below(child, path, lazy or inside)


def _last_name(node: ast.expr) -> str:
    """``b`` of ``b`` and ``a.b``."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _targets(
    node: ast.Import | ast.ImportFrom | ast.Call, path: Path
) -> Iterator[tuple[str, bool]]:
    """(part or library, whether it is ours) for each name that a statement or call imports."""
    if isinstance(node, ast.Call):
        name = node.args[0] if node.args and _last_name(node.func) in _BY_NAME else None
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            yield name.value.split(".")[0], name.value.startswith("comfyui_dense_face")
    elif isinstance(node, ast.Import):
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
            wrong.append(f"{found.place}: {found.part} is no part of the pack")
        elif found.target == "comfyui_dense_face":
            wrong.append(f"{arrow} (imports inside the pack are relative)")
        elif found.ours:
            if found.target not in ALLOWED[found.part] | FOUNDATION | {found.part}:
                wrong.append(arrow)
        else:
            allowed = AT_MODULE_LEVEL.get(found.target, {found.part})
            if found.lazy:
                allowed = allowed | IN_FUNCTIONS.get(found.target, set())
            if found.part not in allowed:
                wrong.append(arrow)
    return wrong

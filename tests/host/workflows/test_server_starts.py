"""The pack loads quickly in the real ComfyUI and adds its nodes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from comfy_server import ComfyServer
from locate_host import ROOT

PACK_FOLDER = "comfyui-dense-face"
HOSTS_OWN = "aiohttp", "numpy"
"""Libraries that the host has imported by then."""


def test_pack_is_imported(server: ComfyServer) -> None:
    log = server.log()
    assert "IMPORT FAILED" not in log
    assert "Error while calling comfy_entrypoint" not in log


def test_importing_the_pack_imports_no_library(host_path: Path) -> None:
    """Only its own modules and Python's. What that takes is in ``benchmarks/host/applying.py``."""
    script = (
        f"import sys, comfy.cli_args, comfy.utils, folder_paths, {', '.join(HOSTS_OWN)}\n"
        "from comfy_api.latest import io\n"
        "before = set(sys.modules)\n"
        "import comfyui_dense_face.nodes\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        f"print(sorted(new - sys.stdlib_module_names - set({HOSTS_OWN})))\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=host_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['comfyui_dense_face']"


def test_quick_test_for_ci(host_path: Path, tmp_path: Path) -> None:
    """The host's own smoke test, with our pack alone allowed in."""
    only = ("--disable-all-custom-nodes", "--whitelist-custom-nodes", PACK_FOLDER)
    code, log = ComfyServer(host_path, tmp_path, {PACK_FOLDER: ROOT}, only).quick_test()
    assert code == 0, log[-4000:]
    assert "IMPORT FAILED" not in log
    assert PACK_FOLDER in log


def test_nodes_are_offered(server: ComfyServer) -> None:
    offered = server.get("/object_info")
    ours = [name for name in offered if name.startswith(("DenseFace_", "SFSR_"))]
    assert ours
    assert all(offered[name]["python_module"].startswith("custom_nodes.") for name in ours)


def test_core_graph_runs(server: ComfyServer) -> None:
    """The client itself: a graph of core nodes runs to its image."""
    graph = {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": 64, "height": 32, "batch_size": 1, "color": 255},
        },
        "2": {
            "class_type": "SaveImage",
            "inputs": {"images": ["1", 0], "filename_prefix": "core"},
        },
    }
    outputs = server.run(graph)
    assert server.view(outputs["2"]["images"][0]).startswith(b"\x89PNG")


def test_languages_are_served(server: ComfyServer) -> None:
    """The frontend takes the texts of the chosen language from here."""
    served = server.get("/i18n")
    names = {
        language: served[language]["nodeDefs"]["DenseFace_ApplyAdapter"]["display_name"]
        for language in ("en", "zh", "ja", "ko", "fr", "de", "es", "ru")
    }
    assert names["en"] == "Apply Dense-Face Adapter"
    assert len(set(names.values())) == len(names)

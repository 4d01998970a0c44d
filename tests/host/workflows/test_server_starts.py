"""The pack loads quickly in the real ComfyUI and adds its nodes."""

from __future__ import annotations

import re
from pathlib import Path

from comfy_server import ComfyServer
from locate_host import ROOT

PACK_FOLDER = "comfyui-dense-face"
PROMISED_IMPORT_SECONDS = 0.05


def import_seconds(log: str) -> float:
    """Our line of the host's table of import times; it is rounded to a tenth of a second."""
    times = re.findall(rf"([\d.]+) seconds(?: \(IMPORT FAILED\))?: .*{PACK_FOLDER}", log)
    assert len(times) == 1, "the host reports our import exactly once"
    return float(times[0])


def test_pack_is_imported(server: ComfyServer) -> None:
    log = server.log()
    assert "IMPORT FAILED" not in log
    assert "Error while calling comfy_entrypoint" not in log


def test_import_takes_no_time(server: ComfyServer, host_path: Path, tmp_path: Path) -> None:
    """By the host's own report, where 0.0 means below 0.05."""
    seconds = import_seconds(server.log())
    for attempt in range(2):  # other work on the machine can only have slowed it down
        if seconds < PROMISED_IMPORT_SECONDS:
            break
        again = ComfyServer(host_path, tmp_path / str(attempt), {PACK_FOLDER: ROOT})
        seconds = min(seconds, import_seconds(again.quick_test()[1]))
    assert seconds < PROMISED_IMPORT_SECONDS


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

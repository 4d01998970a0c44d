"""Hundreds of runs of the shipped workflows in one real server, with faults between them.

``make soak`` runs this; pytest does not collect it by itself. The workflows of the tiny world are
shuffled, with other seeds and few steps. A third of the runs is disturbed: interrupted at a random
moment, failing inside the UNet, given an image without a face or a file that does not exist. Every
25th run must give the same image, bit by bit, with the model as loaded and with an adapter. What
the process holds after dropping all caches must not grow.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comfy_server import ComfyServer, Graph, ServerError
from locate_host import ROOT
from own_files import needs_own_files
from ui_to_api import to_api

pytestmark = [pytest.mark.host, pytest.mark.timeout(0)]

STEPS = 3
WARM_UP = 50
BETWEEN = 5
"""Runs between two measurements."""
CHECKED = 25
"""Runs between two comparisons of the same image."""
SETTLING = 30
"""Seconds at most until the server has dropped its models."""
SLOPE = 0.1
"""Megabytes that a run may add to resident memory."""
SAMPLERS = {"KSampler", "SamplerCustom", "DenseFace_SampleAnnotated"}
FAULTS = ("interrupted", "failing", "no face", "missing file")
COUNTED = "tensors", "modules", "slots", "hooks", "files", "threads"


@pytest.fixture(scope="module")
def soaked(host_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    packs = {"comfyui-dense-face": ROOT, "probe": Path(__file__).parent / "probe_pack"}
    with ComfyServer(host_path, tmp_path_factory.mktemp("soak"), packs) as running:
        yield running


def test_soak(soaked: ComfyServer, pytestconfig: pytest.Config) -> None:
    from scipy.stats import theilslopes  # one of the host's own libraries

    runs: int = pytestconfig.getoption("--soak-runs")  # pyright: ignore[reportAssignmentType]
    chance = random.Random(0)
    shipped = _workflows(soaked)
    order: list[str] = []
    expected: list[bytes] = []
    outcomes: Counter[str] = Counter()
    held: list[dict[str, float]] = []
    started = time.monotonic()
    for number in range(runs):
        if number % CHECKED == 0:
            images = [_image(soaked, shipped["01 First portrait"], node) for node in ("12", "22")]
            expected = expected or images
            assert images == expected, f"another image at run {number}"
        if number % BETWEEN == 0:
            networks = held[0]["modules"] if held else math.inf
            held.append(_held(soaked, networks) | {"run": number})
            _report(held[-1], time.monotonic() - started)
        if not order:
            order = chance.sample(sorted(shipped), len(shipped))
        graph = _varied(shipped[order.pop()], chance)
        fault = chance.choice(FAULTS) if chance.random() < 1 / 3 else ""
        outcomes[f"{fault or 'plain'}: {_outcome(soaked, graph, fault, chance)}"] += 1
    settled = [each for each in held if each["run"] >= min(WARM_UP, runs // 2)]
    memory = [each["resident"] for each in settled]
    fit: Any = theilslopes(memory, [each["run"] for each in settled])
    slope, low, high = fit.slope, fit.low_slope, fit.high_slope
    print(f"resident memory: {slope:.4f} MB a run ({low:.4f} to {high:.4f}), {dict(outcomes)}")
    assert slope < SLOPE
    # Single objects come and go with the server's own caches; a leak grows with every run.
    for name in COUNTED:
        middle = len(settled) // 2
        before, after = (
            float(np.median([each[name] for each in part]))
            for part in (settled[:middle], settled[middle:])
        )
        assert after <= before, f"{name}: {before} to {after}"


def _workflows(server: ComfyServer) -> dict[str, Graph]:
    """Name -> graph of every workflow of the tiny world, with few steps."""
    described = server.get("/object_info")
    found = {}
    for path in sorted((ROOT / "workflows").glob("*.json")):
        if needs_own_files(path):
            continue
        graph = to_api(json.loads(path.read_text(encoding="utf-8")), described)
        for node in graph.values():
            if "steps" in node["inputs"]:
                node["inputs"]["steps"] = STEPS
        found[path.stem] = graph
    return found


def _varied(graph: Graph, chance: random.Random) -> Graph:
    graph = deepcopy(graph)
    for node in graph.values():
        inputs = node["inputs"]
        for name in ("seed", "noise_seed"):
            if isinstance(inputs.get(name), int):
                inputs[name] = chance.randrange(2**32)
        if "mode" in inputs and node["class_type"] == "DenseFace_ApplyAdapter":
            inputs["mode"] = chance.choice(("auto", "runtime", "weights"))
    return graph


def _outcome(server: ComfyServer, graph: Graph, fault: str, chance: random.Random) -> str:
    """Run the graph with a fault in it; "success", "interrupted", "refused", or the error.

    Raises:
        AssertionError: An error that is not one of the pack's sentences, or none where one was due.
    """
    if fault == "failing":
        _fail_inside(graph, chance)
    elif fault == "no face":
        _without_face(graph, chance)
    elif fault == "missing file":
        for node in graph.values():
            if "LoadAdapter" in node["class_type"]:
                node["inputs"]["adapter_name"] = "no.safetensors"
    try:
        prompt = server.queue(graph)
    except ServerError:
        assert fault == "missing file"
        return "refused"
    if fault == "interrupted":
        time.sleep(chance.uniform(0, 4))
        server.interrupt()
    entry = server.wait(prompt)
    kinds = dict(entry["status"]["messages"])
    if "execution_interrupted" in kinds:
        return "interrupted"
    error = kinds.get("execution_error")
    if error is None:
        assert fault != "failing", "the failing UNet went unnoticed"
        return "success"
    kind = error["exception_type"]
    ours = ".errors." in kind
    meant = {"failing": "ProbeError" in kind, "no face": ours}.get(fault, False)
    assert meant, f"{fault or 'plain'}: {kind}: {error['exception_message']}"
    return kind.rpartition(".")[2]


def _fail_inside(graph: Graph, chance: random.Random) -> None:
    """The UNet of one sampler raises in one of its calls."""
    users = [
        (node["inputs"], name)
        for node in graph.values()
        for name in node["inputs"]
        if name in ("model", "text_model", "face_model")
        and (node["class_type"] in SAMPLERS or "Guider" in node["class_type"])
    ]
    inputs, name = chance.choice(users)
    failing = {"model": inputs[name], "call": chance.randint(1, STEPS)}
    graph["failing"] = {"class_type": "Soak_FailWhileSampling", "inputs": failing}
    inputs[name] = ["failing", 0]


def _without_face(graph: Graph, chance: random.Random) -> None:
    """One of the portraits becomes an empty image."""
    inputs = chance.choice(
        [
            node["inputs"]
            for node in graph.values()
            if isinstance(node["inputs"].get("image"), list)
            and node["class_type"].startswith(("DenseFace_", "SFSR_"))
        ]
    )
    sizes = {"width": 128, "height": 128, "batch_size": 1, "color": 0}
    graph["empty"] = {"class_type": "EmptyImage", "inputs": sizes}
    inputs["image"] = ["empty", 0]


def _image(server: ComfyServer, graph: Graph, node: str) -> bytes:
    """The pixels of a workflow's image; metadata of the file aside."""
    from io import BytesIO

    from PIL import Image

    (image,) = server.run(graph)[node]["images"]
    return Image.open(BytesIO(server.view(image))).tobytes()


def _held(server: ComfyServer, networks: float) -> dict[str, float]:
    """What the server's process holds without models, cached outputs and history."""
    server.post("/history", {"clear": True})  # it keeps the graphs of the last 10,000 runs
    server.free()
    # The worker thread does it between two runs; how soon depends on the machine.
    end = time.monotonic() + SETTLING
    while True:
        time.sleep(1.5)
        held = server.get("/soak/held")
        if held["modules"] <= networks or time.monotonic() > end:
            return held


def _report(held: dict[str, float], seconds: float) -> None:
    counts = ", ".join(f"{held[name]:.0f} {name}" for name in COUNTED)
    print(
        f"{seconds:6.0f} s  run {held['run']:4.0f}  {held['resident']:7.1f} MB  {counts}",
        flush=True,
    )

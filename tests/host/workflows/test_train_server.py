"""Train Face Adapter in a real server: a stopped run, and whether the person is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from comfy_server import ComfyServer, Graph
from watched_run import watched_run

EVALUATOR = "tiny-world-evaluator"


def ours(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": f"DenseFace_{kind}", "inputs": inputs}


def core(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def training(person: int, **changes: Any) -> Graph:
    """Eight portraits of a person, batched, and the node."""
    views = [(10, 0, 0), (11, 20, 0), (12, -20, 5), (13, 10, -8), (14, -10, 8), (15, 30, 0),
             (16, -30, 0), (17, 5, 12)]  # fmt: skip
    graph: Graph = {}
    for i, (scene, yaw, pitch) in enumerate(views):
        graph[f"photo{i}"] = portrait(person, scene, float(yaw), float(pitch))
        first = [f"batch{i - 1}" if i > 1 else "photo0", 0]
        if i:
            graph[f"batch{i}"] = core("ImageBatch", image1=first, image2=[f"photo{i}", 0])
    inputs: dict[str, Any] = {
        "model": ["world", 0], "clip": ["world", 1], "vae": ["world", 2],
        "analyzer": ["analyzer", 0], "image": [f"batch{len(views) - 1}", 0],
        "captions": "a close-up photo of *", "batch_size": 4, "grad_accumulation_steps": 1,
        "steps": 80, "learning_rate": 0.001, "seed": 0, "training_dtype": "fp32",
        "gradient_checkpointing": False, "size": 128, "sample_every": 40,
    }  # fmt: skip
    return {
        **graph,
        "world": ours("LoadTinyWorld"),
        "analyzer": ours("LoadTinyAnalyzer"),
        "train": ours("TrainAdapter", **{**inputs, **changes}),
    }


def portrait(person: int, scene: int, yaw: float, pitch: float) -> dict[str, Any]:
    return ours(
        "TinyPortrait", person=person, scene=scene, yaw=yaw, pitch=pitch, roll=0.0, size=128
    )


def drawing(graph: Graph, adapter: list[Any], person: int, steps: int, count: int) -> Graph:
    """Images by an adapter for a person of whom it gets a portrait that it has not seen."""
    who = {"adapter": adapter, "identity": ["identity", 0]}
    return {
        **graph,
        "held_out": portrait(person, 50, 0.0, 0.0),
        "identity": ours(
            "EncodeIdentity", analyzer=["analyzer", 0], image=["held_out", 0],
            pictures_show="one person",
        ),
        "face": ours(
            "ApplyAdapter", model=["world", 0], weight=1.0, start_percent=0.0, end_percent=1.0,
            mode="auto", **who,
        ),
        "prompt": ours("EncodePrompt", clip=["world", 1], text="a close-up photo of *", **who),
        **sampling("after", "face", "prompt", steps, count),
    }  # fmt: skip


def sampling(name: str, model: str, prompt: str, steps: int, count: int) -> Graph:
    return {
        "empty": core("CLIPTextEncode", clip=["world", 1], text=""),
        "latent": core("EmptyLatentImage", width=128, height=128, batch_size=count),
        f"{name}_latent": core(
            "KSampler", model=[model, 0], positive=[prompt, 0], negative=["empty", 0],
            latent_image=["latent", 0], seed=100, steps=steps, cfg=3.0, sampler_name="euler",
            scheduler="ddim_uniform", denoise=1.0,
        ),
        name: core("VAEDecode", vae=["world", 2], samples=[f"{name}_latent", 0]),
        f"{name}_shown": core("PreviewImage", images=[name, 0]),
    }  # fmt: skip


def test_a_stopped_run_leaves_a_file_and_goes_on(server: ComfyServer) -> None:
    folder = server.base / "output" / "dense_face"
    steps, stop = 24, 9
    graph = training(2, size=64, batch_size=1, steps=steps, sample_every=5)
    graph["saved"] = ours("SaveAdapter", adapter=["train", 0], name="anna")
    graph["graph"] = core("LossGraphNode", loss=["train", 1], filename_prefix="loss")
    stopped = watched_run(server, graph, stop=("train", stop))
    kinds = [kind for kind, _ in stopped.entry["status"]["messages"]]
    assert "execution_interrupted" in kinds and stopped.previews["train"] >= 1
    file = next(folder.glob("unfinished_*.safetensors"))
    assert draw_from(server, file)

    again = watched_run(server, graph)
    assert again.entry["status"]["status_str"] == "success"
    assert again.progress["train"][-1] == (steps, steps)
    done = [value for value, total in again.progress["train"] if total == steps and value > 0]
    assert min(done) >= stop, "it began anew"
    outputs = again.entry["outputs"]
    assert outputs["graph"]["images"] and outputs["train"]["images"]
    assert not list(folder.glob("unfinished_*"))
    assert draw_from(server, folder / "anna_00001.safetensors")


def test_it_runs_alone_and_is_saved_afterwards(server: ComfyServer) -> None:
    """Its image is in the history, from which a page that is opened anew gets it."""
    graph = training(2, size=64, batch_size=1, steps=3, sample_every=2)
    assert watched_run(server, graph).entry["outputs"]["train"]["images"]
    graph["saved"] = ours("SaveAdapter", adapter=["train", 0], name="later")
    again = watched_run(server, graph)
    assert (server.base / "output" / "dense_face" / "later_00001.safetensors").is_file()
    cached = dict(again.entry["status"]["messages"])["execution_cached"]["nodes"]
    assert "train" in cached, "it was trained again"
    assert again.entry["outputs"]["train"]["images"]


def draw_from(server: ComfyServer, file: Path) -> list[Any]:
    """Images by an adapter file that the server has written."""
    graph: Graph = {
        "world": ours("LoadTinyWorld"),
        "analyzer": ours("LoadTinyAnalyzer"),
        "loaded": ours("LoadAdapter", adapter_name=file.name),
    }
    return server.run(drawing(graph, ["loaded", 0], 2, 2, 1))["after_shown"]["images"]


@pytest.mark.slow
@pytest.mark.parametrize(("person", "seed"), [(2, 0), (5, 1), (11, 2)])
def test_it_learns_a_person(server: ComfyServer, person: int, seed: int) -> None:
    """By a recogniser that conditioned nothing, against a portrait that was not trained on.

    Without training the base draws anybody (docs/training.md has the figures).
    """
    graph = drawing(training(person, seed=seed), ["train", 0], person, 12, 6)
    graph["anybody"] = core(
        "CLIPTextEncode", clip=["world", 1], text="a close-up photo of a person"
    )
    graph |= sampling("before", "world", "anybody", 12, 6)
    graph["evaluator"] = ours("LoadTinyJudge")
    for name in ("before", "after"):
        graph[f"{name}_likeness"] = ours(
            "MeasureLikeness", analyzer=["analyzer", 0], image=[name, 0],
            reference=["held_out", 0], independent=["evaluator", 0],
        )  # fmt: skip
    outputs = server.run(graph, timeout=1500)
    before, after = (likeness(outputs[f"{name}_likeness"]) for name in ("before", "after"))
    assert after - before > 0.25, (before, after)


def likeness(shown: dict[str, Any]) -> float:
    """The mean by the evaluator."""
    bars = [bar for bar in shown["measured_bars"] if bar["by"] == EVALUATOR]
    return sum(float(bar["number"]) for bar in bars) / len(bars)

"""Long steps show how far they are; those that sample also show what they draw."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from comfy_server import ComfyServer, Graph
from PIL import Image
from watched_run import WatchedRun, watched_run

STEPS = 3
SAMPLERS = ("annotated", "blended", "joint", "predicted", "midpoint")
IMAGE_BY_IMAGE = {
    "sweep": 4, "identity": 2, "likeness": 2, "pose": 2, "expression": 2, "detect": 2, "mask": 2,
    "crop": 2, "paste": 2, "paste_mask": 6, "part_masks": 2, "draw": 2, "photo_pose": 2,
    "annotate": 4, "background": 2, "saved": 2, "heads": 5,
}  # fmt: skip
"""Node of the graph to the number of steps of its last progress bar."""


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def ours(kind: str, **inputs: Any) -> dict[str, Any]:
    return node(f"DenseFace_{kind}", **inputs)


def graph() -> Graph:
    """Every node of ours that may take long, in the tiny world."""
    person = {"adapter": ["adapter", 0], "identity": ["identity", 0]}
    schedule = {"noise": ["noise", 0], "sigmas": ["sigmas", 0], "latent_image": ["latent", 0]}
    prompts = {"positive": ["prompt", 0], "negative": ["empty", 0]}
    scene_and_face = {
        "model": ["world", 0], "positive": ["empty", 0], "negative": ["empty", 0],
        "face_model": ["face", 0], "face_positive": ["prompt", 0], "face_negative": ["empty", 0],
        "cfg": 2.0, "face_cfg": 2.0, "end_percent": 1.0, "feather": 0.0,
    }  # fmt: skip
    two, analyzer = {"image": ["two", 0]}, {"analyzer": ["analyzer", 0]}

    def sampled(guider: str = "guider", sampler: str = "euler") -> dict[str, Any]:
        return node("SamplerCustomAdvanced", guider=[guider, 0], sampler=[sampler, 0], **schedule)

    return {
        "world": ours("LoadTinyWorld"),
        "analyzer": ours("LoadTinyAnalyzer"),
        "adapter": ours("LoadAdapter", adapter_name="tiny world (bundled)"),
        "head": ours("LoadAnnotationHead", head_name="tiny world (bundled)"),
        "one": ours("TinyPortrait", person=2, scene=3, yaw=0.0, pitch=0.0, roll=0.0, size=128),
        "other": ours("TinyPortrait", person=2, scene=8, yaw=9.0, pitch=0.0, roll=0.0, size=128),
        "two": node("ImageBatch", image1=["one", 0], image2=["other", 0]),
        "identity": ours("EncodeIdentity", pictures_show="one person", **two, **analyzer),
        "prompt": ours("EncodePrompt", clip=["world", 1], text="a photo of *", **person),
        "empty": node("CLIPTextEncode", clip=["world", 1], text=""),
        "face": ours(
            "ApplyAdapter", model=["world", 0], weight=1.0, start_percent=0.0, end_percent=1.0,
            mode="auto", **person,
        ),
        "noise": node("RandomNoise", noise_seed=0),
        "sigmas": node(
            "BasicScheduler", model=["world", 0], scheduler="ddim_uniform", steps=STEPS, denoise=1.0
        ),
        "latent": node("EmptyLatentImage", width=128, height=128, batch_size=1),
        "euler": node("KSamplerSelect", sampler_name="euler"),
        "guider": node("CFGGuider", model=["face", 0], cfg=2.0, **prompts),
        "annotated": ours(
            "SampleAnnotated", guider=["guider", 0], sampler=["euler", 0], head=["head", 0],
            start_percent=0.0, end_percent=1.0, take="last step", **schedule,
        ),
        "ddim": ours(
            "BlendedSampler", eta=1.0, background_noise="fresh in every step",
            start="noised scene", end="clean", mask_edge="soft",
        ),
        "blended": sampled(sampler="ddim"),
        "left_half": node("SolidMask", value=1.0, width=64, height=128),
        "right": node("SolidMask", value=0.0, width=128, height=128),
        "half": node(
            "MaskComposite", destination=["right", 0], source=["left_half", 0], x=0, y=0,
            operation="add",
        ),
        "both": ours("JointGuider", mask=["half", 0], start_percent=0.0, **scene_and_face),
        "joint": sampled("both"),
        "finding": ours(
            "PredictedJointGuider", head=["head", 0], start_percent=0.3, threshold=0.5, grow=0.25,
            **scene_and_face,
        ),
        "predicted": sampled("finding"),
        "second_order": node(
            "SFSR_MidpointSampler", rule="geometric", switch_percent=0.0, finish="euler"
        ),
        "midpoint": sampled(sampler="second_order"),
        "quick": ours(
            "QuickPortrait", reference=["one", 0], text="a photo of *", yaw=20.0, pitch=0.0,
            roll=0.0, seed=0,
        ),
        "sweep": ours(
            "PoseSweep", from_yaw=-40.0, from_pitch=0.0, from_roll=0.0, to_yaw=40.0, to_pitch=0.0,
            to_roll=0.0, count=4, size=64,
        ),
        "likeness": ours("MeasureLikeness", reference=["two", 0], **two, **analyzer),
        "pose": ours("MeasurePose", pose=["one", 2], **two, **analyzer),
        "expression": ours("MeasureExpression", reference=["one", 0], **two, **analyzer),
        "photo_pose": ours("PoseFromPicture", size=64, **two, **analyzer),
        "detect": ours(
            "DetectFaces", order="largest first", face_index=0, min_score=0.0, min_size=0,
            on_missing="error", retry=True, **two, **analyzer,
        ),
        "draw": ours(
            "DrawFaces", faces=["detect", 0], boxes=True, numbers=True, landmarks=True, pose=True,
            **two,
        ),
        "crop": ours("CropFace", faces=["detect", 0], size=64, padding=0.25, **two),
        "paste": ours(
            "PasteFace", crops=["crop", 0], faces=["crop", 1], feather=0.06, match_colours=False,
            **two,
        ),
        "part_masks": ours(
            "MaskFaces", faces=["detect", 0], one_for="a face", face=True, eyes=False, brows=False,
            nose=False, mouth=False, grow=0.0, feather=0.0, **two,
        ),
        "mask": ours(
            "FaceMask", region="head with hair", grow=0.1, feather=0.0, **two, **analyzer
        ),
        "paste_mask": ours(
            "PasteMask", scene=["two", 0], generated=["two", 0], mask=["mask", 0], grow=0.0,
            **analyzer,
        ),
        "background": node(
            "SFSR_Background", vae=["world", 2], mask=["mask", 0], grow=0.0, order="mask first",
            **two,
        ),
        "annotate": ours(
            "AnnotatePicture", model=["world", 0], vae=["world", 2], positive=["empty", 0],
            head=["head", 0], timestep=1, seed=0, **two,
        ),
        "saved": ours(
            "SaveAnnotations", annotations=["annotate", 0], filename_prefix="annotations/face"
        ),
        "sad": node(
            "SFSR_ExpressionFromWord", word="grief", intensity=1.0, seed=0, variation=0.0
        ),
        "glad": node("SFSR_ExpressionFromWord", word="joy", intensity=1.0, seed=0, variation=0.0),
        "travel": node("SFSR_ExpressionTravel", start=["sad", 0], end=["glad", 0], count=5),
        "heads": node("SFSR_PreviewExpression", expression=["travel", 0], person=7, size=64),
        # Results that nothing else asks for.
        **{
            f"shown_{name}": node("VAEDecode", vae=["world", 2], samples=[name, 0])
            for name in SAMPLERS
        },
        **{f"seen_{name}": node("PreviewImage", images=[f"shown_{name}", 0]) for name in SAMPLERS},
        "seen_quick": node("PreviewImage", images=["quick", 0]),
        "seen_paste": node("PreviewImage", images=["paste", 0]),
        "seen_part_masks": node("MaskPreview", mask=["part_masks", 0]),
        "seen_paste_mask": node("MaskPreview", mask=["paste_mask", 0]),
        "seen_background": node("PreviewImage", images=["background", 2]),
    }  # fmt: skip


@pytest.fixture(scope="module")
def run(server: ComfyServer) -> WatchedRun:
    """A run of all these nodes, with latent previews."""
    run = watched_run(server, graph(), preview_method="latent2rgb")
    assert run.entry["status"]["status_str"] == "success", run.entry["status"]["messages"]
    return run


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampling_shows_each_step_and_what_it_draws(run: WatchedRun, sampler: str) -> None:
    shown = run.progress[sampler]
    assert [done for done, of in shown if of == STEPS][-1] == STEPS
    assert run.previews[sampler] >= 1
    assert Image.open(BytesIO(run.last_preview[sampler])).size[0] >= 16


def test_quick_portrait_shows_its_inner_sampling(run: WatchedRun) -> None:
    assert (20, 20) in run.progress["quick"]
    assert run.previews["quick"] >= 2


def test_previews_of_the_tiny_world_have_its_colours(run: WatchedRun, server: ComfyServer) -> None:
    last = Image.open(BytesIO(run.last_preview["quick"]))
    done = Image.open(BytesIO(server.view(run.entry["outputs"]["seen_quick"]["images"][0])))
    preview, image = (
        np.asarray(each.convert("RGB").resize((16, 16), Image.Resampling.BOX)) / 255.0
        for each in (last, done)
    )
    assert np.abs(preview - image).mean() < 0.13


@pytest.mark.parametrize("name", IMAGE_BY_IMAGE)
def test_a_batch_shows_each_image(run: WatchedRun, name: str) -> None:
    count = IMAGE_BY_IMAGE[name]
    assert run.progress[name][-1] == (count, count), run.progress[name]

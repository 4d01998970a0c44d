"""The image for the help page of training in the graph."""

from __future__ import annotations

from functools import partial, reduce

from help_studio import Output, Studio
from tiny_graphs import WORLD, analyzer, identity, person, prompt, sampled

PERSON, OTHER_SCENE = 5, 50
YAWS = (0.0, 20.0, -20.0, 10.0, -10.0, 30.0, -30.0, 5.0)
SETTINGS = {
    "captions": "a close-up photo of *", "batch_size": 4, "steps": 80, "learning_rate": 0.001,
    "training_dtype": "fp32", "gradient_checkpointing": False, "size": 128, "sample_every": 0,
}  # fmt: skip


def batch(studio: Studio, images: Output, more: Output) -> Output:
    return studio.node("ImageBatch", image1=images, image2=more)


def test_train(studio: Studio) -> None:
    photos = [person(studio, PERSON, 10 + i, yaw=yaw) for i, yaw in enumerate(YAWS)]
    model, clip, vae = (studio.node(WORLD, output) for output in range(3))
    trained = studio.node(
        "DenseFace_TrainAdapter",
        model=model,
        clip=clip,
        vae=vae,
        analyzer=analyzer(studio),
        image=reduce(partial(batch, studio), photos),
        **SETTINGS,
    )
    who = identity(studio, person(studio, PERSON, OTHER_SCENE))
    applied = studio.node("DenseFace_ApplyAdapter", model=model, adapter=trained, identity=who)
    text = studio.node(
        "DenseFace_EncodePrompt",
        clip=clip,
        adapter=trained,
        identity=who,
        text=SETTINGS["captions"],
    )
    before = sampled(studio, prompt(studio, "a close-up photo of a person"), 100)
    after = [sampled(studio, text, seed, model=applied) for seed in (100, 101)]
    shown = studio.images(*photos[:3], before, *after)
    lines = ("photo", "photo", "photo", "before", "after", "after")
    rows = list(zip(shown, lines, strict=True))
    studio.write("DenseFace_TrainAdapter", rows[:3], rows[3:])

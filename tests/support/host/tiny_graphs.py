"""Parts of graphs in the tiny world that the images of the help pages have in common."""

from __future__ import annotations

from typing import Any

from help_studio import Output, Studio

WORLD = "DenseFace_LoadTinyWorld"
BUNDLED = "tiny world (bundled)"
SETTINGS = {"steps": 20, "sampler_name": "euler", "scheduler": "ddim_uniform"}
SCENE = (
    "a close-up photo of a person with short brown hair, light skin, wearing a red shirt, "
    "facing forward, on a green striped background"
)


def person(studio: Studio, number: int, scene: int = 3, **values: Any) -> Output:
    return studio.node("DenseFace_TinyPortrait", person=number, scene=scene, **values)


def analyzer(studio: Studio) -> Output:
    return studio.node("DenseFace_LoadTinyAnalyzer")


def detected(studio: Studio, image: Output, output: int = 0, **values: Any) -> Output:
    return studio.node(
        "DenseFace_DetectFaces", output, analyzer=analyzer(studio), image=image, **values
    )


def of_mask(studio: Studio, mask: Output) -> Output:
    """The mask as an image."""
    return studio.node("MaskToImage", mask=mask)


def prompt(studio: Studio, text: str) -> Output:
    return studio.node("CLIPTextEncode", clip=studio.node(WORLD, 1), text=text)


def sampled(
    studio: Studio,
    positive: Output,
    seed: int,
    *,
    model: Output | None = None,
    latent: Output | None = None,
    cfg: float = 3.0,
) -> Output:
    """The image that KSampler makes with the tiny world."""
    samples = studio.node(
        "KSampler",
        model=model or studio.node(WORLD),
        positive=positive,
        negative=prompt(studio, ""),
        latent_image=latent or studio.node("EmptyLatentImage", width=128, height=128),
        seed=seed,
        cfg=cfg,
        **SETTINGS,
    )
    return studio.node("VAEDecode", samples=samples, vae=studio.node(WORLD, 2))


def scene(studio: Studio) -> Output:
    """A generated person in front of green stripes."""
    return sampled(studio, prompt(studio, SCENE), 4)


def identity(studio: Studio, image: Output) -> Output:
    return studio.node("DenseFace_EncodeIdentity", analyzer=analyzer(studio), image=image)


def adapter(studio: Studio, output: int = 0) -> Output:
    return studio.node("DenseFace_LoadAdapter", output, adapter_name=BUNDLED)


def pose(studio: Studio, **angles: float) -> Output:
    """The pose image of these angles."""
    return studio.node("DenseFace_PoseFromAngles", 1, size=128, **angles)


def posed(studio: Studio, positive: Output, pose_image: Output) -> Output:
    return studio.node(
        "ControlNetApplyAdvanced",
        positive=positive,
        negative=prompt(studio, ""),
        control_net=adapter(studio, 1),
        image=pose_image,
    )


def with_identity(
    studio: Studio,
    who: Output,
    text: str,
    yaw: float,
    seed: int,
    *,
    weight: float = 1.0,
    latent: Output | None = None,
) -> Output:
    """An image of an identity, turned by ``yaw`` degrees."""
    model = studio.node(
        "DenseFace_ApplyAdapter",
        model=studio.node(WORLD),
        adapter=adapter(studio),
        identity=who,
        weight=weight,
    )
    positive = studio.node(
        "DenseFace_EncodePrompt",
        clip=studio.node(WORLD, 1),
        adapter=adapter(studio),
        text=text,
        identity=who,
    )
    positive = posed(studio, positive, pose(studio, yaw=yaw))
    return sampled(studio, positive, seed, model=model, latent=latent)

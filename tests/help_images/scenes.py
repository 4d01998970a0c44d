"""Images for the help pages of putting a head into a scene."""

from __future__ import annotations

from help_studio import Output, Studio
from tiny_graphs import (
    BUNDLED,
    WORLD,
    analyzer,
    detected,
    identity,
    of_mask,
    person,
    posed,
    prompt,
    sampled,
    scene,
    with_identity,
)

PERSON = 40
RED_SHIRT = "a close-up photo of *, wearing a red shirt, smiling, on a green striped background"
EXPRESSIONS = ("joy / happiness", "sadness / sadness")


def head_mask(studio: Studio, image: Output, grow: float = 0.12) -> Output:
    return studio.node("DenseFace_FaceMask", analyzer=analyzer(studio), image=image, grow=grow)


def turned(studio: Studio, image: Output, mask: Output, who: Output, seed: int) -> Output:
    """The image with another head inside the mask, before it is composited."""
    latent = studio.node("VAEEncode", pixels=image, vae=studio.node(WORLD, 2))
    latent = studio.node("SetLatentNoiseMask", samples=latent, mask=mask)
    return with_identity(studio, who, RED_SHIRT, -25.0, seed, latent=latent)


def swapped(studio: Studio, image: Output, mask: Output, word: str) -> Output:
    """The image with another person in it, by Apply SFSR."""
    background = studio.node("SFSR_Background", image=image, mask=mask, vae=studio.node(WORLD, 2))
    who = studio.node(
        "DenseFace_IdentityAwayFrom",
        identity=identity(studio, person(studio, PERSON)),
        other=identity(studio, image),
    )
    model = studio.node(
        "SFSR_Apply",
        model=studio.node(WORLD),
        adapter=studio.node("SFSR_LoadAdapter", adapter_name=BUNDLED),
        identity=who,
        expression=studio.node("SFSR_ExpressionFromWord", word=word, variation=0.0),
        background=background,
    )
    text = "a close-up photo of a person wearing a red shirt, on a green striped background"
    head_pose = studio.node(
        "DenseFace_PoseFromPicture", 1, analyzer=analyzer(studio), image=image, size=128
    )
    positive = posed(studio, prompt(studio, text), head_pose)
    return sampled(studio, positive, 3, model=model, latent=(background[0], 1), cfg=2.0)


def composited(studio: Studio, image: Output, made: Output, mask: Output) -> Output:
    """The result over the restored scene."""
    paste, _ = studio.node(
        "DenseFace_PasteMask", analyzer=analyzer(studio), scene=image, generated=made, mask=mask
    )
    return studio.node("DenseFace_Composite", scene=(paste, 1), generated=made, mask=(paste, 0))


def test_composite(studio: Studio) -> None:
    where = scene(studio)
    mask = head_mask(studio, where)
    made = turned(studio, where, mask, identity(studio, person(studio, PERSON)), 5)
    whole = studio.node("DenseFace_Composite", scene=where, generated=made, mask=mask)
    images = studio.images(where, made, of_mask(studio, mask), whole)
    one, two, three, four = zip(images, ("scene", "generated", "mask", "image"), strict=True)
    studio.write("DenseFace_Composite", [one, two], [three, None, four])


def test_paste_mask(studio: Studio) -> None:
    where = scene(studio)
    mask = head_mask(studio, where, 0.22)
    made = swapped(studio, where, mask, EXPRESSIONS[0])
    paste, _ = studio.node(
        "DenseFace_PasteMask", analyzer=analyzer(studio), scene=where, generated=made, mask=mask
    )
    images = studio.images(
        of_mask(studio, mask),
        made,
        of_mask(studio, (paste, 0)),
        composited(studio, where, made, mask),
    )
    lines = ("mask for sampling", "generated", "mask for Composite", "image")
    one, two, three, four = zip(images, lines, strict=True)
    studio.write("DenseFace_PasteMask", [one, two], [three, None, four])


def test_background(studio: Studio) -> None:
    where = scene(studio)
    mask = head_mask(studio, where, 0.22)
    emptied = studio.node("SFSR_Background", 2, image=where, mask=mask, vae=studio.node(WORLD, 2))
    before, after, whole = studio.images(
        where,
        emptied,
        composited(studio, where, swapped(studio, where, mask, EXPRESSIONS[0]), mask),
    )
    studio.write(
        "SFSR_Background", [(before, "image"), None, (after, "emptied"), (whole, "Apply SFSR")]
    )


def test_apply(studio: Studio) -> None:
    where = scene(studio)
    mask = head_mask(studio, where, 0.22)
    made = [
        composited(studio, where, swapped(studio, where, mask, word), mask) for word in EXPRESSIONS
    ]
    images = studio.images(where, person(studio, PERSON), *made)
    lines = ("scene", "identity", "happiness", "sadness")
    one, two, three, four = zip(images, lines, strict=True)
    studio.write("SFSR_Apply", [one, two], [three, four])


def test_paste(studio: Studio) -> None:
    photo = person(studio, 8, 12, roll=-20, size=256)
    crop, _ = studio.node(
        "DenseFace_CropFace",
        faces=detected(studio, photo),
        image=photo,
        size=128,
        padding=0.0,
    )
    mask = head_mask(studio, (crop, 0))
    made = turned(studio, (crop, 0), mask, identity(studio, photo), 7)
    whole = studio.node(
        "DenseFace_PasteFace",
        image=photo,
        crops=made,
        faces=(crop, 1),
        mask=mask,
        match_colours=True,
    )
    images = studio.images(photo, (crop, 0), made, whole)
    one, two, three, four = zip(images, ("image", "crop", "crop, edited", "pasted"), strict=True)
    studio.write("DenseFace_PasteFace", [one, two], [three, None, four])


def test_annotations(studio: Studio) -> None:
    photo = person(studio, 5, 1, yaw=20)
    found = studio.node(
        "DenseFace_AnnotatePicture",
        model=studio.node(WORLD),
        vae=studio.node(WORLD, 2),
        positive=prompt(studio, ""),
        head=studio.node("DenseFace_LoadAnnotationHead", head_name=BUNDLED),
        image=photo,
    )
    shown, _ = studio.node("DenseFace_AnnotationPictures", annotations=found, image=photo)
    before, depth, parts = studio.images(photo, (shown, 1), (shown, 3))
    studio.write(
        "DenseFace_AnnotationPictures",
        [(before, "image"), None, (depth, "depth"), (parts, "parts")],
    )

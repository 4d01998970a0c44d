"""Images for the help pages of finding, cutting and masking faces."""

from __future__ import annotations

from help_studio import Output, Studio
from image_rows import tinted
from tiny_graphs import analyzer, detected, of_mask, person

PEOPLE = ((2, 3, -15.0), (8, 12, 0.0), (9, 14, 15.0))
"""Person, scene and yaw of each head in the group."""
REGIONS = ("head with hair", "face")


def group(studio: Studio, **angles: float) -> Output:
    """Three heads in one image."""
    one, two, three = (person(studio, who, where, yaw=yaw, **angles) for who, where, yaw in PEOPLE)
    pair = studio.node("ImageStitch", image1=one, image2=two)
    return studio.node("ImageStitch", image1=pair, image2=three)


def test_detect(studio: Studio) -> None:
    people = group(studio)
    before, after = studio.images(people, detected(studio, people, 2))
    studio.write("DenseFace_DetectFaces", [(before, "image")], [(after, "preview")])


def test_draw(studio: Studio) -> None:
    photo = person(studio, 8, 12, yaw=25, size=384)
    drawn = studio.node("DenseFace_DrawFaces", faces=detected(studio, photo), image=photo)
    before, after = studio.images(photo, drawn)
    studio.write("DenseFace_DrawFaces", [(before, "image"), None, (after, "faces drawn")])


def test_crop(studio: Studio) -> None:
    people = group(studio, roll=20.0)
    crop = studio.node(
        "DenseFace_CropFace", faces=detected(studio, people), image=people, size=256, padding=-0.05
    )
    before, *after = studio.images(people, crop)
    studio.write("DenseFace_CropFace", [(before, "image")], [(each, "crop") for each in after])


def test_mask(studio: Studio) -> None:
    photo = person(studio, 9, 14)
    masks = [
        studio.node("DenseFace_FaceMask", analyzer=analyzer(studio), image=photo, region=region)
        for region in REGIONS
    ]
    image, *shown = studio.images(photo, *(of_mask(studio, mask) for mask in masks))
    red = [tinted(image, mask) for mask in shown]
    shown = list(zip(red, REGIONS, strict=True))
    studio.write("DenseFace_FaceMask", [(image, "image"), None, *shown])


def test_masks_of_faces(studio: Studio) -> None:
    photo = person(studio, 8, 12, size=256)
    parts = ("face", "eyes", "mouth")
    masks = [
        studio.node(
            "DenseFace_MaskFaces",
            faces=detected(studio, photo),
            image=photo,
            **{each: each == part for each in parts},
        )
        for part in parts
    ]
    image, *shown = studio.images(photo, *(of_mask(studio, mask) for mask in masks))
    red = [tinted(image, mask) for mask in shown]
    studio.write("DenseFace_MaskFaces", list(zip(red, parts, strict=True)))


def test_likeness(studio: Studio) -> None:
    reference = person(studio, 8, 12)
    others = (person(studio, 8, 6, yaw=25), person(studio, 9, 14))
    numbers = studio.texts(
        *(
            studio.node(
                "DenseFace_MeasureLikeness",
                analyzer=analyzer(studio),
                image=other,
                reference=reference,
            )
            for other in others
        )
    )
    first, *shown = studio.images(reference, *others)
    lines = [f"likeness {float(number):.2f}" for number in numbers]
    studio.write(
        "DenseFace_MeasureLikeness",
        [(first, "reference"), None, *zip(shown, lines, strict=True)],
    )

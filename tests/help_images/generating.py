"""Images for the help pages of what generates a person in the tiny world."""

from __future__ import annotations

from help_studio import Studio
from tiny_graphs import WORLD, identity, person, pose, posed, prompt, sampled, with_identity

PERSON = 28
SUNSET = "a close-up photo of *, wearing a white shirt, smiling, facing right, at sunset"
FOREST = "a close-up photo of *, wearing a yellow shirt, smiling, facing left, in a forest"
STRIPES = "a close-up photo of *, wearing a red shirt, smiling, on a green striped background"


def test_world(studio: Studio) -> None:
    prompts = {
        "long red hair": (
            "a close-up photo of a person with long red hair, light skin, smiling, facing "
            "forward, on a blue gradient background",
            4,
        ),
        "curly black hair": (
            "a close-up photo of a person with curly black hair, brown skin, smiling, facing "
            "forward, on a yellow plain background",
            4,
        ),
        "facing left": (
            "a close-up photo of a person with blond bob hair, pale skin, wearing a red shirt, "
            "facing left, in a forest",
            2,
        ),
    }
    made = (sampled(studio, prompt(studio, text), seed) for text, seed in prompts.values())
    studio.write(WORLD, list(zip(studio.images(*made), prompts, strict=True)))


def test_portrait(studio: Studio) -> None:
    images = studio.images(
        person(studio, 8, 12, size=256),
        person(studio, 8, 12, yaw=40, size=256),
        person(studio, 8, 6, size=256),
        person(studio, 9, 14, size=256),
        person(studio, 9, 14, roll=20, size=256),
        person(studio, 9, 14, pitch=20, size=256),
    )
    lines = ("person 8", "yaw 40", "another scene", "person 9", "roll 20", "pitch 20")
    shown = list(zip(images, lines, strict=True))
    studio.write("DenseFace_TinyPortrait", shown[:3], shown[3:])


def test_quick(studio: Studio) -> None:
    reference = person(studio, PERSON)
    quick = [
        studio.node("DenseFace_QuickPortrait", reference=reference, yaw=yaw, seed=seed)
        for yaw, seed in ((25.0, 0), (-25.0, 1))
    ]
    before, one, other = studio.images(reference, *quick)
    studio.write(
        "DenseFace_QuickPortrait",
        [(before, "reference"), None, (one, "yaw 25"), (other, "yaw -25")],
    )


def test_identity(studio: Studio) -> None:
    photo = person(studio, PERSON)
    who = identity(studio, photo)
    made = with_identity(studio, who, SUNSET, -20.0, 4), with_identity(studio, who, FOREST, 20.0, 3)
    before, one, other = studio.images(photo, *made)
    studio.write(
        "DenseFace_EncodeIdentity",
        [(before, "image"), None, (one, "new image"), (other, "new image")],
    )


def test_prompt(studio: Studio) -> None:
    who = identity(studio, person(studio, PERSON))
    made = (
        with_identity(studio, who, SUNSET, -20.0, 7),
        with_identity(studio, who, FOREST, 20.0, 4),
        with_identity(studio, who, STRIPES, 0.0, 4),
    )
    lines = ("*, at sunset", "*, in a forest", "*, striped background")
    studio.write("DenseFace_EncodePrompt", list(zip(studio.images(*made), lines, strict=True)))


def test_adapter(studio: Studio) -> None:
    photo = person(studio, PERSON)
    anyone = prompt(studio, STRIPES.replace("*", "a person"))
    without = sampled(studio, posed(studio, anyone, pose(studio, yaw=-20.0)), 7)
    applied = with_identity(studio, identity(studio, photo), STRIPES, -20.0, 7)
    before, one, other = studio.images(photo, without, applied)
    studio.write(
        "DenseFace_ApplyAdapter",
        [(one, "without"), (before, "identity"), None, (other, "with adapter")],
    )


def test_angles(studio: Studio) -> None:
    turns = ({"yaw": 30.0}, {"pitch": 25.0}, {"roll": 25.0})
    images = studio.images(
        *(person(studio, 8, 12, **angles) for angles in turns),
        *(pose(studio, **angles) for angles in turns),
    )
    lines = ("yaw 30", "pitch 25", "roll 25", *("pose image",) * 3)
    shown = list(zip(images, lines, strict=True))
    studio.write("DenseFace_PoseFromAngles", shown[:3], shown[3:])


def test_sweep(studio: Studio) -> None:
    sweep = studio.node("DenseFace_PoseSweep", 1, size=128, count=3)
    heads = [person(studio, 8, 12, yaw=yaw) for yaw in (-40.0, 0.0, 40.0)]
    lines = ("yaw -40", "yaw 0", "yaw 40", *("pose image",) * 3)
    shown = list(zip(studio.images(*heads, sweep), lines, strict=True))
    studio.write("DenseFace_PoseSweep", shown[:3], shown[3:])


def test_pose_of_image(studio: Studio) -> None:
    photo = person(studio, 9, 14, yaw=-30, pitch=10)
    read = studio.node(
        "DenseFace_PoseFromPicture",
        1,
        analyzer=studio.node("DenseFace_LoadTinyAnalyzer"),
        image=photo,
        size=128,
    )
    before, after = studio.images(photo, read)
    studio.write("DenseFace_PoseFromPicture", [(before, "image"), None, (after, "pose image")])

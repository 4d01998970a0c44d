"""Images for the help pages of expressions."""

from __future__ import annotations

from help_studio import Output, Studio
from tiny_graphs import analyzer, person

PRIMARIES = (
    "love / love", "joy / happiness", "surprise / surprise", "anger / anger", "sadness / sadness",
    "fear / fear",
)  # fmt: skip


def preview(studio: Studio, expression: Output, **values: int) -> Output:
    return studio.node("SFSR_PreviewExpression", expression=expression, **values)


def word(studio: Studio, name: str) -> Output:
    return studio.node("SFSR_ExpressionFromWord", word=name)


def test_word(studio: Studio) -> None:
    heads = studio.images(*(preview(studio, word(studio, name)) for name in PRIMARIES))
    names = [name.split(" / ")[1] for name in PRIMARIES]
    shown = list(zip(heads, names, strict=True))
    studio.write("SFSR_ExpressionFromWord", shown[:3], shown[3:])


def test_sliders(studio: Studio) -> None:
    moves = {
        "at rest": {},
        "mouth smile": {"mouthSmileLeft": 0.9, "mouthSmileRight": 0.9},
        "jaw open": {"jawOpen": 0.7},
        "eye blink left": {"eyeBlinkLeft": 1.0},
        "brow down": {"browDownLeft": 1.0, "browDownRight": 1.0},
        "mouth pucker": {"mouthPucker": 1.0},
    }
    codes = (studio.node("SFSR_ExpressionFromSliders", **values) for values in moves.values())
    heads = studio.images(*(preview(studio, code) for code in codes))
    shown = list(zip(heads, moves, strict=True))
    studio.write("SFSR_ExpressionFromSliders", shown[:3], shown[3:])


def test_from_image(studio: Studio) -> None:
    photos = [person(studio, 24, 20), person(studio, 31, 13)]
    read = [
        studio.node("SFSR_ExpressionFromPicture", analyzer=analyzer(studio), image=photo)
        for photo in photos
    ]
    one, first, two, second = studio.images(
        photos[0], preview(studio, read[0]), photos[1], preview(studio, read[1])
    )
    studio.write(
        "SFSR_ExpressionFromPicture",
        [(one, "image"), None, (first, "expression")],
        [(two, "image"), None, (second, "expression")],
    )


def test_preview(studio: Studio) -> None:
    smile = word(studio, "joy / amusement")
    people = (7, 12, 20)
    heads = studio.images(*(preview(studio, smile, person=number) for number in people))
    lines = [f"person {number}" for number in people]
    studio.write("SFSR_PreviewExpression", list(zip(heads, lines, strict=True)))


def test_travel(studio: Studio) -> None:
    ends = word(studio, "sadness / sadness"), word(studio, "joy / happiness")
    travel = studio.node("SFSR_ExpressionTravel", start=ends[0], end=ends[1], count=6)
    heads = studio.images(preview(studio, travel))
    shown = list(zip(heads, ["start", "2", "3", "4", "5", "end"], strict=True))
    studio.write("SFSR_ExpressionTravel", shown[:3], shown[3:])


def test_blend(studio: Studio) -> None:
    one, other = word(studio, "surprise / surprise"), word(studio, "joy / happiness")
    blend = studio.node("SFSR_BlendExpressions", expression_1=one, expression_2=other)
    first, second, both = studio.images(*(preview(studio, each) for each in (one, other, blend)))
    studio.write(
        "SFSR_BlendExpressions",
        [(first, "surprise"), (second, "happiness"), None, (both, "blend, 1 to 1")],
    )

"""Captions of heads, and their phrases by attribute."""

from __future__ import annotations

from collections.abc import Collection

import torch

from ..faces.blendshapes import ARKIT_NAMES
from .people import (
    BACKGROUND_COLORS,
    BACKGROUND_PATTERNS,
    CLASSES,
    IDENTITY_NAMES,
    SHIRT_COLORS,
    Heads,
)

# In the order of the caption; those of IDENTITY_GROUPS describe the person.
GROUPS: tuple[str, ...] = (
    "hair", "skin", "eyes", "age", "face", "brows", "nose", "lips", "ears", "freckles",
    "facial_hair", "glasses", "earrings", "shirt", "expression", "gaze", "pose", "tilt",
    "background",
)  # fmt: skip
IDENTITY_GROUPS: frozenset[str] = frozenset(GROUPS[:13])
# Groups that are not preceded by "with".
_WITHOUT_WITH = frozenset({"shirt", "expression", "gaze", "pose", "tilt", "background"})

_SHAPE_WORDS: tuple[tuple[str, str, str, str], ...] = (
    ("face", "face_width", "wide face", "narrow face"),
    ("face", "face_length", "long face", "short face"),
    ("nose", "nose_width", "wide nose", "narrow nose"),
    ("nose", "nose_length", "long nose", "short nose"),
    ("brows", "brow_thickness", "thick eyebrows", "thin eyebrows"),
    ("ears", "ear_size", "big ears", "small ears"),
    ("freckles", "freckles", "freckles", ""),
    ("age", "wrinkles", "wrinkles", ""),
)
_HAIR = {
    "buzzed": "buzzed {} hair", "short": "short {} hair", "fringe": "{} hair with a fringe",
    "afro": "curly {} hair", "long": "long {} hair", "bob": "{} bob hair",
    "bun": "{} hair in a bun",
    "mohawk": "a {} mohawk", "pigtails": "{} pigtails",
}  # fmt: skip
_GLASSES = {
    "round": "round {} glasses", "square": "square {} glasses", "sunglasses": "{} sunglasses",
}  # fmt: skip
_FACIAL = {
    "stubble": "stubble", "moustache": "a moustache", "goatee": "a goatee", "beard": "a full beard",
}  # fmt: skip
#: Groups that are dropped, in this order, when a caption is too long for the text encoder.
_EXPENDABLE = (
    "gaze", "ears", "brows", "tilt", "shirt", "freckles", "earrings", "lips", "nose", "face",
)  # fmt: skip
_SCENES = {"window": "by a window", "sunset": "at sunset", "forest": "in a forest"}


def _identity_words(who: dict[str, float]) -> dict[str, str]:
    kind = {name: words[int(who[name])] for name, (words, _) in CLASSES.items()}
    words = {"skin": f"{kind['skin']} skin", "eyes": f"{kind['eye_color']} eyes"}
    style = kind["hair_style"]
    words["hair"] = "a bald head" if style == "bald" else _HAIR[style].format(kind["hair_color"])
    # Of several shapes of the same part, the most pronounced is named.
    strongest: dict[str, float] = {}
    for group, name, high, low in _SHAPE_WORDS:
        value = who[name]
        threshold = 0.25 if not low else 0.6
        phrase = high if value > threshold else low if value < -0.6 else ""
        if phrase and abs(value) > strongest.get(group, 0.0):
            strongest[group] = abs(value)
            plain = phrase.endswith(("s", "eyebrows")) and not phrase.endswith("face")
            words[group] = phrase if plain else f"a {phrase}"
    lips = [] if abs(who["lip_fullness"]) < 0.6 else ["full" if who["lip_fullness"] > 0 else "thin"]
    lips += [] if kind["lip_color"] == "natural" else [kind["lip_color"]]
    if lips:
        words["lips"] = " ".join([*lips, "lips"])
    if kind["facial_hair"] != "none":
        words["facial_hair"] = _FACIAL[kind["facial_hair"]]
    if kind["glasses"] == "sunglasses":
        del words["eyes"]
    if kind["glasses"] != "none":
        words["glasses"] = _GLASSES[kind["glasses"]].format(kind["frame_color"])
    if kind["earrings"] != "none" and style not in ("long", "bob"):
        words["earrings"] = f"{kind['earrings']} earrings"
    return words


def _expression_words(m: dict[str, float]) -> str:
    def both(name: str) -> float:
        return (m[name + "Left"] + m[name + "Right"]) / 2

    found: list[str] = []
    smile, jaw, blink = both("mouthSmile"), m["jawOpen"], both("eyeBlink")
    if smile > 0.4:
        found.append("laughing" if jaw > 0.3 else "smiling")
    elif both("noseSneer") > 0.4 and both("mouthUpperUp") > 0.35:
        found.append("disgusted")
    elif both("eyeWide") > 0.4 and both("mouthStretch") > 0.4:
        found.append("afraid")
    elif (both("eyeWide") > 0.4 or both("browOuterUp") > 0.5) and jaw > 0.3:
        found.append("surprised")
    elif both("browDown") > 0.4 and jaw > 0.5:
        found.append("shouting")
    elif both("mouthFrown") > 0.4 and m["browInnerUp"] > 0.4:
        found.append("sad")
    elif both("browDown") > 0.45:
        found.append("angry")
    elif m["mouthPucker"] > 0.6:
        found.append("kissing")
    elif m["mouthPucker"] > 0.25 or m["mouthShrugLower"] > 0.5:
        found.append("pouting")
    elif both("mouthFrown") > 0.4:
        found.append("frowning")
    elif abs(m["mouthSmileLeft"] - m["mouthSmileRight"]) > 0.35 and blink < 0.4:
        found.append("smirking")
    if blink > 0.65:
        found.append("eyes closed")
    elif abs(m["eyeBlinkLeft"] - m["eyeBlinkRight"]) > 0.5:
        found.append("winking")
    if not found and jaw > 0.35:
        found.append("mouth open")
    if not found and m["cheekPuff"] > 0.5:
        found.append("puffed cheeks")
    if not found and both("browOuterUp") > 0.5:
        found.append("raised eyebrows")
    return ", ".join(found) or "neutral expression"


def _gaze_words(m: dict[str, float]) -> str:
    if (m["eyeBlinkLeft"] + m["eyeBlinkRight"]) / 2 > 0.5:
        return ""
    # In the image: the person's left is on the right.
    right = m["eyeLookOutLeft"] + m["eyeLookInRight"] - m["eyeLookInLeft"] - m["eyeLookOutRight"]
    if abs(right) > 0.9:
        return "eyes to the right" if right > 0 else "eyes to the left"
    return ""


def _pose_words(angles: list[float]) -> tuple[str, str]:
    yaw, pitch, roll = angles
    words = []
    if abs(yaw) > 12:
        strong = "far " if abs(yaw) > 38 else ""
        words.append(f"facing {strong}{'left' if yaw > 0 else 'right'}")
    if abs(pitch) > 10:
        words.append(f"looking {'up' if pitch > 0 else 'down'}")
    pose = " and ".join(words) or "facing forward"
    tilt = "" if abs(roll) < 10 else f"head tilted {'right' if roll > 0 else 'left'}"
    return pose, tilt


def _background_words(background: list[float]) -> str:
    color, pattern = BACKGROUND_COLORS[int(background[0])], BACKGROUND_PATTERNS[int(background[1])]
    if pattern in _SCENES:
        return _SCENES[pattern]
    article = "an" if color == "orange" else "a"
    return f"on {article} {color} {pattern} background"


def attributes(heads: Heads) -> list[dict[str, str]]:
    """For each head its phrases by group (:data:`GROUPS`); groups without a phrase are absent."""
    result = []
    for i in range(len(heads)):
        who = dict(zip(IDENTITY_NAMES, heads.identity[i].tolist(), strict=True))
        moves = dict(zip(ARKIT_NAMES, heads.expression[i].tolist(), strict=True))
        words = _identity_words(who)
        words["shirt"] = f"wearing a {SHIRT_COLORS[int(heads.shirt[i])]} shirt"
        words["expression"] = _expression_words(moves)
        words["gaze"] = _gaze_words(moves) if "eyes" in words else ""
        words["pose"], words["tilt"] = _pose_words(heads.angles[i].tolist())
        words["background"] = _background_words(heads.background[i].tolist())
        result.append({group: words[group] for group in GROUPS if words.get(group)})
    return result


def _sentence(subject: str, words: dict[str, str], kept: Collection[str], limit: int = 44) -> str:
    kept, expendable = set(kept), list(_EXPENDABLE)
    while True:
        chosen = [(group, words[group]) for group in GROUPS if group in words and group in kept]
        body = [phrase for group, phrase in chosen if group not in _WITHOUT_WITH]
        tail = [phrase for group, phrase in chosen if group in _WITHOUT_WITH]
        start = f"a close-up photo of {subject}" + (" with " if body else "")
        text = ", ".join([start + ", ".join(body), *tail])
        count = len(text.replace(",", " ").split())
        if count <= limit or not expendable:
            return text
        kept.discard(expendable.pop(0))


def caption(
    heads: Heads,
    generator: torch.Generator | None = None,
    drop: float = 0.0,
    groups: Collection[str] = GROUPS,
) -> list[str]:
    """A caption of at most 44 words for each head, its groups in a fixed order.

    Args:
        drop: Probability with which each group is left out.

    Raises:
        ValueError: ``drop`` is above 0 without a generator.
    """
    if drop > 0 and generator is None:
        raise ValueError("captions that drop groups need a generator.")
    sentences = []
    for words in attributes(heads):
        kept = set(groups)
        if drop > 0:
            chance = torch.rand(len(GROUPS), generator=generator).tolist()
            kept = {g for g, c in zip(GROUPS, chance, strict=True) if g in kept and c >= drop}
        sentences.append(_sentence("a person", words, kept))
    return sentences


def identity_free_caption(
    heads: Heads, generator: torch.Generator | None = None, drop: float = 0.0
) -> list[str]:
    """Captions with the placeholder ``*`` for the person and without its appearance.

    Args and errors are those of :func:`caption`.
    """
    rest = [group for group in GROUPS if group not in IDENTITY_GROUPS]
    return [
        text.replace("a person", "*", 1) for text in caption(heads, generator, drop, groups=rest)
    ]

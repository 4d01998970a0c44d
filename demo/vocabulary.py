"""Vocabulary of the tiny text encoder; the order of the words is fixed by the released weights."""

from __future__ import annotations

import re

CONTEXT_LENGTH = 48
START, END, UNKNOWN, PLACEHOLDER = 0, 1, 2, 3

WORDS: tuple[str, ...] = (
    "<|startoftext|>", "<|endoftext|>", "<unk>", "*",
    # Frame of a caption.
    "a", "an", "the", "of", "with", "and", "in", "on", "at", "by", "to", "is", "who", "has",
    "wearing", "photo", "picture", "portrait", "image", "render", "close-up", "person", "man",
    "woman", "face", "head", "someone", "his", "her", "their", "no", "without", "very",
    # Hair and colours.
    "hair", "bald", "buzzed", "short", "fringe", "curly", "long", "bob", "bun", "mohawk",
    "pigtails", "afro", "straight", "hairstyle", "haired", "black", "brown", "blond", "blonde",
    "red", "gray", "grey", "white", "blue", "pink", "green", "amber", "orange", "yellow",
    "purple", "gold", "golden", "dark", "light", "pale", "tan", "bright", "color", "colored",
    # Looks.
    "skin", "eyes", "eye", "eyebrows", "brows", "nose", "lips", "lipstick", "mouth", "ears",
    "cheeks", "chin", "jaw", "forehead", "freckles", "wrinkles", "old", "young", "wide",
    "narrow", "big", "small", "thick", "thin", "full", "natural", "stubble", "moustache",
    "mustache", "goatee", "beard", "glasses", "sunglasses", "round", "square", "earrings",
    "shirt", "clothes", "friendly",
    # Expressions.
    "neutral", "expression", "smiling", "smile", "laughing", "angry", "surprised", "sad",
    "disgusted", "afraid", "pouting", "kissing", "winking", "smirking", "shouting", "frowning",
    "happy", "closed", "open", "puffed", "raised", "sleeping", "teeth", "serious",
    # Pose.
    "facing", "looking", "forward", "left", "right", "up", "down", "far", "tilted", "turned",
    "camera", "viewer", "profile", "front", "side", "from",
    # Backgrounds.
    "background", "plain", "striped", "dotted", "checked", "gradient", "window", "sunset",
    "forest", "stripes", "dots", "wall", "studio", "trees", "sky", "room", "outdoors", "sun",
    "sea",
)  # fmt: skip

WORD_INDEX: dict[str, int] = {word: i for i, word in enumerate(WORDS)}

_PATTERN = re.compile(r"\*|[a-z0-9]+(?:-[a-z0-9]+)*")


def words_of(text: str) -> list[str]:
    """Split a text into lower-case words, without punctuation."""
    return _PATTERN.findall(text.lower())


def encode(text: str) -> list[int]:
    """Token ids without start and end; unknown words become UNKNOWN."""
    return [WORD_INDEX.get(word, UNKNOWN) for word in words_of(text)]

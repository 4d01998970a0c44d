"""Names of face encoders: by the recogniser's file, with the names of former versions as aliases.

A folder says little about what lies in it: a renamed ``buffalo_l`` is the same recogniser, and a
folder ``antelopev2`` may hold Arc2Face's ``arcface.onnx``, which is another space
(docs/reference/published_weights.md A4, C3, G).
"""

from __future__ import annotations

from pathlib import PurePath

W600K_R50 = "insightface/w600k_r50"
W600K_MBF = "insightface/w600k_mbf"
GLINTR100 = "insightface/glintr100"
ARC2FACE = "arc2face/arcface"
SFACE = "opencv/sface"

ALIASES: dict[str, str] = {
    "buffalo_l": W600K_R50,
    "insightface/buffalo_l": W600K_R50,
    "insightface/buffalo_m": W600K_R50,
    "insightface/buffalo_s": W600K_MBF,
    "insightface/buffalo_sc": W600K_MBF,
    "antelopev2": GLINTR100,
    "insightface/antelopev2": GLINTR100,
    "arcface": ARC2FACE,
}
"""Former name to the name of today: those of folders, which saved identities and files bear."""

_BY_FILE = {
    "w600k_r50": W600K_R50,
    "w600k_mbf": W600K_MBF,
    "glintr100": GLINTR100,
    "arcface": ARC2FACE,
}


def canonical_encoder(name: str) -> str:
    """The name of today of an encoder; a name without alias stays as it is."""
    return ALIASES.get(name, name)


def same_encoder(one: str, other: str) -> bool:
    """Whether two names mean the same encoder, so that their vectors are of one space."""
    return canonical_encoder(one) == canonical_encoder(other)


def encoder_of_file(path: str | PurePath) -> str:
    """Name of a recogniser by its file: ``.../w600k_r50.onnx`` -> ``insightface/w600k_r50``.

    Files that are not in the table keep their own name, as ``insightface/<stem>``.
    """
    stem = PurePath(path).stem
    return _BY_FILE.get(stem.lower(), f"insightface/{stem}")


def names_of(name: str) -> tuple[str, ...]:
    """All names that mean the same encoder as ``name``, that of today first."""
    today = canonical_encoder(name)
    return (today, *(former for former, now in ALIASES.items() if now == today))

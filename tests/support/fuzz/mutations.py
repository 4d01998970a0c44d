"""Mutations of valid files: bytes, blocks, numbers and digits, by a generator of one's own."""

from __future__ import annotations

import random
import re

_NUMBERS = (
    b"\x00", b"\xff", b"\x7f", b"\x80", b"\xff\xff", b"\xff\xff\xff\x7f", b"\xff" * 4,
    b"\xff" * 7 + b"\x7f", b"\xff" * 8, b"\x00" * 8, b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f",
)  # fmt: skip
_WORDS = (
    b"-1", b"0", b"99999999999999999999", b"1e999", b"NaN", b"null", b"[]", b"{}", b"[" * 2000,
    b"\xc2\xb2", b"\x00", b"../", b"C:", b"\\", b'"', b"1" * 5000, b"\xff\xfe",
)  # fmt: skip
_DIGITS = re.compile(rb"\d+")


def mutated(seeds: list[bytes], chance: random.Random) -> bytes:
    """One of the files, changed in one to four places."""
    data = chance.choice(seeds)
    for _ in range(chance.randint(1, 4)):
        data = chance.choice(_MUTATIONS)(data, seeds, chance)
    return data


def _flip(data: bytes, _: list[bytes], chance: random.Random) -> bytes:
    at = _place(data, chance)
    return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]


def _number(data: bytes, _: list[bytes], chance: random.Random) -> bytes:
    at, number = _place(data, chance), chance.choice(_NUMBERS)
    return data[:at] + number + data[at + len(number) :]


def _word(data: bytes, _: list[bytes], chance: random.Random) -> bytes:
    at, word = _place(data, chance), chance.choice(_WORDS)
    return data[:at] + word + data[at + chance.choice((0, len(word))) :]


def _digits(data: bytes, _: list[bytes], chance: random.Random) -> bytes:
    found = list(_DIGITS.finditer(data[:4096]))
    if not found:
        return data
    match = chance.choice(found)
    return data[: match.start()] + chance.choice(_WORDS) + data[match.end() :]


def _cut(data: bytes, _: list[bytes], chance: random.Random) -> bytes:
    return data[: _place(data, chance)]


def _removed(data: bytes, _: list[bytes], chance: random.Random) -> bytes:
    at = _place(data, chance)
    return data[:at] + data[at + chance.randint(1, 64) :]


def _doubled(data: bytes, _: list[bytes], chance: random.Random) -> bytes:
    at, count = _place(data, chance), chance.randint(1, 64)
    return data[: at + count] + data[at : at + count] * chance.randint(1, 30) + data[at + count :]


def _spliced(data: bytes, seeds: list[bytes], chance: random.Random) -> bytes:
    other = chance.choice(seeds)
    at, start = _place(data, chance), _place(other, chance)
    return data[:at] + other[start : start + chance.randint(1, 256)] + data[at:]


def _place(data: bytes, chance: random.Random) -> int:
    """Anywhere; often near the start or the end, where headers and directories are."""
    span = min(len(data), chance.choice((64, 512, len(data) or 1)))
    at = chance.randrange(span + 1)
    return at if chance.random() < 0.6 else len(data) - at


_MUTATIONS = (_flip, _flip, _number, _word, _digits, _cut, _removed, _doubled, _spliced)

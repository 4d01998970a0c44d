"""Mutations of valid files: each is read, or refused with one of our sentences."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from comfyui_dense_face.errors import FacePackError
from fuzz_readers import READERS
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import mutated


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
def test_every_reader_refuses_in_a_sentence(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    reader, folder = READERS[name], tmp_path_factory.mktemp("fuzz")
    seeds = reader.seeds(folder)
    path = folder / f"a{reader.suffix}"
    for seed in seeds:
        _read(reader.read, path, seed)

    @settings(max_examples=60, deadline=None, database=None)
    @given(st.integers(0, 2**63))
    def check(number: int) -> None:
        _read(reader.read, path, mutated(seeds, random.Random(number)))

    check()


def _read(read: object, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        read(path)  # type: ignore[operator]
    except FacePackError as error:
        text = str(error)
        assert text.isprintable() and len(text) < 7000

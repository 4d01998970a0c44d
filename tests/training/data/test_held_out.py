"""People who are held out: the same ones every time, with all their images, in one part only."""

from __future__ import annotations

from pathlib import Path

import pytest
from comfyui_dense_face import cli
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.training.data.dataset import FaceDataset
from comfyui_dense_face.training.data.held_out import people_held_out, split
from hypothesis import given, settings
from hypothesis import strategies as st

NAMES = st.sets(st.text(min_size=1, max_size=5), min_size=1, max_size=30)


@settings(max_examples=30)
@given(NAMES, st.floats(0, 0.999))
def test_a_fraction_is_rounded_down(people: set[str], fraction: float) -> None:
    found = people_held_out(people, fraction)
    assert found < people and len(found) == int(fraction * len(people))
    assert found == people_held_out(sorted(people, reverse=True), fraction)


@settings(max_examples=30)
@given(NAMES, st.integers(1, 40))
def test_a_number_of_people(people: set[str], count: int) -> None:
    if count >= len(people):
        with pytest.raises(InputError, match=f"{count} people are held out of {len(people)}, and"):
            people_held_out(people, count)
    else:
        found = people_held_out(people, count)
        assert len(found) == count
        # One more person in the data set changes one of them at most.
        assert len(found - people_held_out({*people, "somebody new"}, count)) <= 1


def test_nobody_is_in_both_parts(tmp_path: Path) -> None:
    words = ["render", str(tmp_path / "faces"), "--count", "7", "--per-person", "2", "--size", "32"]
    assert cli.main(words) == 0
    data = FaceDataset(tmp_path / "faces", 32, scheme="ibug")
    trained, held_out = split(data, 2)
    people = [{entry.subject for entry in part.entries} for part in (trained, held_out)]
    assert len(people[0]) == len(people[1]) == 2 and not people[0] & people[1]
    assert len(trained) + len(held_out) == len(data) == 7
    keys = [sample["key"] for part in (trained, held_out) for sample in part]
    assert sorted(keys) == sorted(sample["key"] for sample in data)
    whole, nobody = split(data, 0.1)
    assert whole.checksum == data.checksum != trained.checksum and not len(nobody)

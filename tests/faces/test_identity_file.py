"""Outliers among several references of one person, and identities in files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from comfyui_dense_face.errors import IncompatibleError, InputError, ModelFileError
from comfyui_dense_face.faces.agreement import agreement
from comfyui_dense_face.faces.identity import Identity, average
from comfyui_dense_face.faces.identity_file import FORMAT, load_identities, save_identities
from comfyui_dense_face.faces.metrics import likeness
from comfyui_dense_face.storage import write_weights


def person(seed: int, scatter: float = 0.0, encoder: str = "a") -> Identity:
    """The same seed with some scatter is the same person in another image."""
    who = torch.randn(512, generator=torch.Generator().manual_seed(seed))
    noise = torch.randn(512, generator=torch.Generator().manual_seed(int(1e6 * scatter) + 99))
    return Identity.from_features(who + scatter * noise, encoder)


def test_image_of_another_person_is_an_outlier() -> None:
    same = [person(1, scatter) for scatter in (0.7, 0.8, 0.9)]
    assert agreement(same).outliers == ()
    found = agreement([*same[:2], person(2), same[2]])
    assert found.outliers == (2,)
    assert found.cosines[2] < 0.1 < 0.5 < min(found.cosines[i] for i in (0, 1, 3))
    assert "image 3 may show another person" in str(found)
    assert str(found).startswith("likeness to the other images 1: 0.")


def test_few_images_have_no_outliers() -> None:
    assert agreement([person(1)]).cosines == ()
    assert str(agreement([person(1)])) == "one image, nothing to compare"
    two = agreement([person(1), person(2)])
    assert two.outliers == () and two.cosines[0] == pytest.approx(two.cosines[1])


def test_identities_survive_a_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "anna.safetensors"
    people = [person(1, encoder="ir-se50"), person(2, encoder="ir-se50")]
    save_identities(path, people)
    back = load_identities(path)
    assert [b.encoder for b in back] == ["ir-se50"] * 2
    assert all(torch.equal(b.vector, p.vector) for b, p in zip(back, people, strict=True))


def test_invalid_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(InputError, match="no identity"):
        save_identities(path, [])
    with pytest.raises(IncompatibleError, match=r"'b'.*'a'"):
        save_identities(path, [person(1), person(1, encoder="b")])
    with pytest.raises(ModelFileError, match="missing"):
        load_identities(path)
    write_weights(path, {"identities": torch.ones(1, 4)}, {"format": "denseface-adapter/1"})
    with pytest.raises(ModelFileError, match="holds no identity"):
        load_identities(path)
    for wrong, message in ((torch.ones(4), r"shape \[4\]"), (torch.ones(1, 4), "length 2")):
        write_weights(path, {"identities": wrong}, {"format": FORMAT, "encoder": "a"})
        with pytest.raises(ModelFileError, match=message):
            load_identities(path)
    save_identities(path, [person(1)])
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ModelFileError, match="truncated"):
        load_identities(path)


def test_identities_under_former_names(tmp_path: Path) -> None:
    former, today = "insightface/buffalo_l", "insightface/w600k_r50"
    path = tmp_path / "old.safetensors"
    save_identities(path, [person(1, encoder=former)])
    (old,), new = load_identities(path), person(2, encoder=today)
    old.require(today)
    new.require(former)
    average([old, new])
    assert -1 <= likeness(old, new) <= 1
    save_identities(path, [old, new])
    assert [each.encoder for each in load_identities(path)] == [former] * 2
    with pytest.raises(IncompatibleError, match=r"buffalo_l.*glintr100"):
        old.require("insightface/glintr100")

"""The metrics on made-up numbers with known answers."""

from __future__ import annotations

import json

import pytest
import torch
from comfyui_dense_face.demo.captions import attributes
from comfyui_dense_face.demo.people import sample_heads
from comfyui_dense_face.demo.seeds import training_seed
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.evaluation import held_out, metrics


def test_everybody_is_found_in_his_own_round() -> None:
    gallery = torch.eye(6).reshape(2, 3, 6)
    shown = gallery.flatten(0, 1)[:5]
    found = metrics.identity_metrics(shown, gallery)
    assert found == {"top1": 1, "cosine": 1, "cosine_stranger": 0}
    exchanged = metrics.identity_metrics(shown[[1, 0, 2, 3, 4]], gallery)
    assert exchanged["top1"] == pytest.approx(0.6)


def test_angles_are_averaged() -> None:
    errors = metrics.pose_errors(torch.tensor([[1.0, 2.0, -3.0]]), torch.zeros(1, 3))
    assert errors == {"pose": 2, "yaw": 1, "pitch": 2, "roll": 3}


def test_captions_name_what_is_counted() -> None:
    """An attribute counts exactly where its word stands in the caption."""
    heads = sample_heads(list(range(40)))
    named = metrics.named_attributes(heads)
    for i, words in enumerate(attributes(heads)):
        assert bool(named["glasses"][1][i]) == ("glasses" in words)
        assert bool(named["hair_color"][1][i]) == ("bald" not in words["hair"])
        assert bool(named["background_color"][1][i]) == words["background"].startswith("on a")
    truth = {name: target for name, (target, _) in named.items()}
    assert set(metrics.word_accuracy(truth, heads).values()) == {1}
    wrong = {**truth, "skin": (truth["skin"] + 1) % 5}
    found = metrics.word_accuracy(wrong, heads)
    assert found["skin"] == 0 and found["hair_color"] == 1 and 0.7 < found["all"] < 1


def test_psnr_of_some_pixels() -> None:
    truth, where = torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 4, 4)
    where[..., :2] = 1
    image = truth.clone()
    image[..., :2], image[..., 2:] = 0.1, 1.0
    assert metrics.psnr_where(image, truth, where) == pytest.approx(20, abs=0.01)
    assert metrics.largest_change(image, truth, where) == pytest.approx(0.1)
    nowhere = metrics.psnr_where(image, truth, 0 * where)
    assert json.loads(metrics.json_of({"a": nowhere, "b": 0.5})) == {"a": None, "b": 0.5}


def test_people_of_an_evaluation_are_held_out_and_apart() -> None:
    count = held_out.MAX_COUNT
    seeds = {
        name: held_out._seeds(7, first, count)
        for name, first in vars(held_out).items()
        if name in ("_REFERENCE", "_TARGET", "_PROMPT", "_SCENE")
    }
    seeds["_PERSON"] = held_out._seeds(7, held_out._PERSON, held_out.PEOPLE)
    together = [seed for some in seeds.values() for seed in some]
    assert len(set(together)) == len(together) and min(together) >= 2**40
    assert training_seed(10**9) < min(together)
    assert max(together) < min(held_out._seeds(8, 0, 1))


def test_references_and_targets_show_one_person_in_two_images() -> None:
    references = held_out.reference_heads(3, 2)
    cases = held_out._heads(3, held_out._TARGET, 2)
    assert torch.equal(references.identity, cases.identity)
    assert not torch.equal(references.identity[0], references.identity[1])
    for name in ("expression", "angles", "light"):
        assert not torch.equal(getattr(references, name), getattr(cases, name))


@pytest.mark.parametrize("count", [0, -1, held_out.MAX_COUNT + 1])
def test_counts_out_of_range(count: int) -> None:
    with pytest.raises(InputError, match="cannot evaluate"):
        held_out.face_cases(0, count)

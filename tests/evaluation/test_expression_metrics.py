"""Metrics of expressions and identity leaks on made-up numbers with known answers."""

from __future__ import annotations

import math

import pytest
import torch
from comfyui_dense_face.evaluation import expression_metrics as metrics
from comfyui_dense_face.evaluation import held_out
from comfyui_dense_face.evaluation.held_out import PEOPLE, triples
from torch.nn import functional as F


def test_correlation_of_each_blendshape() -> None:
    target = torch.tensor([[0.0, 1.0, 0.3, 0.0], [1.0, 0.0, 0.3, 1.0], [0.5, 0.5, 0.3, 0.5]])
    read = torch.stack([2 * target[:, 0] + 1, -target[:, 1], target[:, 0], torch.ones(3)], 1)
    found = metrics.correlations(read, target)
    assert found[:2].tolist() == pytest.approx([1, -1])
    assert math.isnan(found[2])  # the same in all cases: there is nothing to follow
    assert found[3] == 0  # nothing was followed


def test_only_visible_blendshapes_count() -> None:
    chance = torch.Generator().manual_seed(1)
    target = torch.rand(200, 3, generator=chance)
    truth = target + 0.02
    truth[:, 2] = torch.rand(200, generator=chance)  # cannot be read even from true renders
    visible = metrics.visible_blendshapes(truth, target)
    assert visible.tolist() == [True, True, False]
    read = target.clone()
    read[:, 1] += 0.5
    read[:, 2] = torch.rand(200, generator=chance)
    found = metrics.expression_metrics(read, target, visible)
    assert found["correlation"] == pytest.approx(1)
    assert found["correlation_all"] < 0.8
    assert found["error"] == pytest.approx(0.25)


def test_leaks_are_distinguished_from_strangers() -> None:
    gallery = torch.eye(5)[None]
    owners, hosts = torch.tensor([1, 2]), torch.tensor([3, 4])
    shown = torch.tensor([[0.0, 1, 0, 0, 0], [0, 0, 0.6, 0, 0.8]])
    true = torch.tensor([[1.0, 0, 0, 0, 0], [0, 0.8, 0.6, 0, 0]])
    found = metrics.leak_metrics(shown, true, gallery, owners, hosts)
    assert found["expression_owner"] == pytest.approx(0.8)
    assert found["scene"] == pytest.approx(0.4)
    assert found["stranger"] == 0
    assert found["expression_owner_ceiling"] == pytest.approx(0.3)
    assert found["scene_ceiling"] == 0
    # Of the differences 1 and 0 the standard error is a half.
    assert found["expression_owner_chance"] == pytest.approx(0.3 + 1.645 / 2)


@pytest.mark.parametrize(("leak", "least", "most"), [(0.0, 0.02, 0.09), (0.2, 0.9, 1.0)])
def test_only_what_leaks_is_above_chance(leak: float, least: float, most: float) -> None:
    """Natural resemblance does not count as a leak, nineteen times in twenty."""
    rng = torch.Generator().manual_seed(5)
    people, rounds, runs = 64, 2, 200
    number = torch.arange(people * rounds) % people
    hosts = (number + 2) % people
    alike = torch.randn(32, generator=rng)
    above = 0
    for _ in range(runs):
        gallery = F.normalize(torch.randn(rounds, people, 32, generator=rng) + alike / 2, dim=-1)
        own, host = gallery.flatten(0, 1), gallery[:, hosts[:people]].flatten(0, 1)
        true, made = (
            F.normalize(own + torch.randn(len(own), 32, generator=rng) / 4, dim=-1) for _ in "ab"
        )
        shown = F.normalize(made + leak * host, dim=-1)
        found = metrics.leak_metrics(shown, true, gallery, (number + 1) % people, hosts)
        above += found["scene"] > found["scene_chance"]
        assert found["scene"] > 0.05
    assert least < above / runs <= most


def test_three_people_in_every_triple() -> None:
    count = 5 * PEOPLE + 3
    cases = triples(3, count)
    people = torch.arange(count) % PEOPLE
    for one, other in ((people, cases.owners), (people, cases.hosts), (cases.owners, cases.hosts)):
        assert bool((one != other).all())
    assert not torch.equal(cases.owners[:PEOPLE], cases.owners[PEOPLE : 2 * PEOPLE])
    references = held_out.reference_heads(3, PEOPLE).identity
    assert torch.equal(cases.targets.identity, references[people])
    assert torch.equal(cases.exemplars.identity, references[cases.owners])
    assert torch.equal(cases.scenes.identity, references[cases.hosts])
    assert torch.equal(cases.targets.expression, cases.exemplars.expression)
    for same in ("angles", "light", "camera", "background", "shirt"):
        assert torch.equal(getattr(cases.targets, same), getattr(cases.scenes, same))


def test_images_of_triples_are_shown_nowhere_else() -> None:
    count = held_out.MAX_COUNT
    purposes = ("_PERSON", "_REFERENCE", "_TARGET", "_PROMPT", "_SCENE", "_FACE", "_PLACE")
    seeds = [s for name in purposes for s in held_out._seeds(7, getattr(held_out, name), count)]
    assert len(set(seeds)) == len(seeds) and max(seeds) < min(held_out._seeds(8, 0, 1))

"""The sfsr stage: its data, and that noise and faces teach the SFSR adapter alone."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from comfyui_dense_face.demo.networks.analyzer import ENCODER, TinyAnalyzer
from comfyui_dense_face.demo.renderer.renderer import render
from comfyui_dense_face.pipelines.base import Base, load_base
from comfyui_dense_face.pipelines.guided import expression_model
from comfyui_dense_face.pipelines.source_attention import InstalledSources, SourceInputs
from comfyui_dense_face.pipelines.tiny.inputs import SFSRInputs
from comfyui_dense_face.pipelines.tiny.sfsr import GUIDANCE, STARTS
from comfyui_dense_face.sfsr.compound import CompoundTokens
from comfyui_dense_face.sfsr.compound_inputs import IdentityBatch
from comfyui_dense_face.training import sfsr
from comfyui_dense_face.training.dense_face import new_pose_branch
from comfyui_dense_face.training.rollout import Rollout
from comfyui_dense_face.training.runs.loop import seeded, step_generator
from comfyui_dense_face.training.sfsr import FaceLosses, SFSRTask
from comfyui_dense_face.training.tiny.base import use_plain_attention
from comfyui_dense_face.training.tiny.data import Images, Latents, training_heads
from comfyui_dense_face.training.tiny.dense_face import TINY_HINT_WIDTHS
from comfyui_dense_face.training.tiny.scenes import encode_scenes
from comfyui_dense_face.training.tiny.sfsr import TinyFaces, TinyReader, new_adapter
from diffusers.models.attention_processor import AttnProcessor
from tiny_random import write_base


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return load_base(write_base(tmp_path_factory.mktemp("base") / "base.safetensors"))


@pytest.fixture(scope="module")
def shown() -> Images:
    heads = training_heads(range(4))
    drawn = render(heads)
    return Images(
        (drawn.rgb * 255).byte(), drawn.parts, drawn.head_mask.byte(), drawn.landmarks, heads
    )


@pytest.fixture(scope="module")
def analyzer() -> TinyAnalyzer:
    torch.manual_seed(0)
    return TinyAnalyzer().eval().requires_grad_(False)


def _task(base: Base, shown: Images, analyzer: TinyAnalyzer, faces: FaceLosses | None) -> SFSRTask:
    latents = Latents(shown, torch.randn(8, 4, 16, 16, generator=torch.Generator().manual_seed(1)))
    scenes = encode_scenes(shown, base.vae, analyzer)
    hints = torch.zeros(8, 3, 128, 128, dtype=torch.uint8)
    source = TinyFaces(base.text_encoder, latents, scenes, hints, batch=4)
    reader = TinyReader(analyzer, source)
    return SFSRTask(
        base, new_adapter(base), source, reader, new_pose_branch(base, TINY_HINT_WIDTHS), faces
    )


def _source(task: SFSRTask) -> TinyFaces:
    assert isinstance(task.source, TinyFaces)
    return task.source


def test_scenes_do_not_reveal_the_head(base: Base, shown: Images, analyzer: TinyAnalyzer) -> None:
    """Another face in the same place leaves the same emptied scene; mirror images are mirrored."""
    scenes = encode_scenes(shown, base.vae, analyzer)
    inside = shown.head[:, None].expand(-1, 3, -1, -1).bool()
    painted = Images(
        torch.where(inside, 255 - shown.rgb, shown.rgb),
        shown.parts,
        shown.head,
        shown.landmarks,
        shown.heads,
    )
    assert torch.equal(encode_scenes(painted, base.vae, analyzer).emptied, scenes.emptied)
    for masks in (scenes.masks, scenes.heads):
        assert torch.equal(masks[:4].flip(-1), masks[4:])
        assert masks.unique().tolist() == [0, 1]
    assert bool((scenes.masks >= scenes.heads).all())
    assert float(scenes.masks.sum()) > float(scenes.heads.sum())


@pytest.mark.parametrize(
    "faces", [None, FaceLosses(rows=2), FaceLosses(rows=2, rollout=Rollout(steps=4))]
)
def test_only_the_adapter_learns(
    base: Base, shown: Images, analyzer: TinyAnalyzer, faces: FaceLosses | None
) -> None:
    task = _task(base, shown, analyzer, faces)
    names = [name for name, weight in task.named_parameters() if weight.requires_grad]
    assert names and all(name.startswith("adapter.") for name in names)
    with torch.no_grad():  # fresh values are zero, and what comes before them gets no gradient
        for name in names:
            if "to_v" in name or "hint.last" in name:
                task.get_parameter(name).normal_(std=0.1)
    losses = task(step_generator(1, 0))
    assert set(losses) == {"loss", "mse"} | (
        {"identity", "mistaken", "expression", "scene"} if faces else set()
    )
    losses["loss"].backward()
    silent = [n for n in names if not task.get_parameter(n).grad.abs().sum() > 0]
    assert silent == []


def test_the_analyzer_keeps_its_statistics(
    base: Base, shown: Images, analyzer: TinyAnalyzer
) -> None:
    """Its batch norms use their running statistics, not the other faces of a batch."""
    before = {name: buffer.clone() for name, buffer in analyzer.named_buffers()}
    _task(base, shown, analyzer, FaceLosses(rows=2)).train()(step_generator(1, 0))
    assert all(torch.equal(before[name], buffer) for name, buffer in analyzer.named_buffers())


def test_the_outline_of_the_own_head_is_never_an_input(
    base: Base,
    shown: Images,
    analyzer: TinyAnalyzer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = _task(base, shown, analyzer, FaceLosses(rows=2))
    source_inputs = []
    original = task._source_inputs

    def recorded(*given: Any) -> Any:
        found = original(*given)
        source_inputs.append(found.background[:, :1])
        return found

    monkeypatch.setattr(task, "_source_inputs", recorded)
    task(step_generator(1, 1))
    assert [len(masks) for masks in source_inputs] == [4, 2]
    for mask in torch.cat(source_inputs):
        assert any(torch.equal(mask, x) for x in _source(task).scenes.masks)
        assert not any(torch.equal(mask, x) for x in _source(task).scenes.heads)


def test_a_face_is_to_be_taken_for_nobody_else(
    base: Base, shown: Images, analyzer: TinyAnalyzer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss is zero for the target person and largest for the scene's own."""
    task = _task(base, shown, analyzer, FaceLosses(rows=2))
    scenes = replace(_source(task).scenes, identities=torch.eye(8, 512))
    task.source = replace(_source(task), scenes=scenes)
    draws = (torch.randint(4, (4,), generator=step_generator(1, n)).unique() for n in range(99))
    different = next(number for number, drawn in enumerate(draws) if len(drawn) == 4)
    source_inputs = []
    original = task._source_inputs

    def recorded(who: torch.Tensor, *given: Any) -> Any:
        source_inputs.append(who)
        return original(who, *given)

    monkeypatch.setattr(task, "_source_inputs", recorded)
    lost = {}
    for seen in ("target", "host"):

        def sees(images: torch.Tensor, seen: str = seen) -> SimpleNamespace:
            everyone, target = source_inputs[-2:]
            who = {"target": target, "host": everyone[:2]}[seen]
            return SimpleNamespace(identity=who.repeat(2, 1), blendshapes=torch.zeros(4, 51))

        monkeypatch.setattr(analyzer, "forward", sees)
        lost[seen] = task(step_generator(1, different))
    assert lost["target"]["identity"] == 0 and lost["host"]["identity"] == 1
    assert lost["target"]["mistaken"] < 1 < lost["host"]["mistaken"]


def test_the_scene_around_a_strangers_head_stays(
    base: Base,
    shown: Images,
    analyzer: TinyAnalyzer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its loss is that of the latents around the own head, and nothing of the head."""
    monkeypatch.setattr(sfsr, "midpoint_estimate", lambda _, noisy, *__, **___: 0 * noisy)
    task = _task(base, shown, analyzer, FaceLosses(rows=2))
    before = task(step_generator(1, 1))["scene"]
    own = _source(task).scenes.heads
    for where, alike in ((own, True), (1 - own, False)):
        other = _task(base, shown, analyzer, FaceLosses(rows=2))
        _source(other).data.latents.add_(where)
        assert torch.allclose(other(step_generator(1, 1))["scene"], before) == alike


def test_expressions_of_others_move_nothing_but_eyes_brows_and_mouth(
    base: Base, shown: Images, analyzer: TinyAnalyzer
) -> None:
    def learned(faces: FaceLosses | None, *, features: float) -> list[torch.Tensor]:
        with seeded(3):
            task = _task(base, shown, analyzer, faces)
        scenes = _source(task).scenes
        scenes = replace(scenes, features=torch.full_like(scenes.features, features))
        task.source = replace(_source(task), scenes=scenes)
        task(step_generator(1, 1))["loss"].backward()
        return [torch.zeros(1) if p.grad is None else p.grad for p in task.adapter.parameters()]

    strong = FaceLosses(rows=2, identity=0, mistaken=0, expression=100, scene=0)
    for features, alike in ((0.0, True), (1.0, False)):
        alone, joined = learned(None, features=features), learned(strong, features=features)
        same = [torch.allclose(a, b) for a, b in zip(alone, joined, strict=True)]
        assert all(same) == alike


@pytest.mark.parametrize(("t", "expressed"), [(855, False), (285, True)])
@torch.no_grad()
def test_the_rollout_calls_the_network_as_sampling_does(
    base: Base, shown: Images, analyzer: TinyAnalyzer, t: int, expressed: bool
) -> None:
    """With the pipeline's guidance, and an expression only where it has set in."""
    task = _task(base, shown, analyzer, None)
    for name, weight in task.adapter.named_parameters():
        if "to_v" in name or "hint.last" in name:
            weight.normal_(std=0.3)
    hints, empty = torch.ones(4, 3, 128, 128), task.source.empty_context.expand(4, -1, -1)
    faces = replace(task.source.draw(step_generator(1, 0)), hints=hints, context=empty)
    x, everywhere = torch.randn(4, 4, 16, 16), torch.ones(4)
    with InstalledSources(task.unet, [task.adapter]) as installed:
        source_inputs = task._source_inputs(
            faces.people, faces, (everywhere, everywhere, everywhere)
        )
        predicted = task._guided(installed, source_inputs, faces, Rollout())
        found = predicted(x, torch.full((4,), float(t)))
    there = torch.ones(4, dtype=torch.bool)
    who = IdentityBatch({ENCODER: faces.people}, {ENCODER: there})
    tokens = CompoundTokens(
        task.adapter.embedding.identity(who), task.adapter.embedding.expression(faces.expression)
    )
    for starts, alike in ((STARTS, True), ((0.0, 0.0), expressed)):
        inputs = SFSRInputs([""] * 4, tokens, hints, faces.background, (1.0, 1.0), starts)
        with expression_model(base, task.adapter, task.pose_branch, inputs, GUIDANCE) as model:
            assert torch.allclose(found, model(x, torch.tensor(t)), atol=1e-4) == alike


def test_a_step_is_repeatable(base: Base, shown: Images, analyzer: TinyAnalyzer) -> None:
    task = _task(base, shown, analyzer, FaceLosses(rows=2))
    first, again = task(step_generator(1, 3)), task(step_generator(1, 3))
    assert torch.equal(first["loss"], again["loss"])
    assert not torch.equal(first["loss"], task(step_generator(1, 4))["loss"])


def test_plain_attention_changes_nothing_but_the_work(base: Base) -> None:
    """Queries and ``to_out`` are computed once; with diffusers' processors it is the same image."""
    unet, chance = base.unet, torch.Generator().manual_seed(4)
    adapter = new_adapter(base)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=chance))
    count = adapter.layout.tokens
    identity, expression = torch.randn(2, 2, count, adapter.layout.width, generator=chance)
    tokens = adapter.attention.keys_values(CompoundTokens(identity, expression))
    inputs = SourceInputs(tokens, {"identity": torch.tensor([1.0, 0.0]), "expression": 0.7})
    x, context = torch.randn(2, 4, 16, 16), torch.randn(2, 48, 128)
    found: list[torch.Tensor] = []
    use_plain_attention(unet)
    for _ in range(2):
        with InstalledSources(unet, [adapter], inputs), torch.no_grad():
            found.append(unet(x, torch.tensor([5, 500]), context).sample)
        unet.set_attn_processor(AttnProcessor())
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-4)

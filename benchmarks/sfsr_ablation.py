"""Ablation of SFSR's design choices: ``python -m ...sfsr_ablation --steps 750``.

Every variant is trained for the same number of steps on the same batches and evaluated on the
same held-out triples. Needs the work folder of ``denseface train-demo`` (its stages up to
``dense-face``). Prints a table; the adapters stay in the work folder, in ``ablation-<steps>``, for
``denseface evaluate sfsr --other``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..demo.networks.evaluator import load_evaluator
from ..errors import FacePackError
from ..evaluation.sfsr import NAME, Plan, evaluate
from ..pipelines.base import Base
from ..pipelines.source_attention import layers_of
from ..pipelines.tiny.sfsr import SFSRPipeline
from ..sfsr.adapter import SFSRAdapter
from ..sfsr.compound import CompoundEmbedding, CompoundTokens
from ..sfsr.compound_inputs import CompoundLayout, ExpressionBatch, IdentityBatch
from ..training.sfsr import FaceLosses
from ..training.tiny.run import TrainingRun
from ..training.tiny.sfsr import new_adapter
from ..training.tiny.sfsr_stages import BRIEF_FACES, BRIEF_STEPS, brief_sfsr

_FAINT = 0.125
SHOWN = (
    "identity_top1",
    "expression_correlation",
    "expression_error",
    "background_psnr_db",
    "pose_mae_deg",
)


class _Unbalanced(CompoundEmbedding):
    """Expression tokens with an eighth of the norm of the identity tokens."""

    def expression(self, face: ExpressionBatch) -> Tensor:
        return _FAINT * super().expression(face)


class _SingleSource(CompoundEmbedding):
    """As in IP-Adapter: one concatenated vector, one set of tokens."""

    def __init__(self, layout: CompoundLayout) -> None:
        super().__init__(replace(layout, tokens=2 * layout.tokens))

    def forward(self, who: IdentityBatch, face: ExpressionBatch) -> CompoundTokens:
        known = face.known.to(face.values)
        hidden = self.identity_in[0](who.vectors[self.layout.required])
        hidden = hidden + self.blendshapes_in(torch.cat([face.values * known, known], 1))
        tokens = self._tokens(self.identity_out, hidden)
        return CompoundTokens(tokens, torch.zeros_like(tokens))


def _embedded(kind: type[CompoundEmbedding]) -> Callable[[Base], SFSRAdapter]:
    def make(base: Base) -> SFSRAdapter:
        adapter = new_adapter(base)
        adapter.embedding = kind(adapter.layout)
        return adapter

    return make


def _without_hint(base: Base) -> SFSRAdapter:
    return SFSRAdapter(new_adapter(base).layout, layers_of(base.unet))


VARIANTS: dict[str, tuple[Callable[[Base], SFSRAdapter], FaceLosses | None]] = {
    "as-shipped": (new_adapter, BRIEF_FACES),
    "midpoint-3": (new_adapter, replace(BRIEF_FACES, nodes=3)),
    "one-step": (new_adapter, replace(BRIEF_FACES, nodes=1)),
    "unbalanced-tokens": (_embedded(_Unbalanced), BRIEF_FACES),
    "single-source": (_embedded(_SingleSource), BRIEF_FACES),
    "latent-blending": (_without_hint, BRIEF_FACES),
    "no-face-losses": (new_adapter, None),
}


def main() -> None:
    """Train, evaluate and print the variants one after another."""
    parser = argparse.ArgumentParser(prog="sfsr_ablation", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("out/training"))
    parser.add_argument("--steps", type=int, default=BRIEF_STEPS)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--count", type=int, default=128)
    chosen = parser.parse_args()
    print(f"| variant | {' | '.join(SHOWN)} | identity × expression |")
    print(f"|---|{'---|' * (len(SHOWN) + 1)}")
    evaluator = load_evaluator()
    for name, (make, faces) in VARIANTS.items():
        stage = f"ablation-{chosen.steps}/{name}"
        adapter, about = brief_sfsr(TrainingRun(chosen.folder), stage, faces, make, chosen.steps)
        about |= {"command": f"sfsr_ablation --steps {chosen.steps}"}
        adapter.save(chosen.folder / f"{stage}.safetensors", about, torch.float8_e4m3fn)
        pipeline = replace(SFSRPipeline.load(), adapter=adapter)
        report = evaluate(pipeline, evaluator, Plan(chosen.seed, chosen.count, controls=0))
        shown = [report[f"{NAME}.{key}"] for key in SHOWN]
        shown.append(shown[0] * shown[1])
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in shown)} |", flush=True)


if __name__ == "__main__":
    try:
        main()
    except FacePackError as error:
        sys.exit(f"sfsr_ablation: {error}")

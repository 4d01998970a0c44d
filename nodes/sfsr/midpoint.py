"""The midpoint sampler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from .sockets import CATEGORY

if TYPE_CHECKING:
    from torch import Tensor

RULES = ("geometric", "half_t", "sigma_half")
FINISHES = {"euler": 1, "2 nodes": 2, "3 nodes": 3, "4 nodes": 4}


class MidpointSampler(io.ComfyNode):
    """DiffSFSR's midpoint sampling, as this pack reads it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SFSR_MidpointSampler",
            display_name="Midpoint Sampler",
            category=CATEGORY,
            description="Evaluates the model twice per step and takes the step with the second "
            "prediction: sharper than euler at the same number of evaluations, from about 12. With "
            "rule geometric and finish euler it is identical to dpm_2. For SamplerCustom. The "
            "DiffSFSR paper's own formula is not public; this is the pack's reading.",
            search_aliases=["dpm_2", "midpoint sampling", "second order sampler", "diffsfsr"],
            inputs=[
                io.Combo.Input(
                    "rule",
                    options=list(RULES),
                    default=RULES[0],
                    tooltip="Where in a step the second evaluation is: halfway in log sigma "
                    "(geometric, best), in the timestep (half_t, as DiffSwap) or in sigma "
                    "(sigma_half).",
                ),
                io.Float.Input(
                    "switch_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Fraction of the steps, from the first on, that are plain euler steps "
                    "of one evaluation. 1 is euler alone.",
                ),
                io.Combo.Input(
                    "finish",
                    options=list(FINISHES),
                    default="euler",
                    tooltip="The last step, down to sigma 0: one evaluation (euler), or 2 to 4 at "
                    "decreasing noise levels. Helps with schedulers whose last sigma is high, such "
                    "as ddim_uniform and sgm_uniform with few steps.",
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="Only for counting evaluations of a finish with nodes.",
                ),
                io.Sigmas.Input("sigmas", optional=True, tooltip="Only for counting evaluations."),
            ],
            outputs=[
                io.Sampler.Output(
                    "sampler",
                    display_name="sampler",
                    tooltip="For SamplerCustom and SamplerCustomAdvanced.",
                ),
                io.Int.Output(
                    "evaluations",
                    display_name="evaluations",
                    tooltip="Number of model evaluations for these sigmas (with CFG each one "
                    "covers both prompts); 0 without sigmas.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        rule: str,
        switch_percent: float,
        finish: str,
        model: Any = None,
        sigmas: Tensor | None = None,
    ) -> io.NodeOutput:
        from ...sfsr.midpoint_sampler import MidpointSettings
        from ..host.sfsr.midpoint import count_evaluations, midpoint_sampler

        choice = MidpointSettings(rule, switch_percent, FINISHES[finish])
        count = 0 if sigmas is None else count_evaluations(sigmas, choice, model)
        return io.NodeOutput(midpoint_sampler(choice), count)

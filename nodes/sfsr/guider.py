"""How closely words, identity and expression are followed, each by a scale of its own."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..inputs import guider_output
from .sockets import CATEGORY


class SplitGuidance(io.ComfyNode):
    """MODEL of Apply SFSR and CONDITIONINGs -> GUIDER."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SFSR_SplitGuidance",
            display_name="SFSR Split Guidance",
            category=CATEGORY,
            description="Separate guidance scales for prompt, identity and expression instead of "
            "one CFG for all. For SamplerCustomAdvanced.",
            search_aliases=["cfg", "guider", "identity cfg", "expression cfg", "dual cfg"],
            inputs=[
                io.Model.Input("model", tooltip="From Apply SFSR."),
                io.Conditioning.Input(
                    "positive", tooltip="The prompt, with the pose if there is one."
                ),
                io.Conditioning.Input("negative", tooltip="The negative prompt."),
                _scale("cfg", "prompt and pose"),
                _scale("identity_cfg", "the identity"),
                _scale("expression_cfg", "the expression"),
            ],
            outputs=[guider_output()],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: Any,
        negative: Any,
        cfg: float,
        identity_cfg: float,
        expression_cfg: float,
    ) -> io.NodeOutput:
        from ..host.sfsr.split_guider import SplitGuider

        guider = SplitGuider(model, (cfg, identity_cfg, expression_cfg))
        guider.set_conds(positive, negative)
        return io.NodeOutput(guider)


def _scale(name: str, what: str) -> Any:
    return io.Float.Input(
        name,
        default=2.0,
        min=0.0,
        max=30.0,
        step=0.1,
        tooltip=f"Guidance scale of {what}. With three equal values this is the usual CFG; "
        "otherwise a step takes twice as long.",
    )

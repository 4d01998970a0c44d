"""Put identity, expression and scene on a MODEL."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ...errors import InputError
from ..images import checked_mask
from ..inputs import between, output, percent
from ..sockets import Expressions, ExpressionSocket, IdentitySocket, People
from .sockets import CATEGORY, BackgroundSocket, LoadedSFSR, SceneBackground, SFSRAdapterSocket

if TYPE_CHECKING:
    from torch import Tensor

    from .tokens import AdapterTokens

NAME = "Apply SFSR"
IDENTITY, EXPRESSION = "identity", "expression"
"""As in ``sfsr.token_attention``, which is imported when the node runs."""
ADAPTERS_OWN = "the adapter's own way"
SEVERAL = (ADAPTERS_OWN, "mean of vectors", "tokens for each image")
"""The last two as in ``sfsr.ip_adapter.kinds``."""
log = logging.getLogger(__name__)


class ApplySFSR(io.ComfyNode):
    """MODEL + adapters + identity + expression + scene -> MODEL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SFSR_Apply",
            display_name=NAME,
            category=CATEGORY,
            description="Conditions the model on a person, an expression and a scene. Can be "
            "combined with Apply Dense-Face Adapter, its pose control, IP-Adapter and LoRA, in any "
            "order. With both weights 0 and no background the model is unchanged.",
            search_aliases=[
                "expression transfer",
                "reenactment",
                "face swap",
                "emotion",
                "faceid",
                "swap",
                "swap face",
                "reactor",
                "ip-adapter",
                "instantid",
                "pulid",
                "headshot",
                "photo face",
                "faceswap",
                "roop",
                "ipadapter",
                "photomaker",
                "change expression",
            ],
            inputs=[
                io.Model.Input("model", tooltip="The base model that the adapter was trained for."),
                SFSRAdapterSocket.Input(
                    "adapter",
                    tooltip="From Load SFSR Adapter: for identity, expression, or both.",
                ),
                IdentitySocket.Input(
                    "identity",
                    optional=True,
                    tooltip="The person: from Encode Identity, with the adapter's own encoder. "
                    "Leave it out to change the expression alone.",
                ),
                io.Float.Input(
                    "balance",
                    **between(-1.0, 1.0, default=0.0, step=0.05),
                    tooltip="0: identity and expression both at full strength. Towards -1 the "
                    "expression gets weaker, towards 1 the identity.",
                ),
                _weight(
                    "identity",
                    "Raise it if the likeness is poor, lower it if faces look waxy or broken.",
                ),
                _weight("expression", "Above 1 exaggerates."),
                percent("identity_start_percent", 0.0, "the identity starts to act"),
                percent("identity_end_percent", 1.0, "the identity stops acting"),
                percent(
                    "expression_start_percent",
                    0.3,
                    "the expression starts to act; a later start keeps the likeness. For adapters "
                    "trained with this pack; for published ones see published starts at",
                ),
                percent("expression_end_percent", 1.0, "the expression stops acting"),
                io.Boolean.Input(
                    "keep_identity_out",
                    default=False,
                    tooltip="Removes from the expression tokens their component along the identity "
                    "tokens. Try it if an expression changes the person. Only for this pack's own.",
                ),
                ExpressionSocket.Input(
                    "expression",
                    optional=True,
                    tooltip="From a word, an image or sliders. One for all images of the batch, or "
                    "one for each (Expression Travel).",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where identity and expression act: white = adapter, black = model "
                    "without it. Resized to the whole image.",
                ),
                BackgroundSocket.Input(
                    "background",
                    optional=True,
                    tooltip="The scene around the new face: from SFSR Background.",
                ),
                _further("identity_2"),
                _further("identity_3"),
                SFSRAdapterSocket.Input(
                    "expression_adapter",
                    optional=True,
                    tooltip="A second adapter for the expression, such as FineFace or Arc2Face's "
                    "beside IP-Adapter-FaceID. Without it the expression is the first adapter's.",
                ),
                percent(
                    "published_start_percent",
                    0.0,
                    "the expression of a published adapter (FineFace, Arc2Face) starts to act; "
                    "published adapters were trained and used from the first step",
                    optional=True,
                ),
                io.Float.Input(
                    "lora_strength",
                    **between(0.0, 2.0, default=1.0, step=0.05),
                    optional=True,
                    tooltip="Strength of the LoRA inside FaceID files, independent of the identity "
                    "weight: 1 = as published. Set it to 0 if you load the separate LoRA file, "
                    "which contains the same LoRA.",
                ),
                io.Float.Input(
                    "s_scale",
                    **between(0.0, 5.0, default=1.0, step=0.05),
                    optional=True,
                    tooltip="Only FaceID-Plus v2: scale of the CLIP vision features that are added "
                    "to the face embedding. 1 = as published; higher values follow the photo's "
                    "look more closely.",
                ),
                io.Combo.Input(
                    "several_photos",
                    options=list(SEVERAL),
                    default=ADAPTERS_OWN,
                    optional=True,
                    tooltip="How several reference photos of one person are combined: the mean of "
                    "their embeddings, or separate tokens for each photo. Only published adapters; "
                    "Plus and Plus v2 always use separate tokens.",
                ),
            ],
            outputs=[
                output(io.Model, "model", "The model with person, expression and scene."),
                output(
                    io.String,
                    "report",
                    "The adapters and their licences, and the expression's action units that "
                    "FineFace does not have.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        adapter: LoadedSFSR,
        balance: float,
        identity_weight: float,
        expression_weight: float,
        identity_start_percent: float,
        identity_end_percent: float,
        expression_start_percent: float,
        expression_end_percent: float,
        keep_identity_out: bool,
        identity: People | None = None,
        expression: Expressions | None = None,
        mask: Tensor | None = None,
        background: SceneBackground | None = None,
        identity_2: People | None = None,
        identity_3: People | None = None,
        expression_adapter: LoadedSFSR | None = None,
        published_start_percent: float = 0.0,
        lora_strength: float = 1.0,
        s_scale: float = 1.0,
        several_photos: str = ADAPTERS_OWN,
    ) -> io.NodeOutput:
        from ...sfsr.guidance import balance_weights
        from ..host.sfsr.apply import Scene, SFSRInputs, apply_sfsr
        from ..host.sfsr.sources import EXPRESSIONS, IDENTITIES, Source

        first, second = adapter.tokens, (expression_adapter or adapter).tokens
        people = tuple(each for each in (identity, identity_2, identity_3) if each is not None)
        _require_inputs(first, second, people, expression)
        area = None if mask is None else checked_mask(mask, NAME)
        combining = None if several_photos == ADAPTERS_OWN else several_photos
        for_person, for_face = balance_weights(balance)
        sources: list[Source] = []
        if people:
            made = first.identity(people, combining, s_scale)
            span = identity_start_percent, identity_end_percent
            weight = for_person * identity_weight
            sources.append(Source(IDENTITIES, made.present, weight, *span, made.absent, area))
        if expression is not None:
            made = second.expression(expression, people if keep_identity_out else None)
            start = published_start_percent if second.published else expression_start_percent
            weight = for_face * expression_weight
            if area is None and second.published and background is not None:
                area = background.mask[:, 0]  # one constant for all places: kept to the face
            span = start, expression_end_percent
            sources.append(Source(EXPRESSIONS, made.present, weight, *span, made.absent, area))
        inputs = SFSRInputs(
            tuple((each.adapter.layers, each.width) for each in (first, second)),
            tuple(sources),
            None if background is None else Scene(background.channels, first.hint(background)),
            first.lora,
            lora_strength,
        )
        patched = apply_sfsr(model, inputs)
        lines = [report(first, second, expression), *_arc2face_warnings(model, patched, second)]
        return io.NodeOutput(patched, "\n".join(lines))


def _require_inputs(
    first: AdapterTokens,
    second: AdapterTokens,
    people: tuple[People, ...],
    expression: Expressions | None,
) -> None:
    """Refuse adapters that have nothing to act on.

    Raises:
        InputError: An identity or an expression is missing.
    """
    if not people and expression is None:
        raise InputError(
            "neither an identity nor an expression is connected",
            where=NAME,
            fix="Connect one of them, or both",
        )
    if not people and first.sources == (IDENTITY,):
        raise InputError(
            f"{first.name} is an identity adapter, and no identity is connected",
            where=NAME,
            fix="Connect Encode Identity",
        )
    if expression is None and second.sources == (EXPRESSION,):
        raise InputError(
            f"{second.name} is an expression adapter, and no expression is connected",
            where=NAME,
            fix="Connect Expression from Word, or another node that makes an expression; for "
            "Arc2Face's adapter Expression from FLAME",
        )


def report(first: AdapterTokens, second: AdapterTokens, expression: Expressions | None) -> str:
    """Lines on the adapters, their licences, and what an expression loses; losses are logged."""
    units = [] if expression is None else second.units(expression)
    for each in units:
        if each.lost:
            log.warning("%s: %s", NAME, each.summary())
    lines = (first.title, second.title, *(each.summary() for each in units))
    return "\n".join(dict.fromkeys(lines))


def _arc2face_warnings(model: Any, patched: Any, second: AdapterTokens) -> list[str]:
    """Lines on a MODEL that is not Arc2Face's, also logged; other prompts are, when sampling."""
    from ...sfsr.ip_adapter.arc2face import FlameAdapter
    from ..host.sfsr.arc2face_checks import model_warnings, warn, watch_prompts

    if patched is model:
        return []
    adapter = second.adapter
    watch_prompts(patched, NAME, adapter=isinstance(adapter, FlameAdapter))
    lines = model_warnings(model, adapter.kind.title) if isinstance(adapter, FlameAdapter) else []
    warn(NAME, lines)
    return lines


def _weight(of: str, tip: str) -> Any:
    return io.Float.Input(
        f"{of}_weight",
        **between(0.0, 3.0, default=1.0, step=0.05),
        tooltip=f"Strength of the {of}: 1 = as trained, 0 = absent. {tip}",
    )


def _further(name: str) -> Any:
    return IdentitySocket.Input(
        name,
        optional=True,
        tooltip="The same people, encoded by another face encoder, for adapters that read several.",
    )

"""What can be done with identities."""

from __future__ import annotations

from comfy_api.latest import io

from ...errors import InputError
from ..sockets import IdentitySocket, People

NAME = "Identity Away From"


class IdentityAwayFrom(io.ComfyNode):
    """Identity, less like somebody else."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_IdentityAwayFrom",
            display_name=NAME,
            category="face/analysis",
            description="Makes an identity a little less like somebody: against what shines "
            "through of the face that was in the scene before.",
            search_aliases=["face swap", "identity leak", "old face", "negative identity"],
            inputs=[
                IdentitySocket.Input(
                    "identity", tooltip="Who is to be drawn: from Encode Identity."
                ),
                IdentitySocket.Input(
                    "other",
                    tooltip="Who is not to be seen in it: the scene's own face, from Encode "
                    "Identity. One for all, or one for each.",
                ),
                io.Float.Input(
                    "amount",
                    default=0.06,
                    min=0.0,
                    max=0.5,
                    step=0.01,
                    tooltip="Share of the other that is taken away; 0 changes nothing. Above 0.2 "
                    "it costs likeness.",
                ),
            ],
            outputs=[
                IdentitySocket.Output(
                    "identity",
                    display_name="identity",
                    tooltip="For Apply SFSR, Encode Prompt with Identity and Apply Dense-Face "
                    "Adapter.",
                )
            ],
        )

    @classmethod
    def execute(cls, identity: People, other: People, amount: float) -> io.NodeOutput:
        from ...faces.identity import away_from

        people, others = identity.identities, other.identities
        count = max(len(people), len(others))
        if {len(people), len(others)} - {1, count}:
            raise InputError(
                f"{len(people)} people cannot be kept away from {len(others)} others",
                where=NAME,
                fix="Give one other for all or exactly one for each",
            )
        people, others = (each * (count // len(each)) for each in (people, others))
        pairs = zip(people, others, strict=True)
        return io.NodeOutput(
            People(tuple(away_from(who, not_who, amount) for who, not_who in pairs))
        )

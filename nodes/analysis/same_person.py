"""From which cosine on a recogniser takes two faces for one person."""

from __future__ import annotations


def same_person_from(encoder: str) -> float | None:
    """The cosine of a recogniser by its name; None where none is known.

    Photographs: as the recognisers' authors have it (docs/reference/libraries.md 13). Tiny world:
    strangers reach it in one of a hundred pairs of renders (docs/measuring.md).
    """
    from ...demo.networks.analyzer import ENCODER as TINY
    from ...demo.networks.evaluator_faces import EVALUATOR
    from ...faces.encoders.ir_se50 import ENCODER as IR_SE50
    from ...faces.encoders.names import SFACE, W600K_R50, canonical_encoder

    known = {SFACE: 0.363, W600K_R50: 0.28, IR_SE50: 0.23, TINY: 0.55, EVALUATOR: 0.55}
    return known.get(canonical_encoder(encoder))

"""Loading an adapter file for the host: fused adapter, identity token, control net."""

from __future__ import annotations

from pathlib import Path

from ....dense_face.checkpoints.adapter_file import read_parts
from ....dense_face.fused import FusedAdapter
from ....dense_face.identity_token import IdentityToken
from ....state_dict import as_float32
from .control import PoseControl, pose_control


def load_parts(
    path: Path,
) -> tuple[FusedAdapter, IdentityToken | None, PoseControl | None, str]:
    """(fused adapter, identity token, pose control, name of the face encoder) from a file.

    The pose branch is loaded directly into the host's layers and dtype, without a second copy.

    Raises:
        ModelFileError: The file is missing, corrupt or incomplete.
        IncompatibleError: Its weights are not those of a Stable Diffusion 1.x adapter.
    """
    parts = read_parts(path)
    token = control = None
    if parts.token:
        token = IdentityToken.from_state_dict(
            as_float32(parts.token), reference_delta=parts.reference_delta
        )
    if parts.pose_branch:
        control = pose_control(parts.pose_branch)
    return parts.fused(), token, control, parts.metadata.get("encoder", "")

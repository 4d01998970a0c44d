"""What the options of a base of one's own become once it is known which model it is."""

from __future__ import annotations

import argparse

_ONLY_SD15 = {
    "expression_adapter": "expressions are drawn",
    "word": "expressions are drawn",
    "words": "expressions are drawn",
    "flame": "expressions are drawn",
    "expression": "expressions are drawn",
    "dense_face": "Dense-Face works",
    "arc2face": "Arc2Face works",
    "reference_image": "Arc2Face works",
    "controlnet": "ControlNets work",
    "control_image": "ControlNets work",
    "face_mesh": "ControlNets work",
    "gaze": "ControlNets work",
    "yaw": "heads are turned",
    "pitch": "heads are turned",
    "roll": "heads are turned",
}
"""Option to what it does on Stable Diffusion 1.5 only."""


def check_base(args: argparse.Namespace) -> None:
    """Take the base's usual size where none is given, and refuse what is not for SDXL.

    Only names in the file are read.

    Raises:
        ModelFileError: The base is missing or damaged.
        IncompatibleError: It is SDXL, and an option is for Stable Diffusion 1.5 only.
    """
    from ...pipelines.checkpoint_file import read_header
    from ...pipelines.real.base_file import SDXL_SIZE, SIZE
    from ...pipelines.single_file import is_sdxl

    sdxl = is_sdxl(read_header(args.base)[0])
    if args.size is None:
        args.size = SDXL_SIZE if sdxl else SIZE
    if sdxl:
        _require_sdxl(args)


def _require_sdxl(args: argparse.Namespace) -> None:
    from ...errors import IncompatibleError
    from ...sfsr.ip_adapter.refuse import SDXL_FILES

    for name, what in _ONLY_SD15.items():
        value = getattr(args, name, None)
        if value is not None and value is not False and value != []:  # 0 degrees are given, too
            raise IncompatibleError(
                f"the base is SDXL, and {what} on Stable Diffusion 1.5 only",
                where=f"--{name.replace('_', '-')}",
                fix="Leave it out, or use a Stable Diffusion 1.5 checkpoint; SDXL has the "
                f"identity, by {SDXL_FILES}",
            )

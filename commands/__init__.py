"""The commands of ``denseface``, one file each; ``cli.py`` imports only the one that is called.

A command module holds two functions::

    def add_arguments(parser: argparse.ArgumentParser) -> None   # cheap: imports nothing heavy
    def run(args: argparse.Namespace) -> int | None              # None and 0 are success

and is named after its command (``train-demo`` lives in ``train_demo.py``).
"""

from __future__ import annotations

#: Command name to the line that ``denseface --help`` shows for it.
COMMANDS: dict[str, str] = {
    "demo": "make images and measure them in the bundled tiny world",
    "convert": "make adapter files from the checkpoint that the authors released",
    "generate": "make an image of the person on a reference image",
    "express": "put a person with an expression into a scene",
    "evaluate": "measure a method on people it has never seen",
    "faces": "find faces in images: landmarks, head pose, expression",
    "calibrate-identity": "find out how face features were measured, from images and features",
    "annotate": "make a dense-annotation data set from a folder of photos",
    "render": "draw heads of the tiny world: contact sheets and data sets",
    "conformance": "compare every computed number with the golden numbers of the reference",
    "train-annotations": "train a reader of depth, parts and landmarks for Stable Diffusion 1.5",
    "train-sfsr": "train an SFSR adapter for Stable Diffusion 1.5 on a data set of faces",
    "train-demo": "train the tiny world's models from zero, stage by stage",
}

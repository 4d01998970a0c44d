"""The commands of ``denseface``, one file each; ``cli.py`` imports only the one called.

A command module holds two functions::

    def add_arguments(parser: argparse.ArgumentParser) -> None   # cheap: imports nothing heavy
    def run(args: argparse.Namespace) -> int | None              # None and 0 are success

and is named after its command (``train-demo`` lives in ``train_demo.py``).
"""

from __future__ import annotations

#: Command name to the line that ``denseface --help`` shows for it.
COMMANDS: dict[str, str] = {
    "demo": "generate and evaluate images in the bundled tiny world",
    "convert": "convert the authors' released checkpoint to adapter files",
    "generate": "generate an image of the person in a reference image",
    "express": "put a person with an expression into a scene",
    "evaluate": "evaluate a method on held-out people, or on photographs",
    "faces": "find faces in images: landmarks, head pose, expression",
    "fit-flame": "fit a map from blendshapes to FLAME's numbers, for words with Arc2Face",
    "calibrate-identity": "find out how given face features were computed",
    "models": "list the published model files: found, missing or altered in ComfyUI's folders",
    "annotate": "make a dense-annotation data set from a folder of photos",
    "render": "render heads of the tiny world: contact sheets and data sets",
    "conformance": "recompute the golden values of the reference and compare",
    "train": "train an annotation head or an adapter for Stable Diffusion 1.5 on faces",
    "train-annotations": "now: train annotations",
    "train-sfsr": "now: train sfsr",
    "train-demo": "train the tiny world's models from scratch, stage by stage",
}

"""The model card beside a trained file: Markdown with the front matter that Hugging Face reads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...storage import atomic_path
from ..data.people import people_count
from .chart import CHART
from .monitor import newest_sheet


@dataclass(frozen=True)
class _Kind:
    """What a trainer makes, its folder in ComfyUI, and how it is used there."""

    what: str
    folder: str
    use: str


_KINDS = {
    "dense-face": _Kind(
        "A Dense-Face adapter for Stable Diffusion 1.5: it draws a given person, with the head "
        "turned by numbers",
        "models/dense_face",
        "**Load Dense-Face Adapter** gives the adapter to **Apply Dense-Face Adapter**, between "
        "the checkpoint and the sampler, and to **Encode Prompt with Identity**, where `*` in the "
        "prompt stands for the person. Both get the person from **Encode Identity** with the face "
        "encoder `{encoder}`. For the head pose, connect `pose_control` and the image of **Head "
        "Pose from Angles** to the core node Apply ControlNet.",
    ),
    "sfsr": _Kind(
        "An SFSR adapter for Stable Diffusion 1.5: it draws a given person with a given "
        "expression, into a given scene",
        "models/sfsr",
        "**Load SFSR Adapter** gives the adapter to **Apply SFSR**, between the checkpoint and the "
        "sampler. The person comes from **Encode Identity** with the face encoder `{encoder}`, the "
        "expression from **Expression from Word** or **Expression from Sliders**.",
    ),
    "annotations": _Kind(
        "An annotation head for Stable Diffusion 1.5: it reads depth, face parts and landmarks "
        "from the UNet while it samples",
        "models/dense_face",
        "**Load Annotation Head** gives the head to **Sample with Annotations** or **Annotate "
        "Image**.",
    ),
}
_CONSENT = (
    "Make images of a person only with that person's consent, and say that they are generated. Not "
    "for deception, harassment, or images of minors or intimate images of anyone."
)


def write_card(out: Path, about: Mapping[str, str], folder: Path) -> Path:
    """Write the card of a result beside it, with copies of its curves and validation images.

    Args:
        out: The result's file. about: Its metadata (``provenance``). folder: The work folder.

    Returns:
        The card.

    Raises:
        InputError: It cannot be written.
    """
    images: dict[str, str] = {}
    drawn_after, sheet = newest_sheet(folder) or (None, None)
    for name, source in (("curves", folder / CHART), ("validation", sheet)):
        if source is not None and source.is_file():
            target = out.with_name(f"{out.stem}.{name}.png")
            with atomic_path(target) as temporary:
                shutil.copyfile(source, temporary)
            images[name] = target.name
    card = out.with_name(f"{out.stem}.md")
    with atomic_path(card) as temporary:
        temporary.write_text(card_text(out.name, about, images, drawn_after), encoding="utf-8")
    return card


def card_text(
    name: str, about: Mapping[str, str], images: Mapping[str, str], drawn_after: int | None
) -> str:
    """The card of a file.

    Args:
        images: Names of the files with the ``curves`` and the ``validation``, as far as there are.
        drawn_after: Steps after which the validation images were drawn: an unfinished run is rarely
            validated when its state is saved.
    """
    kind = _KINDS[about["trainer"]]
    parts = [
        f"---\n{_front_matter(about)}---",
        f"# {Path(name).stem}",
        f"{kind.what}. Trained on `{about['base_model']}`; checkpoints derived from it often work, "
        "too.",
        f"## Use in ComfyUI\n\nPut `{name}` into `ComfyUI/{kind.folder}`. "
        + kind.use.format(encoder=about.get("encoder", "")),
        f"## Training\n\n{_table(_facts(about))}",
    ]
    if "curves" in images:
        parts.append(f"![Losses, learning rate, gradient norm and speed]({images['curves']})")
    if "validation" in images:
        parts.append(
            "People who were held out of the training, drawn by the averaged weights "
            f"after {drawn_after} steps:\n\n"
            f"![Reference, photo and drawn images]({images['validation']})"
        )
    parts.append(f"## Consent\n\n{_CONSENT}")
    return "\n\n".join(parts) + "\n"


def _front_matter(about: Mapping[str, str]) -> str:
    import yaml

    return yaml.safe_dump(
        {
            # The author of the file decides; base and data may restrict the choice.
            "license": "unknown",
            "base_model": about["base_model"],
            "pipeline_tag": "text-to-image",
            "tags": ["stable-diffusion", "comfyui", "face", about["trainer"]],
        },
        sort_keys=False,
        allow_unicode=True,
    )


def _facts(about: Mapping[str, str]) -> dict[str, str]:
    """The rows of the table; those without a value are left out."""
    sha, data_sha = about["base_sha256"], about["dataset_sha256"]
    held_out = about.get("held_out_loss", "")
    planned = str(json.loads(about["settings"])["steps"])
    facts = {
        "base": f"`{about['base_model']}`, SHA-256 `{sha}`",
        "face encoder": f"`{about['encoder']}`" if about.get("encoder") else "",
        "data": f"`{about['dataset']}`: {about['images']} images of "
        f"{people_count(int(about['people']))}, checksum `{data_sha[:12]}`",
        "licence of the data": about.get("dataset_licence", "not stated by the data set"),
        "held out": f"{people_count(int(about['people_held_out']))}, loss {held_out} "
        f"after {about['held_out_loss_step']} steps"
        if held_out
        else "",
        "steps": about["steps"] if about["steps"] == planned else f"{about['steps']} of {planned}",
        "last loss": about.get("loss", ""),
        "command": f"`{about['command']}`",
        "made": f"{about['date']} by version {about['version']} (commit {about['commit']}), "
        f"torch {about['torch']}",
    }
    return {name: value for name, value in facts.items() if value}


def _table(facts: Mapping[str, str]) -> str:
    rows = [f"| {name} | {value.replace('|', '/')} |" for name, value in facts.items()]
    return "\n".join(["| | |", "|---|---|", *rows])

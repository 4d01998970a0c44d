"""The images of an evaluation on disk: a killed run continues where it was.

Each PNG holds the settings it was drawn with. An image of the same settings is not drawn again;
one of other settings is refused and never replaced: it may have taken hours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ...errors import InputError
from ...pipelines.images import open_rgb, read_about, tensor_of, write_image
from ...storage import atomic_path
from .cases import Case


class ImageFolder:
    """A folder of images, all of the same settings.

    Args:
        folder: Made when the first image is written.
        settings: Of all images, as JSON values.
        person_settings, scene_settings: SHA-256 of the photos of each person, and of each scene.
        seed: Of the evaluation.

    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        person_settings: Mapping[str, Any],
        scene_settings: Mapping[str, Any],
        seed: int,
    ) -> None:
        self.folder, self.seed = folder, seed
        self.settings = settings
        self.person_settings, self.scene_settings = person_settings, scene_settings

    def path(self, case: Case) -> Path:
        """Where the image of a case lies."""
        return self.folder / case.file

    def about(self, case: Case) -> dict[str, Any]:
        """The settings of one image, as JSON values."""
        about = {
            **self.settings,
            **case.named(),
            "seed": self.seed,
            "noise_seed": case.noise_seed(self.seed),
            "photos_sha256": self.person_settings[case.person],
            "scene_sha256": None if case.scene is None else self.scene_settings[case.scene],
        }
        return json.loads(json.dumps(about))

    def pending(self, cases: Sequence[Case]) -> list[Case]:
        """Those that are still to be drawn; a damaged image counts as such.

        Raises:
            InputError: Images of other settings, or of another origin, are in their place.
        """
        missing: list[Case] = []
        others: list[tuple[Path, str]] = []
        for case in cases:
            path = self.path(case)
            try:
                found = read_about(path) if path.exists() else None
            except InputError:
                missing.append(case)
                continue
            if not path.exists():
                missing.append(case)
            elif found != (wanted := self.about(case)):
                others.append((path, _difference(found or {}, wanted)))
        if others:
            path, differs = others[0]
            raise InputError(
                f"images drawn with other settings are here ({len(others)}), the first differs in "
                f"{differs}",
                where=str(path),
                fix="Choose another --out, or remove these images to draw them anew",
            )
        return missing

    def write(self, case: Case, image: Tensor) -> None:
        """Write an image [1, 3, H, W] in 0..1 with its settings, whole or not at all.

        Raises:
            InputError: It cannot be written.
        """
        with atomic_path(self.path(case)) as temporary:
            write_image(temporary, image, self.about(case))

    def read(self, case: Case) -> Tensor:
        """The 8-bit image of a case as [3, H, W] in 0..1."""
        return tensor_of(open_rgb(self.path(case)))[0]


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The names of the settings that differ, at most four."""
    names = [name for name in wanted if found.get(name, ...) != wanted[name]]
    names += [name for name in found if name not in wanted]
    return ", ".join(names[:4]) + (" and others" if len(names) > 4 else "")

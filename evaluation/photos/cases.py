"""The images of an evaluation: people x scenes x prompts x words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """One image.

    word: One of the 135 words, None for no expression.
    scene: Its file's name, None for an image from the prompt alone.
    """

    person: str
    prompt: str
    word: str | None = None
    scene: str | None = None

    def noise_seed(self, seed: int) -> int:
        """The seed of the noise: another one in each case, the same for every base and adapter.

        So methods are compared on the same noise, and the mean over cases is one over noise, too.
        It does not depend on which other cases there are.
        """
        return int(self._digest(seed)[:8], 16)

    @property
    def file(self) -> str:
        """Name of the image, below the folder of images."""
        return f"{self.person}/{self.word or 'no-word'}-{self._digest()[:12]}.png"

    def named(self) -> dict[str, Any]:
        """Its fields, for CSV and JSON."""
        return asdict(self)

    def _digest(self, seed: int | None = None) -> str:
        text = json.dumps([seed, self.person, self.prompt, self.word, self.scene])
        return hashlib.sha256(text.encode()).hexdigest()


def cases_of(
    people: Sequence[str],
    prompts: Sequence[str],
    words: Sequence[str | None],
    scenes: Sequence[str | None],
) -> list[Case]:
    """All combinations, person by person; what is named twice counts once."""
    return list(
        dict.fromkeys(
            Case(person, prompt, word, scene)
            for person in people
            for scene in scenes
            for prompt in prompts
            for word in words
        )
    )

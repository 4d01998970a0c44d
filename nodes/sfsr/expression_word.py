"""Expressions of the 135 words: built in, or of exemplar images."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ...sfsr.emotion_table import PRIMARIES, emotion_words, nearest_words, synonyms
from ..sockets import AnalyzerSocket, Expressions, ExpressionSocket, LoadedAnalyzer
from .heads import with_heads
from .sockets import CATEGORY

_LARGEST_SEED = 2**64 - 1


class ExpressionFromWord(io.ComfyNode):
    """A word -> its built-in expression."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SFSR_ExpressionFromWord",
            display_name="Expression from Word",
            category=CATEGORY,
            description="One of 135 words for emotions as an expression: which muscles move, and "
            "how far. The codes are this pack's own priors, a place to start from; many of the "
            "words have no face of their own.",
            search_aliases=[
                "emotion",
                "facial expression",
                "smile",
                "angry",
                "135 words",
                "mood",
                "happy",
                "sad",
                "laugh",
                "cry",
                "surprised",
                "afraid",
                "frown",
                "grin",
                "scared",
                "tired",
            ],
            inputs=[
                word_input(),
                io.Float.Input(
                    "intensity",
                    default=1.0,
                    min=0.0,
                    max=1.5,
                    step=0.05,
                    tooltip="0 is a face at rest, 1 as the table has it, 1.5 exaggerated.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=_LARGEST_SEED,
                    control_after_generate=io.ControlAfterGenerate.fixed,
                    tooltip="Chooses the sides: to which side the face is crooked, smirks or "
                    "looks. The same seed means the same side in every word.",
                ),
                io.Float.Input(
                    "variation",
                    default=0.15,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How much less one side may move than the other. 0 is even on both.",
                ),
            ],
            outputs=[expression_output("What the face does.")],
        )

    @classmethod
    def validate_inputs(cls, word: object = None) -> bool | str:
        return known_word(word)

    @classmethod
    def execute(cls, word: str, intensity: float, seed: int, variation: float) -> io.NodeOutput:
        from ...sfsr.words import expression_of_word

        code = expression_of_word(word_of(word), intensity, seed, variation)
        return io.NodeOutput(Expressions((code,)))


class ExpressionFromExemplars(io.ComfyNode):
    """A word -> the expression on an image of yours."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SFSR_ExpressionFromExemplars",
            display_name="Expression from Exemplar Folder",
            category=CATEGORY,
            description="Takes the expression of a word from your own images of it, in "
            "models/sfsr/exemplars/<word>/ (as the DiffSFSR paper does with a data set).",
            search_aliases=["emotion", "expression reference", "exemplar", "emotion folder"],
            is_output_node=True,
            inputs=[
                AnalyzerSocket.Input(
                    "analyzer", tooltip="From Load Face Analyzer or Load Tiny-World Analyzer."
                ),
                word_input(),
                io.Combo.Input(
                    "choice",
                    options=["medoid", "seed"],
                    default="medoid",
                    tooltip="medoid: the image whose expression is closest to all others. seed: "
                    "one of them, chosen by the seed.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=_LARGEST_SEED,
                    control_after_generate=io.ControlAfterGenerate.fixed,
                    tooltip="Chooses the image if choice is seed.",
                ),
            ],
            outputs=[expression_output("The expression on the chosen image.")],
        )

    @classmethod
    def validate_inputs(cls, word: object = None) -> bool | str:
        return known_word(word)

    @classmethod
    def fingerprint_inputs(cls, word: str, **_: Any) -> str:
        from ..host.sfsr.exemplars import exemplar_mark

        return exemplar_mark(word_of(word))

    @classmethod
    def execute(cls, analyzer: LoadedAnalyzer, word: str, choice: str, seed: int) -> io.NodeOutput:
        from ...sfsr.exemplars import exemplar_expression, exemplar_files
        from ..host.execution import steps
        from ..host.sfsr.exemplars import exemplar_roots, read_exemplar

        name, roots = word_of(word), exemplar_roots()
        step = steps(1 if choice == "seed" else len(exemplar_files(roots, name)))
        code = exemplar_expression(roots, name, analyzer, read_exemplar, choice, seed, step)
        return with_heads(cls, Expressions((code,)))


def word_input() -> Any:
    """The list of words, each behind the primary emotion it belongs to."""
    return io.Combo.Input(
        "word",
        options=[f"{emotion.primary} / {word}" for word, emotion in emotion_words().items()],
        default="joy / happiness",
        tooltip="135 words in six groups: " + ", ".join(PRIMARIES) + ". Type to search: a group "
        "lists all of its words. In graphs by API the word alone will do, or an everyday one "
        "such as smile or angry.",
    )


def word_of(option: str) -> str:
    """The word of a list entry ``joy / bliss``, or of the bare word or synonym."""
    word = option.rsplit("/", 1)[-1].strip().lower()
    return synonyms().get(word, word)


def known_word(option: object) -> bool | str:
    """For ``validate_inputs``: True, or what to choose instead. A link is None."""
    if option is None:
        return True
    word = word_of(str(option))
    if word in emotion_words():
        return True
    return (
        f"{word!r} is not one of the 135 words. The closest are {', '.join(nearest_words(word))}."
    )


def expression_output(tooltip: str) -> Any:
    """The output of all nodes that make expressions."""
    return ExpressionSocket.Output("expression", display_name="expression", tooltip=tooltip)

"""Mutants of a source file: mutmut's operators, and calls and raises that do nothing.

mutmut itself cannot run here: it finds a mutant by its module's name, and the repository's root is
a package of another name, which the host loads under a third one.
"""

from __future__ import annotations

import difflib
import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators, operator_string


@dataclass(frozen=True)
class Mutant:
    """One change to one file."""

    path: str
    """Relative to the repository's root, with slashes."""
    lines: range
    """The lines of the statement that is changed; of a compound statement only its header."""
    source: str = field(repr=False)
    """The file after the change."""
    diff: str

    @property
    def name(self) -> str:
        """Stays the same as long as the file does."""
        return f"{self.path}:{hashlib.sha256(self.source.encode()).hexdigest()[:12]}"


class SourceFile:
    """A file and the changes that can be made to it."""

    def __init__(self, root: Path, path: str) -> None:
        self.path = path
        self.source = (root / path).read_text(encoding="utf-8")
        self._wrapper = MetadataWrapper(cst.parse_module(self.source))
        visitor = _Visitor()
        self._wrapper.visit(visitor)
        self._changes = visitor.found

    def __len__(self) -> int:
        return len(self._changes)

    def sample(self, count: int, chance: random.Random) -> list[Mutant]:
        """So many mutants that compile, no two alike."""
        drawn: dict[str, Mutant] = {}
        for lines, node, changed in chance.sample(self._changes, len(self._changes)):
            if len(drawn) == count:
                break
            mutated = self._wrapper.module.deep_replace(node, changed).code
            if mutated == self.source:
                continue
            try:
                compile(mutated, self.path, "exec")
            except SyntaxError:
                continue
            drawn[mutated] = Mutant(self.path, lines, mutated, _diff(self.source, mutated))
        return list(drawn.values())


def _diff(before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return "\n".join(list(lines)[2:])


class _Visitor(cst.CSTVisitor):
    """Left alone: annotations, decorators, imports and the texts of messages."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[range, cst.CSTNode, cst.CSTNode]] = []
        self._statements: list[range] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.Annotation | cst.Decorator | cst.Import | cst.ImportFrom):
            return False
        if isinstance(node, cst.BaseStatement):
            self._statements.append(self._extent(node))
        if isinstance(node, cst.Raise):
            self._add(node, cst.Pass())
            return False
        if isinstance(node, cst.Expr) and isinstance(node.value, cst.Call):
            self._add(node, cst.Pass())
        for changed in _changes(node):
            self._add(node, changed)
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, cst.BaseStatement):
            self._statements.pop()

    def _add(self, node: cst.CSTNode, changed: cst.CSTNode) -> None:
        self.found.append((self._statements[-1], node, changed))

    def _extent(self, node: cst.BaseStatement) -> range:
        place: Any = self.get_metadata(PositionProvider, node)
        body = getattr(node, "body", None)
        if isinstance(body, cst.BaseSuite):
            inside: Any = self.get_metadata(PositionProvider, body)
            return range(place.start.line, max(inside.start.line, place.start.line + 1))
        return range(place.start.line, place.end.line + 1)


def _changes(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    for kind, operator in mutation_operators:
        if isinstance(node, kind) and operator is not operator_string:
            yield from operator(node)

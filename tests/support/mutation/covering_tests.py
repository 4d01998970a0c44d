"""Which tests run a line, measured once on the unchanged code."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import coverage
import pytest


class _PerTest:
    """A pytest plugin: coverage by test, with the seconds of each that passed."""

    def __init__(self, measured: coverage.Coverage) -> None:
        self.measured = measured
        self.seconds: dict[str, float] = defaultdict(float)
        self.bad: set[str] = set()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item):
        self.measured.switch_context(item.nodeid)
        yield
        self.measured.switch_context("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        if not report.passed:
            self.bad.add(report.nodeid)


class CoveringTests:
    """Tests by the lines that they run."""

    def __init__(self, seconds: dict[str, float], lines: dict[str, dict[str, list[str]]]) -> None:
        self.seconds = seconds
        self._lines = lines

    @classmethod
    def load(cls, path: Path) -> CoveringTests:
        kept = json.loads(path.read_text())
        return cls(kept["seconds"], kept["lines"])

    @classmethod
    def measure(cls, root: Path, packages: Sequence[str], arguments: list[str], to: Path) -> None:
        """Run the tests and write what they cover; those that fail or skip are left out."""
        measured = coverage.Coverage(
            source=[str(root / package) for package in packages], data_file=None
        )
        plugin = _PerTest(measured)
        measured.start()
        pytest.main(arguments, plugins=[plugin])
        measured.stop()
        seconds = {test: s for test, s in plugin.seconds.items() if test not in plugin.bad}
        lines: dict[str, dict[str, list[str]]] = {}
        data = measured.get_data()
        for file in data.measured_files():
            by_line = data.contexts_by_lineno(file)
            lines[Path(file).relative_to(root).as_posix()] = {
                str(line): sorted(test for test in tests if test in seconds)
                for line, tests in by_line.items()
            }
        to.write_text(json.dumps({"seconds": seconds, "lines": lines}))

    def of(self, path: str, lines: Iterable[int], budget: float) -> list[str]:
        """Tests of these lines, then of the whole file, as many as fit into ``budget`` seconds.

        Those in the folder that mirrors the file's come first, the quick ones before the slow ones.
        """
        of_file = self._lines.get(path, {})
        exact = {test for line in lines for test in of_file.get(str(line), ())}
        around = {test for tests in of_file.values() for test in tests} - exact
        chosen: list[str] = []
        spent = 0.0
        for test in [*self._ordered(exact, path), *self._ordered(around, path)]:
            if not chosen or spent + self.seconds[test] <= budget:
                chosen.append(test)
                spent += self.seconds[test]
        return chosen

    def _ordered(self, tests: set[str], path: str) -> list[str]:
        mirror = "tests/" + str(Path(path).parent).removeprefix("nodes/") + "/"
        return sorted(tests, key=lambda test: (mirror not in test, self.seconds[test]))

"""``denseface conformance``: recompute the golden values of a parity fixture and compare."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

EXIT_DIFFERENT = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The folder and the form of the answer."""
    parser.add_argument(
        "folder",
        type=Path,
        help="fixture folder, e.g. tests/data/parity or tests/data/published_parity/faceid",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PREFIX",
        help="check only values whose names start with this, e.g. eps. (may be repeated)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print a row for each golden value; 0 if all are within the tolerance, else 1."""
    from ..evaluation.parity.conformance import check_conformance

    rows = check_conformance(args.folder, args.only)
    failed = [row for row in rows if not row.passed]
    worst = max(rows, key=lambda row: row.difference / row.tolerance)
    if args.json:
        print(
            json.dumps(
                {
                    "passed": not failed,
                    "tolerance": max(row.tolerance for row in rows),
                    "worst": {worst.name: _finite(worst.difference)},
                    "tolerances": {row.name: row.tolerance for row in rows},
                    "differences": {row.name: _finite(row.difference) for row in rows},
                },
                indent=1,
            )
        )
        return EXIT_DIFFERENT if failed else 0
    shown = [row for row in rows if not row.name.startswith("sd15_layout/") or not row.passed]
    width = max((len(row.name) for row in shown), default=0)
    for row in shown:
        print(f"{row.name:<{width}}  {row.difference:9.2e}  {'ok' if row.passed else 'DIFFERS'}")
    if len(rows) > len(shown):
        print(f"{len(rows) - len(shown)} names and shapes of the full-size layout agree")
    limits = " or ".join(f"{limit:g}" for limit in sorted({row.tolerance for row in rows}))
    print(f"{len(rows) - len(failed)} of {len(rows)} below {limits}; worst {worst.name}")
    return EXIT_DIFFERENT if failed else 0


def _finite(difference: float) -> float | None:
    """JSON has no infinity: null means that the two cannot be compared."""
    return difference if math.isfinite(difference) else None

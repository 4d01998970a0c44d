"""The pack's root module, loaded by file as the host does it, not by its pip name."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

from locate_host import ROOT


def load_pack(name: str) -> ModuleType:
    """Load it under a name of its own; whoever loads it removes it from ``sys.modules``."""
    spec = importlib.util.spec_from_file_location(
        name, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module

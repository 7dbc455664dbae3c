"""Importing torchvision and open_clip without the parts that reading images and texts never uses.

`import open_clip` costs 9.5 to 14 CPU seconds on a 2-core machine, of which a plain CLIP needs 4:

- torchvision 0.29 imports all of ``torch._dynamo`` (5 s, with sympy and the inductor) for one function that its
  ``roi_align`` asks when it is called on a GPU;
- timm and transformers (2 s, and ``torch._dynamo`` once more) are optional parts of open_clip, for towers that
  come from those libraries.

Nothing is patched for good: after the import ``sys.modules`` holds no stand-in, `torch.compile` works, and
`add_tower_library` gives open_clip the part it went without, once a model asks for it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any

_COMPILER = "torch._dynamo.utils"
_TOWER_LIBRARIES = {"timm": "open_clip.timm_model", "transformers": "open_clip.hf_model"}
"""Each library that open_clip can do without, and the module of open_clip that asks for it."""


@contextmanager
def lean_imports() -> Iterator[None]:
    """Within this, imports of torchvision and open_clip leave out the compiler, timm and transformers.

    What is imported already stays as it is. Other threads that import timm or transformers in the same second
    are told that these are missing, so import in the main thread.
    """
    with ExitStack() as undo:
        if _COMPILER not in sys.modules:
            undo.enter_context(_placed(_COMPILER, _CompilerStandIn(_COMPILER)))
        for library in _TOWER_LIBRARIES.keys() - sys.modules.keys():
            undo.enter_context(_placed(library, None))
        yield


def add_tower_library(library: str) -> None:
    """Give open_clip the library, "timm" or "transformers", that a lean import left out.

    The module of open_clip that wraps it runs again in its own namespace, so classes made before see it too.
    """
    wrapper = sys.modules.get(_TOWER_LIBRARIES[library])
    if wrapper is not None and getattr(wrapper, library) is None:
        importlib.import_module(library)
        importlib.reload(wrapper)


def import_tables_without_pandas() -> None:
    """Import pyarrow's tables, which otherwise load pandas (1.4 CPU s) only to be able to convert to it.

    For a process that answers one question and ends: afterwards pyarrow takes a pandas object for an unknown one until
    something calls `to_pandas`.
    """
    finder = _WithoutPandas()
    sys.meta_path.insert(0, finder)
    try:
        importlib.import_module("pyarrow.dataset")
    finally:
        sys.meta_path.remove(finder)


class _WithoutPandas:
    """A finder of modules to which pandas is not installed."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name="pandas")


@contextmanager
def _placed(name: str, stand_in: ModuleType | None) -> Iterator[None]:
    # None in sys.modules makes an import raise ModuleNotFoundError, the case that open_clip provides for.
    sys.modules[name] = stand_in  # type: ignore[assignment]
    try:
        yield
    finally:
        if sys.modules.get(name) is stand_in:
            sys.modules.pop(name, None)


class _CompilerStandIn(ModuleType):
    """Answers for ``torch._dynamo.utils`` until something other than the one function is asked of it."""

    @staticmethod
    def is_compile_supported(device_type: Any) -> Any:
        return getattr(importlib.import_module(_COMPILER), "is_compile_supported")(device_type)  # noqa: B009

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(_COMPILER) is self:
            del sys.modules[_COMPILER]
        return getattr(importlib.import_module(_COMPILER), name)

"""What a cached result depends on: where one of these differs, it is another result."""

import ast
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["pose", "crops", "embeddings"]
DIGITS: Final = 40
_PACKAGE: Final = __name__.rsplit(".", 3)[0]


@dataclass(frozen=True, slots=True)
class CacheKey:
    """Everything that decides on the numbers.

    Attributes:
        kind: what is kept: features of ``pose``, ``crops`` with the features beside them, ``embeddings`` likewise.
        content: SHA-256 of what they are computed from.
        recipe: how: parameters, hashes of code and weights, versions of libraries; JSON.
    """

    kind: Kind
    content: str
    recipe: dict[str, Any]

    @property
    def digest(self) -> str:
        """Beginning of the SHA-256 of it all."""
        text = json.dumps([self.kind, self.content, self.recipe], sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]

    def plain(self) -> dict[str, Any]:
        """As JSON gives it back."""
        return json.loads(json.dumps({"kind": self.kind, "content": self.content, "recipe": self.recipe}))


def array_sha256(values: NDArray[Any]) -> str:
    """SHA-256 of an array: its form and its bytes."""
    digest = hashlib.sha256(f"{values.dtype.str} {values.shape}".encode())
    digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def versions_of(*packages: str) -> dict[str, str]:
    """Versions of what is installed of these."""
    found: dict[str, str] = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache  # code does not change while it runs
def code_of(module: str) -> str:
    """SHA-256 of the source of one module of ethostream, named as for `code_below`."""
    return hashlib.sha256(_source(f"{_PACKAGE}.{module}")).hexdigest()


@cache
def code_below(module: str) -> str:
    """SHA-256 of the source of a module of ethostream and of all of ethostream that it imports, in functions as well.

    Args:
        module: its name without that of the package: ``inference.cropper``.
    """
    digest = hashlib.sha256()
    for name in sorted(modules_below(module)):
        digest.update(f"{name}\0".encode() + _source(name) + b"\0")
    return digest.hexdigest()


def modules_below(module: str) -> set[str]:
    """A module of ethostream and all of ethostream that it imports, whole names."""
    found: set[str] = set()
    pending = [f"{_PACKAGE}.{module}"]
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += _imported(name)
    return found


def imported_by(module: str) -> set[str]:
    """Modules of ethostream that one imports by itself, whole names; ``module`` as for `code_below`."""
    return set(_imported(f"{_PACKAGE}.{module}"))


def _source(name: str) -> bytes:
    spec = find_spec(name)
    assert spec is not None and spec.origin is not None, name
    return Path(spec.origin).read_bytes()


def _is_package(name: str) -> bool:
    spec = find_spec(name)
    return spec is not None and spec.submodule_search_locations is not None


def _imported(name: str) -> Iterator[str]:
    """Modules of ethostream that one imports by itself; inside the package all imports are relative."""
    package = name if _is_package(name) else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(_source(name))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
        target = f"{base}.{node.module}" if node.module else base
        yield target
        for alias in node.names:
            if _is_package(target) and find_spec(f"{target}.{alias.name}") is not None:
                yield f"{target}.{alias.name}"

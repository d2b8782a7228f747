"""Manifests as text: read with every key required, or checked before they are written."""

from typing import Any

from pydantic import BaseModel, ValidationError

from ..sync.errors import BundleError
from .manifest import Manifest


def read_manifest(text: str | bytes, where: str) -> Manifest:
    """Read and check a manifest.

    Args:
        text: the JSON.
        where: the path, for messages.

    Raises:
        BundleError: not JSON, a key missing (every one is named), unknown or wrong.
    """
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        raise BundleError(_explain(error, where)) from error
    missing = missing_keys(manifest)
    if missing:
        raise BundleError(
            f"{where}: missing key {', '.join(map(repr, missing))}; write the bundle again with write_bundle"
        )
    return manifest


def build_manifest(fields: dict[str, Any], where: str) -> Manifest:
    """Check the fields of a manifest that is about to be written.

    Raises:
        BundleError: as `read_manifest`; defaults may be left out here.
    """
    try:
        return Manifest.model_validate(fields)
    except ValidationError as error:
        raise BundleError(_explain(error, where)) from error


def missing_keys(model: BaseModel, path: str = "") -> list[str]:
    """Key paths of ``model`` and what it holds that took their default instead of being given."""
    missing: list[str] = []
    for name in type(model).model_fields:
        here = f"{path}{name}"
        if name not in model.model_fields_set:
            missing.append(here)
        else:
            missing.extend(_missing_in(getattr(model, name), here))
    return missing


def _missing_in(value: object, path: str) -> list[str]:
    if isinstance(value, BaseModel):
        return missing_keys(value, f"{path}.")
    if isinstance(value, dict):
        return [key for name, item in value.items() for key in _missing_in(item, f"{path}.{name}")]
    if isinstance(value, list):
        return [key for place, item in enumerate(value) for key in _missing_in(item, f"{path}.{place}")]
    return []


def _explain(error: ValidationError, where: str) -> str:
    lines = [f"{where}: {error.error_count()} fault(s) in the manifest"]
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"]) or "(top level)"
        if fault["type"] == "missing":
            lines.append(f"  missing key {key!r}")
        elif fault["type"] == "extra_forbidden":
            lines.append(f"  unknown key {key!r}")
        else:
            lines.append(f"  {key}: {fault['msg']} (got {fault['input']!r:.80})")
    return "\n".join(lines)

"""The bundles that ship with ethostream, by name."""

from pathlib import Path

from ..sync.errors import BundleError
from .bundle import identity_of
from .bundle_files import read_bundle_files
from .manifest import MANIFEST_FILE, Manifest
from .manifest_file import read_manifest

_FOLDER = Path(__file__).parent / "bundles"


def bundled_names() -> list[str]:
    """Names that stand for a shipped bundle."""
    return sorted(path.parent.name for path in _FOLDER.glob("*/manifest.json"))


def resolve_bundle(bundle: str | Path) -> Path:
    """A path to a bundle folder or zip, or the name of a shipped one (``demo``).

    Raises:
        BundleError: neither exists.
    """
    path = Path(bundle)
    if path.exists():
        return path
    if str(bundle) in bundled_names():
        return _FOLDER / str(bundle)
    raise BundleError(
        f"bundle {bundle}: no such folder, zip or shipped bundle ({', '.join(bundled_names()) or 'none'})"
    )


def look_up(bundle: str | Path) -> tuple[Manifest, str]:
    """A bundle's manifest, and what `Bundle.load` would call it, without opening it.

    Raises:
        BundleError: it is not there, or has no readable manifest.
    """
    path = resolve_bundle(bundle)
    content = read_bundle_files(path)[MANIFEST_FILE]
    manifest = read_manifest(content, f"{path}/{MANIFEST_FILE}")
    return manifest, identity_of(manifest, content)

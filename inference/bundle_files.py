"""The files of a bundle: a folder, or the same zipped."""

import hashlib
import zipfile
from pathlib import Path

from ..sync.errors import BundleError, BundleHashError
from .manifest import MANIFEST_FILE, Manifest


def read_bundle_files(path: Path) -> dict[str, bytes]:
    """Every file at the top of a bundle folder or zip (where the zip may hold one folder with the files in it).

    Raises:
        BundleError: not there, not a folder or zip, or without a manifest.
    """
    if path.is_dir():
        files = {one.name: one.read_bytes() for one in sorted(path.iterdir()) if one.is_file()}
    elif path.is_file():
        files = _read_zip(path)
    else:
        raise BundleError(f"bundle {path}: no such folder or zip; check the path")
    if MANIFEST_FILE not in files:
        raise BundleError(f"bundle {path}: holds no {MANIFEST_FILE}; a bundle is the folder that training wrote")
    return files


def _read_zip(path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            manifests = [name for name in names if name.rsplit("/", 1)[-1] == MANIFEST_FILE and name.count("/") <= 1]
            prefix = manifests[0].removesuffix(MANIFEST_FILE) if manifests else ""
            inside = [name for name in names if name.startswith(prefix) and "/" not in name.removeprefix(prefix)]
            return {name.removeprefix(prefix): archive.read(name) for name in inside}
    except zipfile.BadZipFile as error:
        raise BundleError(f"bundle {path}: neither a folder nor a readable zip ({error}); copy it again") from error


def check_hashes(manifest: Manifest, files: dict[str, bytes], where: str) -> None:
    """Compare every file with its sha256 in the manifest.

    Raises:
        BundleHashError: one is missing or differs; the message names it.
    """
    for name, expected in manifest.files.items():
        if name not in files:
            raise BundleHashError(f"bundle {where}: {name} is missing; copy the bundle again")
        found = sha256(files[name])
        if found != expected:
            raise BundleHashError(
                f"bundle {where}: {name} has sha256 {found[:12]}…, the manifest says {expected[:12]}…: it was changed "
                "or damaged; copy the bundle again"
            )


def sha256(data: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()


def zip_bundle(folder: Path, path: Path) -> Path:
    """Write a bundle folder as a zip with the files at its top, the same bytes for the same files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in read_bundle_files(folder).items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return path

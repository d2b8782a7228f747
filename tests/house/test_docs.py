"""What the pages say holds: links lead somewhere, files exist, decisions are numbered, versions agree."""

import re
import tomllib
from collections import Counter
from pathlib import Path

import ethostream
import pytest

LINK = re.compile(r"!?\[[^\]]*\]\(\s*([^)\s]+)\s*\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ABSOLUTE = re.compile(r"(?<![\w.~/:$}])/(?:home|root|work|mnt|media|Users|tmp|opt|srv|data|scratch)/")
SECTIONS = ("## Context", "## Decision", "## Consequences")


def anchors(text: str) -> set[str]:
    """Heading anchors as they are derived when Markdown is rendered in a repository browser."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_resolve(repository: Path, pages: list[Path]) -> None:
    broken: list[str] = []
    for page in pages:
        text = (repository / page).read_text()
        for target in LINK.findall(FENCE.sub("", text)):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = ((repository / page).parent / path).resolve() if path else repository / page
            if not file.exists() or not file.is_relative_to(repository):
                broken.append(f"{page}: {target}")
            elif anchor and anchor not in anchors(file.read_text()):
                broken.append(f"{page}: {target}: no such heading")
    assert not broken, "\n".join(broken)


def test_files_named_in_prose_exist(repository: Path, pages: list[Path]) -> None:
    """`folder/file.py` in backticks, where the folder is one of ours; decision records speak of their own day."""
    missing: list[str] = []
    for page in pages:
        if page.is_relative_to("docs/decisions"):
            continue
        for name in re.findall(
            r"`((?:acquisition|deploy|inference|streaming|sync|training|benchmarks|examples|tests|docs)/[\w./-]*)`",
            FENCE.sub("", (repository / page).read_text()),
        ):
            if not (repository / name).exists():
                missing.append(f"{page}: {name}")
    assert not missing, "\n".join(missing)


def test_the_architecture_names_every_module(repository: Path, package_files: list[Path]) -> None:
    page = (repository / "docs" / "architecture.md").read_text()
    named = Counter(Path(name).name for name in re.findall(r"`([\w/]+\.py)`", page))
    wanted = Counter(path.name for path in package_files if path.name != "__init__.py")
    assert not [name for name, n in sorted(wanted.items()) if named[name] < n]


def test_the_readme_leads_to_every_page(repository: Path) -> None:
    linked = {target.partition("#")[0] for target in LINK.findall((repository / "README.md").read_text())}
    pages = {path.relative_to(repository).as_posix() for path in (repository / "docs").glob("*.md")}
    assert not pages - linked


def test_pages_and_code_name_no_place_of_one_machine(repository: Path, tracked: list[Path]) -> None:
    kinds = {".md", ".py", ".yaml", ".yml", ".toml", ".svg", ".html", ".js", ".css", ""}
    found = [
        f"{path}: {line.strip()}"
        for path in tracked
        if path.suffix in kinds and path.parts[0] not in ("LICENSE", "tests")
        for line in (repository / path).read_text().splitlines()
        if ABSOLUTE.search(line)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("text", ["see /home/ann/rig.yaml", "`/tmp/x`", "(/work/data)"])
def test_a_place_of_one_machine_is_found(text: str) -> None:
    assert ABSOLUTE.search(text)


@pytest.mark.parametrize("text", ["/dev/shm/ethostream-1", "../shared/data", "docs/data/x", "https://x.org/data/y"])
def test_other_paths_pass(text: str) -> None:
    assert not ABSOLUTE.search(text)


def test_decisions_are_numbered_indexed_and_complete(repository: Path) -> None:
    folder = repository / "docs" / "decisions"
    records = sorted(path for path in folder.glob("*.md") if path.name != "README.md")
    assert [path.name[:5] for path in records] == [f"{number:04}-" for number in range(1, len(records) + 1)]
    index = (folder / "README.md").read_text()
    for path in records:
        text = path.read_text()
        assert text.startswith(f"# {path.name[:4]} "), f"{path.name}: begins with its number"
        assert [line for line in text.splitlines() if line.startswith("## ")] == list(SECTIONS), path.name
        assert index.count(f"| [{path.name[:4]}]({path.name}) |") == 1, f"{path.name} is not in the index"


def test_version_is_the_same_everywhere(repository: Path) -> None:
    version = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["version"]
    assert ethostream.__version__ == version
    assert re.search(rf"^## {re.escape(version)} ", (repository / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_every_base_dependency_is_explained(repository: Path) -> None:
    names = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["dependencies"]
    record = (repository / "docs" / "decisions" / "0004-base-dependencies.md").read_text()
    table = {name for row in re.findall(r"^\| ([\w, -]+) \|", record, re.MULTILINE) for name in row.split(", ")}
    assert {re.split(r"[<>=~\[;]", name)[0] for name in names} <= table

"""``--cache``: where features are kept between commands."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ...training.cache.store import FeatureCache

CacheOption = Annotated[
    str | None,
    typer.Option(
        "--cache",
        metavar="DIR|none",
        help="Where computed features are kept and looked for; else in the user's cache folder. `none`: nowhere.",
    ),
]


def opened_cache(asked: str | None) -> "FeatureCache | None":
    """The cache that a command uses; what is wrong with it is said on standard error.

    Raises:
        ConfigError: it is no folder.
    """
    from rich.console import Console

    from ...training.cache.place import open_cache

    console = Console(stderr=True, highlight=False)
    return open_cache(asked, lambda words: console.print(words, style="yellow", markup=False, soft_wrap=True))


def print_account(account: Mapping[str, Any] | None) -> None:
    """One line: what the cache was good for (`FeatureCache.to_dict`); nothing where it was not asked."""
    if account is None or not account["found"] + account["computed"] + account["not_kept"]:
        return
    from rich.console import Console

    words = f"features: {account['found']} from the cache, {account['computed']} computed and kept"
    words += f", {account['not_kept']} too large to be kept" if account["not_kept"] else ""
    words += f", {len(account['damaged'])} damaged and computed anew" if account["damaged"] else ""
    console = Console(stderr=True, highlight=False)
    console.print(f"{words} ({account['folder']})", markup=False, soft_wrap=True)

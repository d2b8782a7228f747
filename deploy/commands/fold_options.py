"""Options of commands that do folds: how recordings are left out."""

from typing import TYPE_CHECKING, Annotated

import typer

from ...sync.errors import ConfigError

if TYPE_CHECKING:
    from ...training.splits import FoldSplit

LeaveOneOutOption = Annotated[bool, typer.Option("--leave-one-out", help="As many folds as recordings, or groups.")]
FoldSeedOption = Annotated[
    int | None,
    typer.Option(
        "--fold-seed", min=0, help="Of the order in which recordings are dealt out; 0 by default.", show_default=False
    ),
]
UnitOption = Annotated[
    str | None,
    typer.Option(
        "--unit",
        metavar="group|recording",
        help="What is never torn apart; groups unless told otherwise, a recording without one is one of its own.",
    ),
]


def asked_folds(
    folds: int | None, leave_one_out: bool, fold_seed: int | None, unit: str | None, default: int | None
) -> "FoldSplit | None":
    """The folds that options ask for.

    Args:
        folds: of ``--folds``.
        leave_one_out: of ``--leave-one-out``.
        fold_seed: of ``--fold-seed``.
        unit: of ``--unit``.
        default: so many folds where none of the first two is given; None: then nothing is asked for.

    Raises:
        ConfigError: two ways to leave recordings out, an option that says nothing beside the others, or no such unit.
    """
    from ...training.splits import KFoldSplit, LeaveOneOutSplit

    if unit not in (None, "group", "recording"):
        raise ConfigError(f"--unit {unit}: is neither group nor recording")
    kept = "recording" if unit == "recording" else "group"
    if leave_one_out:
        if folds is not None:
            raise ConfigError("--folds and --leave-one-out: are two ways to leave recordings out; give one of them")
        if fold_seed is not None:
            raise ConfigError("--fold-seed: says nothing beside --leave-one-out, which deals nothing out; leave it out")
        return LeaveOneOutSplit(unit=kept)
    n = default if folds is None else folds
    if n is None:
        given = [name for name, value in (("--fold-seed", fold_seed), ("--unit", unit)) if value is not None]
        if given:
            raise ConfigError(
                f"{', '.join(given)}: goes with --folds or --leave-one-out; without these the folds are those of the "
                "training file"
            )
        return None
    return KFoldSplit(folds=n, seed=fold_seed or 0, unit=kept)

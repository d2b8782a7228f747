"""``ethostream keys``: CURVE keys of this host, and whom it lets in."""

from pathlib import Path
from typing import Annotated

import typer

from .json_output import JsonOption, require_writable, to_stdout, write_result

keys_app = typer.Typer(
    help="Make keys for rigs that speak to other hosts, and say whom they let in.", no_args_is_help=True
)

FolderArgument = Annotated[Path, typer.Argument(metavar="FOLDER", help="The keys of one host.")]


@keys_app.command("make")
def make(
    folder: FolderArgument,
    name: Annotated[str, typer.Option(help="Name of this host, as others will see it.")],
    json_path: JsonOption = None,
) -> None:
    """Make a key pair for this host.

    `NAME.key_secret` stays here and is readable by you alone. `NAME.key` is public: copy it to each host that shall
    speak with this one, and let it in there with `ethostream keys allow`.
    """
    from ...streaming.keys import load_keys, make_keys

    require_writable(json_path)
    public = make_keys(folder, name)
    if json_path is not None:
        write_result(
            json_path, {"name": name, "public_file": str(public), "public_key": load_keys(folder).public.decode()}
        )
    if to_stdout(json_path):
        return
    typer.echo(f"made {public.with_suffix('.key_secret')} (secret: it never leaves this host)")
    typer.echo(f"made {public} (public: copy it to the other hosts)")


@keys_app.command("allow")
def allow(
    folder: FolderArgument,
    public_key_file: Annotated[
        Path, typer.Argument(metavar="PUBLIC_KEY_FILE", help="The `.key` file of the other host.")
    ],
    json_path: JsonOption = None,
) -> None:
    """Let another host in, by its public key.

    A rig reads the list when it starts. To shut a host out again, remove its line from `allowed.keys`.
    """
    from ...streaming.keys import allow_key, load_keys

    require_writable(json_path)
    name = allow_key(folder, public_key_file)
    if json_path is not None:
        write_result(json_path, {"name": name, "public_key": load_keys(folder).allowed[name].decode()})
    if not to_stdout(json_path):
        typer.echo(f"{name} is let in from the next start on")


@keys_app.command("show")
def show(folder: FolderArgument, json_path: JsonOption = None) -> None:
    """Show this host's name and public key, and whom it lets in. The secret is checked and never shown."""
    from ...streaming.keys import load_keys

    keys = load_keys(folder)
    if json_path is not None:
        allowed = {other: keys.allowed[other].decode() for other in keys.others}
        write_result(json_path, {"name": keys.name, "public_key": keys.public.decode(), "allowed": allowed})
    if to_stdout(json_path):
        return
    typer.echo(f"{keys.public.decode()} {keys.name} (this host)")
    for other in keys.others:
        typer.echo(f"{keys.allowed[other].decode()} {other}")

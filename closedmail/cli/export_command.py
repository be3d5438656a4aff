"""`closedmail export`."""

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from closedmail.cli.export_options import Given, request_of, target_options
from closedmail.cli.main import Settings
from closedmail.cli.streams import lost_output
from closedmail.config import load
from closedmail.core.model import Config
from closedmail.exports.export_files import chunks, published_generation, write_files
from closedmail.exports.export_signature import clearsigned, says_the_same, with_signer
from closedmail.exports.target import ExportRequest, Form, Target
from closedmail.exports.targets import TARGETS
from closedmail.files import replace_file
from closedmail.owner import call_as_owner, stream_as_owner
from closedmail.store.environment import store_path
from closedmail.store.snapshot import StoreReader
from closedmail.sync.rules import other_rules_note

_EPILOG = "\b\nTargets:\n" + "\n".join(f"  {name:16} {target.title}" for name, target in TARGETS.items())
_PLACE = re.compile(r"[A-Za-z0-9/._+-]+", re.ASCII)
_SIGNED = "mailertable"


@click.command("export", epilog=_EPILOG)
@click.argument("name", metavar="TARGET", shell_complete=lambda _ctx, _param, word: _targets(word))
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The file to write; of a target with several files the folder in which they will lie: they name each other.",
)
@click.option(
    "--form",
    type=click.Choice(["mx", "forward"]),
    default="mx",
    show_default=True,
    help="Of a DNS target: MX records from the list, or forwarding to the network's own servers ([network.X.dns]).",
)
@click.option("--sign", metavar="FINGERPRINT", help="Clearsign the mailertable with this key of yours, by gpg.")
@target_options
@click.pass_obj
def command(
    settings: Settings, /, name: str, output: Path | None, form: Form, sign: str | None, **given: Given
) -> None:
    """Write what is in force as another system's configuration.

    It goes to standard output, or to PATH, which is replaced in one step, and not touched where it says the same
    already. The same generation gives the same text. Each export begins with what it could not express, and how it is
    applied.
    """
    target = _target(name, output, form, sign)
    request = request_of(name, target, form, given)
    config = load(settings.config_path)
    state_dir = Path(config.gateway.state_dir)
    if target.folder and output is not None:
        place = str(output.absolute())
        files = call_as_owner(state_dir, lambda: _files(config, target, replace(request, place=place)))
        changed = write_files(output, files)
    else:
        data = stream_as_owner(state_dir, lambda: _one_file(config, target, request, sign))
        changed = _put(data, output, sign)
    if settings.verbose and output is not None and sign is None:
        click.echo(f"closedmail: {len(changed)} changed: {', '.join(map(str, changed)) or 'none'}", err=True)
    if note := call_as_owner(state_dir, lambda: _note(config)):
        click.echo(f"closedmail: note: {note}", err=True)


def _put(data: Iterator[bytes], output: Path | None, sign: str | None) -> list[Path]:
    """Print an export, or write it; gives what was changed."""
    if sign is not None:
        signed = clearsigned(data, sign)
        if output is not None and says_the_same(output, signed):
            return []
        data = iter([signed])
    if output is None:
        _print(data)
        return []
    return [output] if replace_file(output, data, unless_same=sign is None) else []


def _one_file(config: Config, target: Target, request: ExportRequest, sign: str | None) -> Iterator[bytes]:
    """Render a target of one file."""
    with StoreReader(store_path(config.gateway.state_dir)) as store:
        lines = target.render(published_generation(store.current(), config), request)[0].lines
        yield from chunks(target, lines if sign is None else with_signer(lines, sign))


def _files(config: Config, target: Target, request: ExportRequest) -> list[tuple[str, str]]:
    """Render a target of several files: their names and texts."""
    with StoreReader(store_path(config.gateway.state_dir)) as store:
        files = target.render(published_generation(store.current(), config), request)
        return [(file.name, b"".join(chunks(target, file.lines)).decode()) for file in files]


def _note(config: Config) -> str:
    with StoreReader(store_path(config.gateway.state_dir)) as store:
        return other_rules_note(config, store.current().manifest)


def _targets(word: str) -> list[CompletionItem]:
    """List the completions that a shell offers for the beginning of a name."""
    return [CompletionItem(name, help=target.title) for name, target in TARGETS.items() if name.startswith(word)]


def _target(name: str, output: Path | None, form: Form, sign: str | None) -> Target:
    """Return the target, if it supports these options. Raises UsageError."""
    target = TARGETS.get(name)
    if target is None:
        raise click.UsageError(f"unknown target {name!r}; there are: {', '.join(TARGETS)}")
    if form not in target.forms:
        raise click.UsageError(f"{name} has no form {form!r}: only DNS targets forward")
    if target.folder and output is None:
        raise click.UsageError(f"{name} is several files: name a folder for them with --output")
    if target.folder and output is not None and not _PLACE.fullmatch(str(output.absolute())):
        raise click.UsageError(
            f"--output: {str(output)!r} goes into configuration files, write it with letters, digits, / . _ - only"
        )
    if sign is not None and name != _SIGNED:
        raise click.UsageError(f"only a {_SIGNED} can be signed, {name} can't")
    if sign is not None and not (len(sign) == 40 and all(char in "0123456789abcdefABCDEF" for char in sign)):
        raise click.UsageError(f"--sign: {sign!r} is no fingerprint of 40 hex digits; see gpg --list-secret-keys")
    return target


def _print(data: Iterable[bytes]) -> None:
    """Write bytes to standard output: UTF-8, whatever the locale is."""
    stream = getattr(sys.stdout, "buffer", None)
    for chunk in data:
        if stream is None:
            sys.stdout.write(chunk.decode())
        else:
            stream.write(chunk)
        if lost_output():
            return  # nobody takes the rest

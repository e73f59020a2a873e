"""The application, and the one place where errors become a line on stderr and an exit code."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import pyhv

from .exit_codes import ExitCode

app = typer.Typer(
    name="hv",
    help="Run guest programs in virtual machines that pyhv makes.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class HvFailure(Exception):
    """Something that the user can act on: one line, and an exit code from the table."""

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.code = code


def say(message: str) -> None:
    """A line of our own, which always goes to stderr: stdout is the guest's."""
    print(f"hv: {message}", file=sys.stderr, flush=True)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"hv (pyhv {pyhv.__version__})")
        raise typer.Exit


@app.callback()
def hv(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None: ...

"""`hv engines`: which engines there are, whether each works here and why not, and what it can do."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

import pyhv

from ..engines.select import VARIABLE, choose
from .app import app


@app.command("engines")
def engines(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead of a table.")] = False,
) -> None:
    """List the engines that can run guests, and whether each works on this machine."""
    statuses = pyhv.engine_statuses()
    chosen, said = _chosen()
    if as_json:
        rows = [
            {
                "name": s.name,
                "works": s.works,
                "chosen": s.name == chosen,
                "denied": s.denied,
                "reason": s.reason,
                "abilities": list(s.abilities),
            }
            for s in statuses
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table("engine", "works here", "why, or what it can do", box=None, pad_edge=False)
    for status in statuses:
        detail = ", ".join(status.abilities) if status.works else status.reason
        table.add_row(status.name, "yes" if status.works else "no", detail)
    Console(highlight=False).print(table)
    typer.echo(f"\n{said}")


def _chosen() -> tuple[str | None, str]:
    """The engine of who names none, and a sentence about it."""
    try:
        name = choose().name
    except pyhv.HvError as none:
        return None, f"chosen: none; {none}"
    return name, f"chosen: {name}, {f'by ${VARIABLE}' if os.environ.get(VARIABLE) else 'as nobody names another'}"

"""Makes src/pyhv/framework/_intel_constants.py from spec/api/intel.toml.

A class for each C enum, so that values print by name and `match` can use them (`case vmx_reason.VMX_REASON_HLT`), and
beside it each value by Apple's own name at module level, where type checkers see it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

from spec_api import ROOT, Api, Enum, load

TARGET = ROOT / "src" / "pyhv" / "framework" / "_intel_constants.py"

HEAD = '''\
"""Constants of Apple's Hypervisor framework on Intel, by Apple's names. Generated: do not edit.

`make docs` makes it anew from spec/api/intel.toml, which covers macOS 10.10 to {covers}.
"""

# Every name without an underscore is Apple's, so that `import *` gives those and no others.
from enum import IntEnum as _IntEnum
from enum import IntFlag as _IntFlag
from typing import Final as _Final
'''


def number(value: int) -> str:
    """Decimal while it is small, else hexadecimal."""
    return str(value) if 0 <= value < 10 else f"{value:#X}".replace("X", "x")


def docstring(text: str) -> str:
    """One line where it fits, else wrapped as ours are."""
    head, *rest = textwrap.wrap(text, 110)
    if not rest:
        return f'    """{text}"""'
    lines = [f'    """{head}', *(f"    {line}" for line in rest), '    """']
    return "\n".join(lines)


def enum_class(enum: Enum) -> Iterator[str]:
    """The class: names of a value seen before become aliases of the first, as Python's enums do it."""
    yield f"\n\nclass {enum.name}({'_IntFlag' if enum.flags else '_IntEnum'}):"
    yield docstring(enum.doc)
    yield ""
    for name, value in enum.values.items():
        yield f"    {name} = {number(value)}"


def module_names(enum: Enum) -> Iterator[str]:
    """The values at module level."""
    yield "\n"
    for name in enum.values:
        yield f"{name}: _Final = {enum.name}.{name}"


def constants(api: Api) -> Iterator[str]:
    """The constants that belong to no enum."""
    yield ""
    for name, (value, doc) in api.integers.items():
        yield f"{name}: _Final = {number(value)}"
        yield f'"""{doc}"""'


def source(api: Api) -> str:
    """The whole module."""
    lines = [HEAD.format(covers=api.covers_up_to).rstrip("\n"), *constants(api)]
    for enum in api.enums:
        lines += [*enum_class(enum), *module_names(enum)]
    return "\n".join(lines).replace("\n\n\n\n", "\n\n\n") + "\n"


def outputs() -> dict[Path, str]:
    """What this generator writes: file to text."""
    return {TARGET: source(load("intel"))}

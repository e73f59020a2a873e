"""The import rule: which folder may use which. Exits 1 and names every line that breaks it.

The guest's way is program → API → engine → silicon → exit → device → back, and each folder knows only what it must:
the software CPU knows no Python, engines know the shared words and never the monitor, the monitor uses pyhv as any
program would, and the facts in spec/ import nothing.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "pyhv"

WORDS = {"exits", "errors", "addresses"}  # shared by all
PUBLIC = WORDS | {"arch", "pyhv", "framework"}  # what any program may import; `pyhv` is the package's front itself

# part of the package → the parts of the package it may import (itself is always allowed)
ALLOWED: dict[str, set[str]] = {
    "exits": {"addresses"},
    "errors": set(),
    "addresses": set(),
    "_silicon": WORDS,
    "arch": WORDS,
    "engines": WORDS | {"arch", "_silicon"},
    "_core": WORDS | {"arch", "engines", "_silicon", "framework._intel_constants"},
    "framework": WORDS | {"arch", "_core", "pyhv"},
    "pyhv": WORDS | {"arch", "_core", "engines"},
    "sandbox": WORDS | {"_core"},
    "vmm": PUBLIC,
    "testing": PUBLIC | {"engines"},
    "cli": PUBLIC | {"vmm", "engines", "sandbox"},
}
# part of the package → what it may import that is not ours and not the standard library
THIRD_PARTY: dict[str, set[str]] = {
    "vmm": {"elftools", "lz4", "zstandard"},
    "sandbox": {"pyseccomp"},
    "cli": {"typer", "rich"},
    "testing": {"pytest", "hypothesis"},
}
SUFFIXES = {".h", ".hpp", ".cpp", ".inc", ".cc"}
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')
SILICON_FORBIDDEN = re.compile(r"^(Python\.h|nanobind/|pybind11/|.*bindings/|cpython/)")


def part_of(path: Path) -> str:
    """`src/pyhv/vmm/bus.py` is part `vmm`, `src/pyhv/exits.py` part `exits`, the package's front part `pyhv`."""
    first = path.relative_to(PACKAGE).parts[0]
    name = first.removesuffix(".py").removesuffix(".pyi")
    return "pyhv" if name in ("__init__", "__main__") else name


def absolute(path: Path, node: ast.ImportFrom) -> str:
    """The absolute name of the module that a `from … import` names."""
    if not node.level:
        return node.module or ""
    here = ["pyhv", *path.relative_to(PACKAGE).parts[:-1]]
    base = here[: len(here) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute name of everything a Python file imports, type-checking imports included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = absolute(path, node)
            submodules = [alias.name for alias in node.names if is_module(module, alias.name)]
            yield from ((node.lineno, f"{module}.{name}") for name in submodules)
            if len(submodules) < len(node.names):
                yield node.lineno, module


def is_module(package: str, name: str) -> bool:
    """Whether `from package import name` imports a module of ours rather than a name in one."""
    folder = PACKAGE.parent.joinpath(*package.split("."))
    return any((folder / f"{name}{suffix}").exists() for suffix in ("", ".py", ".pyi"))


def only_for_types(path: Path) -> set[int]:
    """The lines under `if TYPE_CHECKING:`, where the type checker's own packages may be named."""
    guards = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.If))
    return {
        line
        for node in guards
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for statement in node.body
        for line in range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)
    }


def may_import(part: str, module: str) -> bool:
    """Whether this part of the package may import that module (absolute name)."""
    top, _, inside = module.partition(".")
    if top in sys.stdlib_module_names:
        return True
    if top != "pyhv":
        return top in THIRD_PARTY.get(part, set())
    target = inside.partition(".")[0] or "pyhv"
    if target == part:
        return True
    private = any(name.startswith("_") and not name.startswith("__") for name in inside.split(".")[1:])
    return inside in ALLOWED[part] or (target in ALLOWED[part] and not private)


def python_problems() -> Iterator[str]:
    """Broken lines in src/pyhv."""
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyi")]):
        part, shown = part_of(path), path.relative_to(ROOT)
        if part not in ALLOWED:
            yield f"{shown}:1: tools/check_imports.py has no rule for the part `{part}`: add what it may import"
            continue
        typing_lines = only_for_types(path)
        allowed = ", ".join(sorted(ALLOWED[part]))
        for line, module in imports(path):
            if module == "typing_extensions" and (line in typing_lines or path.suffix == ".pyi"):
                continue
            if not may_import(part, module):
                yield f"{shown}:{line}: `{part}` may not import `{module}` (allowed: {allowed})"


def native_problems() -> Iterator[str]:
    """Broken lines in silicon/: the CPU knows no Python."""
    for path in sorted(p for p in (ROOT / "silicon").rglob("*") if p.suffix in SUFFIXES):
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            found = INCLUDE.match(text)
            if found and SILICON_FORBIDDEN.match(found[1]):
                yield f"{path.relative_to(ROOT)}:{number}: silicon/ includes {found[1]}; Python belongs in bindings/"


def spec_problems() -> Iterator[str]:
    """Code in spec/: facts import nothing."""
    for path in sorted((ROOT / "spec").rglob("*.py")):
        yield f"{path.relative_to(ROOT)}:1: spec/ holds data only; code that reads it belongs in tools/ or src/"


def main() -> int:
    """The command."""
    problems = [*python_problems(), *native_problems(), *spec_problems()]
    print(*problems, sep="\n", end="\n" if problems else "", file=sys.stderr)
    return int(bool(problems))


if __name__ == "__main__":
    raise SystemExit(main())

"""All checks that need no guest to run. Every check runs; the exit code is 1 if any failed.

Give names to run only some: `.venv/bin/python tools/lint.py ruff mypy`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"
JOBS = os.environ.get("JOBS", "2")
MAX_LINES = 600
GENERATED = {"src/pyhv/framework/_intel_c.py", "src/pyhv/framework/_intel_constants.py"}  # long because the API is
OUTWARD = re.compile(r"(?<![\w./])((?:\.\./)+[\w.-]+)")
SOURCES = {".py", ".pyi", ".cpp", ".h", ".inc", ".sh", ".txt"}


def run(*command: object, quiet: bool = False) -> bool:
    """Runs a command in the checkout; with `quiet` its words come out only when it fails."""
    if not quiet:
        return subprocess.run([str(word) for word in command], cwd=ROOT, check=False).returncode == 0
    done = subprocess.run([str(word) for word in command], cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout[-8000:], done.stderr[-4000:], sep="", file=sys.stderr)
    return done.returncode == 0


def tracked_files() -> list[Path]:
    """What git knows and what it would add; in a plain copy of the tree: all but what is built."""
    git = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return [path for name in done.stdout.splitlines() if (path := ROOT / name).is_file()]
    built = {".venv", "build", ".git"}
    return [path for path in ROOT.rglob("*") if path.is_file() and path.relative_to(ROOT).parts[0] not in built]


def ruff() -> bool:
    """Style and common mistakes."""
    return run(BIN / "ruff", "check", "--quiet", ".")


def ruff_format() -> bool:
    """Layout; `make format` puts it right."""
    return run(BIN / "ruff", "format", "--check", ".", quiet=True)


def mypy() -> bool:
    """Strict types on src/pyhv."""
    return run(BIN / "mypy", "--no-error-summary")


def imports() -> bool:
    """Which folder may use which."""
    return run(sys.executable, ROOT / "tools" / "check_imports.py")


def generated() -> bool:
    """Files made from spec/ are what their generators give."""
    return run(sys.executable, ROOT / "tools" / "generate.py", "--check")


def leaves_the_tree(path: Path, place: str) -> bool:
    """Whether a relative path, as written in this file, ends up outside the checkout. Tests may name such places."""
    if path.relative_to(ROOT).parts[0] == "tests":
        return False
    return not (path.parent / place).resolve().is_relative_to(ROOT)


def tree() -> bool:
    """The tree stands alone, and no source file is longer than a reader wants."""
    problems = []
    for path in tracked_files():
        name = str(path.relative_to(ROOT))
        if path.suffix not in SOURCES | {".md", ".toml", ""}:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), 1):
            if any(leaves_the_tree(path, place) for place in OUTWARD.findall(line)):
                problems.append(f"{name}:{number}: names a place outside the tree: {line.strip()[:80]}")
        if path.suffix in SOURCES and name not in GENERATED and text.count("\n") > MAX_LINES:
            problems.append(f"{name}: {text.count(chr(10))} lines; at most {MAX_LINES}: split it")
    print(*problems, sep="\n", end="\n" if problems else "", file=sys.stderr)
    return not problems


def native() -> bool:
    """A C++ build in which a warning is an error."""
    folder = ROOT / "build" / "lint"
    options = ["-DPYHV_WERROR=ON", f"-DPython_EXECUTABLE={BIN / 'python'}"]
    return run("cmake", "-S", ".", "-B", folder, "-G", "Ninja", *options, quiet=True) and run(
        "cmake", "--build", folder, "--parallel", JOBS, quiet=True
    )


CHECKS: dict[str, Callable[[], bool]] = {
    "ruff": ruff,
    "format": ruff_format,
    "mypy": mypy,
    "imports": imports,
    "generated": generated,
    "tree": tree,
    "native": native,
}


def main() -> int:
    """The command."""
    names = sys.argv[1:] or list(CHECKS)
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        print(f"no check named {', '.join(unknown)}; there are: {', '.join(CHECKS)}", file=sys.stderr)
        return 2
    failed = []
    for name in names:
        start = time.monotonic()
        passed = CHECKS[name]()
        print(f"{'ok    ' if passed else 'FAILED'} {name} ({time.monotonic() - start:.1f} s)", flush=True)
        if not passed:
            failed.append(name)
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main())

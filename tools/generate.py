"""Writes every generated file, or with --check says which are not current (and exits 1)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import gen_capi
import gen_conformance
import gen_constants
import gen_coverage
import gen_docs
import gen_headers
import gen_instructions
from spec_api import ROOT

GENERATORS = (gen_capi, gen_conformance, gen_constants, gen_coverage, gen_docs, gen_headers, gen_instructions)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file is not current")
    check = parser.parse_args().check
    stale = 0
    for generator in GENERATORS:
        for path, text in generator.outputs().items():
            if path.exists() and path.read_text(encoding="utf-8") == text:
                continue
            stale += 1
            print(f"{'not current' if check else 'written'}: {path.relative_to(ROOT)}", file=sys.stderr)
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    if check and stale:
        print("generated files differ from their sources: run `make docs` and commit", file=sys.stderr)
    return int(check and stale > 0)


if __name__ == "__main__":
    raise SystemExit(main())

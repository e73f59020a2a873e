"""`python -m pyhv.cli` is `hv`."""

from __future__ import annotations

from . import main

main()

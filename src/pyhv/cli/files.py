"""Files that the command line names, and what is shown while they are read."""

from __future__ import annotations

import sys
from pathlib import Path

from pyhv.vmm.console import ByteSink
from pyhv.vmm.sizes import show_size

from .app import HvFailure
from .exit_codes import ExitCode

MAX_IMAGE_BYTES = 1 << 30
CLEAR_LINE = "\r\x1b[K"


class Steps:
    """What is going on before the guest runs: one line on stderr that replaces itself, on a terminal only."""

    def __init__(self) -> None:
        self._shows = sys.stderr is not None and sys.stderr.isatty()
        self._shown = False

    def say(self, text: str) -> None:
        if self._shows:
            self._shown = True
            print(f"{CLEAR_LINE}{text} …", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._shown:
            self._shown = False
            print(CLEAR_LINE, end="", file=sys.stderr, flush=True)

    def clear_at_first(self, onward: ByteSink) -> ByteSink:
        """A sink that takes the line away before the guest's first byte."""
        return _Clearing(self, onward)


class _Clearing:
    def __init__(self, steps: Steps, onward: ByteSink) -> None:
        self._steps, self._onward = steps, onward
        self.flush = onward.flush

    def write(self, data: bytes) -> None:
        self._steps.clear()
        self._onward.write(data)


def read_image(path: Path, steps: Steps | None = None) -> bytes:
    """The bytes of a file that is to be loaded. Raises HvFailure where they cannot be had."""
    try:
        with path.open("rb") as file:
            if steps:
                steps.say(f"reading {path.name} ({show_size(path.stat().st_size)})")
            data = file.read(MAX_IMAGE_BYTES + 1)
    except IsADirectoryError:
        raise HvFailure(f"{path} is a directory; a file would do", ExitCode.BAD_IMAGE) from None
    except FileNotFoundError:
        raise HvFailure(f"{path} does not exist", ExitCode.BAD_IMAGE) from None
    except OSError as error:
        raise HvFailure(f"{path} cannot be read: {error.strerror}", ExitCode.BAD_IMAGE) from None
    if len(data) > MAX_IMAGE_BYTES:
        raise HvFailure(f"{path}: the file has more than 1 GiB, which is no program", ExitCode.BAD_IMAGE)
    return data

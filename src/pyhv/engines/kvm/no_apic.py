"""The local APIC that a vCPU of this engine has not."""

from __future__ import annotations

from typing import NoReturn

from ...errors import BadArgument, Unsupported


class NoApic:
    """Every method says so."""

    def read_apic(self) -> bytes:
        """Empty: there is none."""
        return b""

    def write_apic(self, image: bytes) -> None:
        """Only the state of none fits."""
        if image:
            raise BadArgument("this vCPU has no local APIC; one of a VM on the soft engine made with apic=True has")

    def apic_read(self, offset: int) -> NoReturn:
        """Unsupported."""
        raise _none()

    def apic_write(self, offset: int, value: int) -> NoReturn:
        """Unsupported."""
        raise _none()

    def apic_post(self, vector: int, trigger: int) -> NoReturn:
        """Unsupported."""
        raise _none()

    def apic_controls(self, controls: int) -> NoReturn:
        """Unsupported."""
        raise _none()

    def apic_trigger_timer(self) -> NoReturn:
        """Unsupported."""
        raise _none()

    def apic_ext_int(self) -> NoReturn:
        """Unsupported."""
        raise _none()

    def exit_notice(self) -> NoReturn:
        """Unsupported."""
        raise _none()

    @property
    def idle_ns(self) -> int:
        """It never waits inside a run: HLT leaves."""
        return 0


def _none() -> Unsupported:
    return Unsupported("the kvm engine has no interrupt controllers; the soft engine does")

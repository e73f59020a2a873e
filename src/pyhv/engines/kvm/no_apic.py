"""The local APIC that a vCPU has not whose VM was made without interrupt controllers."""

from __future__ import annotations

from ...errors import BadArgument, Unsupported


class NoApic:
    """Every method says so."""

    def read_apic(self) -> bytes:
        """Empty: there is none."""
        return b""

    def write_apic(self, image: bytes) -> None:
        """Only the state of none fits."""
        if image:
            raise BadArgument("this vCPU has no local APIC; one of a VM made with apic=True has")

    def apic_read(self, offset: int) -> int:
        """Unsupported."""
        raise _none()

    def apic_write(self, offset: int, value: int) -> bool:
        """Unsupported."""
        raise _none()

    def apic_post(self, vector: int, trigger: int) -> None:
        """Unsupported."""
        raise _none()

    def apic_controls(self, controls: int) -> None:
        """Unsupported."""
        raise _none()

    def apic_trigger_timer(self) -> None:
        """Unsupported."""
        raise _none()

    def apic_ext_int(self) -> bool:
        """Unsupported."""
        raise _none()

    def exit_notice(self) -> tuple[int, int, int]:
        """Unsupported."""
        raise _none()

    @property
    def idle_ns(self) -> int:
        """It never waits inside a run: HLT leaves."""
        return 0


def _none() -> Unsupported:
    return Unsupported("this VM has no interrupt controllers: VirtualMachine(apic=True) makes one that has")

"""What only vCPUs with raw exits have, Apple's functions'."""

from __future__ import annotations

from ...errors import BadArgument, Unsupported


class NoRaw:
    """Every method says so."""

    def read_shadow_vmcs(self, field: int) -> int:
        """Unsupported."""
        raise _none("shadow VMCS")

    def write_shadow_vmcs(self, field: int, value: int) -> None:
        """Unsupported."""
        raise _none("shadow VMCS")

    def set_shadow_access(self, field: int, flags: int) -> None:
        """Unsupported."""
        raise _none("shadow VMCS")

    def bind_msr(self, msr: int, bound: bool) -> None:
        """Unsupported."""
        raise _none("managed MSRs")

    def set_msr_access(self, msr: int, flags: int) -> None:
        """Unsupported."""
        raise _none("managed MSRs")

    def read_granted(self) -> bytes:
        """Empty: nothing is granted."""
        return b""

    def write_granted(self, image: bytes) -> None:
        """Only the state of nothing fits."""
        if image:
            raise BadArgument("this vCPU has no shadow VMCS and no native MSRs; one of hv_vcpu_create has")


def _none(what: str) -> Unsupported:
    return Unsupported(
        f"a vCPU of the kvm engine has {what} through Apple's functions alone; the soft engine's has them"
    )

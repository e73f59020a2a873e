"""What Apple's functions grant a guest is part of its vCPU's state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pyhv import BadArgument, CpuState, VCpu, VirtualMachine, engine_statuses
from pyhv._core.vm import sole_vm
from pyhv.framework import intel as hv
from pyhv.testing import raw_guest
from pyhv.testing.guest import RawGuest

READ, WRITE = hv.HV_SHADOW_VMCS_READ, hv.HV_SHADOW_VMCS_WRITE
LSTAR, STAR = hv.HV_MSR_IA32_LSTAR, hv.HV_MSR_IA32_STAR


@pytest.fixture(params=[status.name for status in engine_statuses() if status.works], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Apple's functions on each engine that works here."""
    name: str = request.param
    monkeypatch.setenv("PYHV_ENGINE", name)
    return name


@contextmanager
def framework_vcpu(code: str = "f4") -> Iterator[tuple[RawGuest, VCpu]]:
    """A guest of Apple's functions, and its vCPU as an object."""
    with raw_guest(code) as raw:
        cpu = sole_vm().find(raw.vcpu)
        assert cpu is not None
        yield raw, cpu


def grant(vcpu: int) -> None:
    hv.hv_vmx_vcpu_write_shadow_vmcs(vcpu, hv.VMCS_GUEST_RIP, 0x1234)
    hv.hv_vmx_vcpu_set_shadow_access(vcpu, hv.VMCS_GUEST_RIP, READ)
    hv.hv_vmx_vcpu_set_shadow_access(vcpu, hv.VMCS_CTRL_EPTP, WRITE)
    hv.hv_vcpu_enable_native_msr(vcpu, LSTAR, True)
    hv.hv_vcpu_enable_managed_msr(vcpu, STAR, True)
    hv.hv_vcpu_set_msr_access(vcpu, STAR, hv.HV_MSR_READ)


def test_it_moves_with_the_state() -> None:
    with framework_vcpu() as (raw, cpu):
        nothing = cpu.state
        assert nothing.granted == b""
        grant(raw.vcpu)
        kept = CpuState.from_bytes(cpu.state.to_bytes())
        assert kept == cpu.state
        assert [line.partition("[")[0] for line in nothing.diff(kept)] == ["granted"] * (len(kept.granted) // 16)
    with framework_vcpu("0f30 0f32 66b9810000c0 0f32 0f30") as (raw, cpu):  # LSTAR; then ecx = STAR
        rip, rsp = raw.reg(hv.HV_X86_RIP), raw.reg(hv.HV_X86_RSP)
        cpu.state = kept
        raw.set(hv.HV_X86_RIP, rip)
        raw.set(hv.HV_X86_RSP, rsp)
        raw.set(hv.HV_X86_RCX, LSTAR)
        assert raw.run() == hv.VMX_REASON_WRMSR, "of the managed one, which may be read only"
        assert raw.reg(hv.HV_X86_RIP) == rip + 12
        assert hv.hv_vmx_vcpu_read_shadow_vmcs(raw.vcpu, hv.VMCS_GUEST_RIP) == 0x1234
        cpu.state = nothing
        assert cpu.state.granted == b""
        assert hv.hv_vmx_vcpu_read_shadow_vmcs(raw.vcpu, hv.VMCS_GUEST_RIP) == 0
        raw.set(hv.HV_X86_RCX, LSTAR)
        raw.set(hv.HV_X86_RIP, rip)
        assert raw.run() == hv.VMX_REASON_WRMSR
        assert raw.reg(hv.HV_X86_RIP) == rip


def test_what_is_none_is_refused_whole() -> None:
    with framework_vcpu() as (raw, cpu):
        grant(raw.vcpu)
        good = cpu.state
        for bad in (
            good.granted[:-1],
            good.granted + bytes.fromhex("09000000 00000000 00000000 00000000".replace(" ", "")),  # no such kind
            good.granted + bytes.fromhex("02000000 45230100 00000000 00000000".replace(" ", "")),  # no such MSR
            good.granted + bytes.fromhex("03000000 810000c0 04000000 00000000".replace(" ", "")),  # no such access
        ):
            with pytest.raises(BadArgument, match="shadow VMCS"):
                cpu.state = CpuState(good.values, good.xsave, granted=bad)
            assert cpu.state == good


def test_the_objects_have_none(engine: str) -> None:
    with VirtualMachine(engine) as vm:
        assert vm.vcpu().state.granted == b""

"""The bench runs and says what bench/README.md says it measures; how fast is for `make bench` to tell."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_figure_of_the_page_is_measured() -> None:
    command = [sys.executable, "-m", "bench", "--quick", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    figures = {figure["name"]: figure for figure in result["figures"]}
    rows = re.findall(r"^\| (`[^|]+) \|", (ROOT / "bench" / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    for name in re.findall(r"`(\w+)`", " ".join(rows)):
        assert any(re.sub(r"\d+", "", key).startswith(re.sub(r"\d+", "", name)) for key in figures), name
    assert all(figure["value"] >= 0 or "growth" in name for name, figure in figures.items())
    promised = {name for name, figure in figures.items() if figure["target"]}
    assert promised >= {"port_out", "life", "growth_of_500_lives", "loops.geometric_mean", "fib.guest", "copy.slowdown"}
    assert promised >= {"c.hv_vcpu_read_register", "c.hv_vcpu_run.thread"}
    assert "c.hv_vmx_vcpu_read_vmcs.median" in figures
    if "kvm" in result["machine"]["engines"]:
        assert promised >= {"kvm.port_out.of_bare", "kvm.mmio_load.of_bare", "kvm.loops.slowdown"}
    else:
        assert "/dev/kvm" in result["machine"]["left_out"]["kvm"] or "KVM" in result["machine"]["left_out"]["kvm"]
    assert not any(figures[f"{name}.guest"]["target"] for name in ("copy", "vector_copy") if f"{name}.guest" in figures)

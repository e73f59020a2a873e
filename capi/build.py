"""Writes the C source of libHypervisor.so: Apple's prototypes from spec/api, Python behind them (cffi's embedding).

build.py OUT.c
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import cffi  # noqa: E402

import gen_headers  # noqa: E402
from spec_api import Api, load  # noqa: E402

START = """
from _pyhv_hypervisor import ffi
try:
    from pyhv.framework._library import start
    start(ffi)
except BaseException as failed:  # else cffi would let every call return 0, which is HV_SUCCESS
    import sys, traceback
    traceback.print_exc()
    print(f"libHypervisor: pyhv does not start with Python {sys.version.split()[0]} of {sys.base_prefix}, so every call"
          " returns HV_ERROR; install pyhv with that Python once more", file=sys.stderr, flush=True)
    for name, result in FAILURES:
        ffi.def_extern(name=name)(lambda *_, result=result: result)
"""


def declarations(api: Api) -> str:
    """What cffi must know: types by width, structures, prototypes."""
    lines = [f"typedef {typedef.type} {name};" for name, typedef in api.typedefs.items()]
    named = [enum for enum in api.enums if enum.name.endswith("_t") and enum.name not in api.typedefs]
    lines += [f"typedef {enum.own_type or 'uint32_t'} {enum.name};" for enum in named]
    for struct in api.structs:
        fields = " ".join(
            gen_headers.field(kind.replace("enum hv_boot_state", "uint32_t"), name) + ";"
            for kind, name in struct.fields
        )
        tag = "" if struct.name.endswith("_t") else struct.name
        lines.append(f"{'typedef ' if not tag else ''}struct {tag} {{ {fields} }} {'' if tag else struct.name};")
    for function in api.functions:
        params = ", ".join(f"{p.type} {p.name}" for p in function.params)
        lines.append(f"{function.returns} {function.name}({params or 'void'});")
    return "\n".join(lines)


def failures(api: Api) -> list[tuple[str, int]]:
    """What each function returns where Python cannot do its part."""
    error = next(enum.values["HV_ERROR"] for enum in api.enums if "HV_ERROR" in enum.values)
    signed = error - (1 << 32) if error >> 31 else error
    return [(function.name, signed if function.returns == "hv_return_t" else 0) for function in api.functions]


def main(out: Path) -> None:
    ffi = cffi.FFI()
    api = load("intel")
    ffi.embedding_api(declarations(api))
    ffi.set_source("_pyhv_hypervisor", "#include <stdbool.h>\n#include <Hypervisor/Hypervisor.h>")
    ffi.embedding_init_code(START.replace("FAILURES", repr(failures(api))))
    ffi.emit_c_code(str(out))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))

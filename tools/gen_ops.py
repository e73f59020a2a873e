"""Makes the C++ instruction tables from spec/x86_64/*.toml (its README explains the rows).

    gen_ops.py SPEC_DIR OUT_DIR

writes ops_FAMILY.inc and host_FAMILY.inc for each family, ops_families.inc naming them all, and features.inc.
"""

from __future__ import annotations

import itertools
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

CONDITIONS = "O NO B NB Z NZ BE NBE S NS P NP L NL LE NLE".split()
FLAG_BITS = {"C": 0, "P": 2, "A": 4, "Z": 6, "S": 7, "T": 8, "I": 9, "D": 10, "O": 11}
SIZE_CODE = {8: 1, 16: 2, 32: 3, 64: 4, 128: 5, 256: 6}
KIND = {"r": 1, "m": 2, "i": 3, "sr": 4, "cr": 5, "dr": 6, "ptr": 7, "x": 8, "q": 9, "st": 10}
ANY_SIZE = 7
WIDTHS = {"v": (16, 32, 64), "y": (32, 64)}
ROW_KEYS = {
    "ins", "ops", "do", "width", "feature", "reads", "writes", "undefined",
    "lock", "rep", "ends", "privilege", "mode", "oracle", "counted", "unit",
}  # fmt: skip
UNITS = {None: "None", "x87": "X87", "mmx": "Mmx", "sse": "Sse"}
# Register, "m" where memory will do too, width; of 16 bytes "u" is any alignment, "i" an integer.
TOKEN = re.compile(r"(?P<reg>r|xl|x|q|st)?(?P<mem>m)?(?P<size>\d+|[vy])?(?P<kind>[ui])?")
HOST_OP = re.compile(r"host_(?P<shape>\w+)::\{m\}")


class SpecError(Exception):
    """A row that cannot be right; the message names it."""


def flag_mask(letters: str) -> int:
    return sum(1 << FLAG_BITS[letter] for letter in letters)


def conditions_of(read: str) -> list[str]:
    return CONDITIONS if "{cc}" in read else [""]


def operand_choices(token: str, position: int, widths: dict[str, int]) -> list[tuple[str, list[str]]]:
    """What one token can be: C++ types with the key codes that select them."""
    if token in ("sr", "cr", "dr"):
        return [(f"S<{position}>", [f"operand_key({KIND[token]}, {size})" for size in range(8)])]
    if token == "ptr":
        return [("P", [f"operand_key({KIND['ptr']}, {size})" for size in range(8)])]
    if token == "far":  # no operand of its own: what tells RET CB and CA from C3 and C2
        return [("P", [f"operand_key({KIND['ptr']}, 7)"])]
    if token == "i":
        return [(f"I<u{widths.get('first', 64)}>", [f"operand_key({KIND['i']}, 0)"])]
    if token == "m":
        return [("M<u8>", [f"operand_key({KIND['m']}, {size})" for size in range(8)])]
    if not (found := TOKEN.fullmatch(token)) or not token:
        raise SpecError(f"operand {token!r} is not one that README.md names")
    bits = widths.get(found["size"]) or int(found["size"] or 0)
    choices = []
    if found["reg"]:
        choices.append(register_choice(found["reg"], position, bits))
    if found["mem"]:
        choices.append(memory_choice(token, bits, found["kind"]))
    return choices


def register_choice(letter: str, position: int, bits: int) -> tuple[str, list[str]]:
    """The C++ type and the key of a register operand."""
    if letter == "r":
        return f"R<{position}, u{bits}>", [f"operand_key({KIND['r']}, {SIZE_CODE[bits]})"]
    name = {"x": f"X<{position}>", "xl": f"XLow<{position}, u{bits}>", "q": f"Q<{position}>", "st": f"T<{position}>"}[
        letter
    ]
    return name, [f"operand_key({KIND['x' if letter == 'xl' else letter]}, 0)"]


def memory_choice(token: str, bits: int, kind: str | None) -> tuple[str, list[str]]:
    """The same of a memory operand. One of 80 bits is for the handler to load and store."""
    key = [f"operand_key({KIND['m']}, {SIZE_CODE.get(bits, ANY_SIZE)})"]
    if bits == 128:
        return {None: "Aligned", "u": "M<Vec>", "i": "M<u128>"}[kind], key
    if bits not in SIZE_CODE and bits != 80:
        raise SpecError(f"operand {token!r} has no size that README.md names")
    return f"M<u{bits if bits != 80 else 8}>", key


def width_choices(row: dict[str, Any]) -> list[dict[str, int]]:
    """Each way to give the row's width letters a number of bits."""
    tokens = row.get("ops", "").split()
    letters = sorted({token[-1] for token in tokens if token[-1] in WIDTHS} | ({row.get("width")} & set(WIDTHS)))
    found = []
    for bits in itertools.product(*(WIDTHS[letter] for letter in letters)):
        widths = dict(zip(letters, bits, strict=True))
        first = (
            tokens[0].lstrip("rm") if tokens and tokens[0][0] in "rm" else ""
        )  # "" of registers that are not general
        if first:
            widths["first"] = widths[first] if first in widths else int(first) if first.isdigit() else 64
        elif "v" in widths:
            widths["first"] = widths["v"]
        found.append(widths)
    return found


def handler_name(row: dict[str, Any], ins: str, condition: str, types: list[str], locked: bool) -> str:
    name = (
        row["do"]
        .replace("{M}", ins.capitalize())
        .replace("{m}", ins.lower())
        .replace("{cc}", f"Condition::{condition}")
    )
    head, _, arguments = name.partition("<")
    arguments = [arguments[:-1]] if arguments else []
    return f"{head}{'_locked' if locked else ''}<{', '.join(arguments + types)}>" if arguments or types else head


def entries(row: dict[str, Any], ins: str, condition: str, row_index: int, family: str) -> list[str]:
    """The C++ initialisers of every Op that a row stands for."""
    chain = "ending" if row.get("ends") else "going"
    lines = []
    for widths in width_choices(row):
        tokens = row.get("ops", "").split()
        width_bits = widths.get(row["width"], 0) or int(row["width"]) if "width" in row else 0
        operand_lists = [operand_choices(token, n, widths) for n, token in enumerate(tokens)]
        for chosen in itertools.product(*operand_lists):
            types = [kind for kind, _ in chosen] + ([f"u{width_bits}"] if width_bits else [])
            lockable = row.get("lock", False) and chosen and chosen[0][0].startswith("M<")
            for locked in (0, 1) if lockable else (0,):
                for rep, rep_type in enumerate(("None", "Equal", "NotEqual")) if row.get("rep") else [(0, "")]:
                    all_types = types + ([f"Rep::{rep_type}"] if rep_type else [])
                    handler = handler_name(row, ins, condition, all_types, bool(locked))
                    for keys in itertools.product(*(codes for _, codes in chosen)):
                        padded = list(keys) + ["0"] * (4 - len(keys))
                        lines.append(
                            f"    {{op_key(ZYDIS_MNEMONIC_{ins}, {SIZE_CODE.get(width_bits, 0)}, {locked}, {rep}, "
                            f"{', '.join(padded)}), &{chain}<&{handler}>, &{family}_rows[{row_index}]}},"
                        )
    return lines


def row_initialiser(row: dict[str, Any], family: str) -> str:
    mode = {"64": 64, "not64": -64, None: 0}[row.get("mode")]
    booleans = [row.get("ends", False), "privilege" in row, row.get("lock", False), row.get("rep", False)]
    flags = [hex(flag_mask(row.get(name, ""))) for name in ("reads", "writes", "undefined")]
    return (
        f'    {{"{row["ins"]}", "{row.get("ops", "")}", "{family}", Feature::{row.get("feature", "BASE")}, '
        f"{', '.join(flags)}, {', '.join(str(b).lower() for b in booleans)}, {mode}, "
        f"{str(row.get('oracle', True)).lower()}, {str(row.get('counted', False)).lower()}, "
        f"Unit::{UNITS[row.get('unit')]}}},"
    )


def family_source(spec: dict[str, Any], path: Path) -> str:
    family = spec["family"]
    rows, ops, seen = [], [], set()
    for index, row in enumerate(spec["rows"]):
        unknown = set(row) - ROW_KEYS
        if unknown or "ins" not in row or "do" not in row:
            raise SpecError(f"{path.name}: row {index + 1} ({row}): needs ins and do, does not know {sorted(unknown)}")
        rows.append(row_initialiser(row, family))
        for name in row["ins"].split():
            for condition in conditions_of(name + row["do"]):
                for line in entries(row, name.replace("{cc}", condition), condition, index, family):
                    key = line.split("), &")[0]
                    if key not in seen:
                        seen.add(key)
                        ops.append(line)
    return "\n".join(
        [
            f"// Generated by tools/gen_ops.py from spec/x86_64/{path.name}. Do not edit.",
            f"extern const Row {family}_rows[];",
            f"extern const Op {family}_ops[];",
            f"extern const unsigned {family}_op_count, {family}_row_count;",
            f"const Row {family}_rows[] = {{",
            *rows,
            "};",
            f"const Op {family}_ops[] = {{",
            *ops,
            "};",
            f"const unsigned {family}_op_count = {len(ops)}, {family}_row_count = {len(rows)};",
            "",
        ]
    )


def host_source(spec: dict[str, Any], path: Path) -> str:
    """HOST_SHAPE(name) for each instruction whose handler runs the host's own: `do` names it host_shape::{m}."""
    names = {
        f"HOST_{shape.upper()}({name.lower()})"
        for row in spec["rows"]
        for shape in HOST_OP.findall(row["do"])
        for name in row["ins"].split()
    }
    return "\n".join(
        [f"// Generated by tools/gen_ops.py from spec/x86_64/{path.name}. Do not edit.", *sorted(names), ""]
    )


def features_source(spec_dir: Path, used: set[str]) -> str:
    features = tomllib.loads((spec_dir / "features.toml").read_text())["features"]
    missing = used - set(features) - {"BASE"}
    if missing:
        raise SpecError(f"features.toml lacks {sorted(missing)}, which rows name")
    lines = [
        "// Generated by tools/gen_ops.py from spec/x86_64/features.toml. Do not edit.",
        "FEATURE(BASE, 0, 0, 0, 0, true, true, false)",
    ]
    for name, f in features.items():
        register = ("eax", "ebx", "ecx", "edx").index(f["reg"])
        runs = name in used or "without_rows" in f
        announced = runs and f.get("without_rows") != "unannounced"
        booleans = ", ".join(str(b).lower() for b in (runs, announced, f.get("host", False)))
        lines.append(f"FEATURE({name}, {f['leaf']:#x}, {f.get('subleaf', 0)}, {register}, {f['bit']}, {booleans})")
    return "\n".join([*lines, ""])


def write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:  # an unchanged file keeps its time: nothing is compiled again
        path.write_text(text)


def main(spec_dir: Path, out_dir: Path) -> None:
    out_dir.mkdir(parents=True, exist_ok=True)
    families, used = [], set()
    for path in sorted(spec_dir.glob("*.toml")):
        if path.name == "features.toml":
            continue
        spec = tomllib.loads(path.read_text())
        families.append(spec["family"])
        used |= {row.get("feature", "BASE") for row in spec["rows"]}
        write(out_dir / f"ops_{spec['family']}.inc", family_source(spec, path))
        write(out_dir / f"host_{spec['family']}.inc", host_source(spec, path))
    write(out_dir / "ops_families.inc", "".join(f"FAMILY({family})\n" for family in families))
    write(out_dir / "features.inc", features_source(spec_dir, used))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except SpecError as error:
        raise SystemExit(f"gen_ops: {error}") from error

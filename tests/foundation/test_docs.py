"""What the documentation says is so: its code runs, its tables agree with the source, its links lead somewhere."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from pyhv.cli.exit_codes import ExitCode

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md"), *ROOT.glob("spec/**/*.md")])


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_twenty_lines_of_the_readme_run_and_print_what_it_says() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = python_blocks(ROOT / "README.md")
    (promised,) = re.findall(r"^```text\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})
    assert printed.getvalue() == promised
    assert len(block.splitlines()) <= 20


def test_the_tutorial_runs_from_top_to_bottom(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = python_blocks(ROOT / "docs" / "tutorial.md")
    namespace: dict[str, object] = {"__name__": "tutorial"}
    for block in blocks:
        exec(compile(block, "docs/tutorial.md", "exec"), namespace)
    assert "0x1234" in capsys.readouterr().out


def test_the_tutorial_s_monitor_runs() -> None:
    namespace: dict[str, object] = {"__name__": "tutorial"}
    for block in python_blocks(ROOT / "docs" / "tutorial-monitor.md"):
        exec(compile(block, "docs/tutorial-monitor.md", "exec"), namespace)


def test_the_dirty_log_s_page_runs() -> None:
    namespace: dict[str, object] = {"__name__": "dirty_log"}
    for block in python_blocks(ROOT / "docs" / "dirty-log.md"):
        exec(compile(block, "docs/dirty-log.md", "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_named_files_exist(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [link for link in links if link and not (page.parent / link).exists()] == []
    names = re.findall(r"`((?:src|silicon|bindings|spec|tests|tools|bench|examples|docs|include)/[\w./-]+)`", text)
    real = [name for name in names if not re.search("FAMILY|NAME", name)]
    assert [name for name in real if not (ROOT / name).exists()] == []


def test_the_functions_that_the_architecture_names_are_there() -> None:
    folders = [ROOT / name for name in ("silicon", "bindings", "src")]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".cpp", ".h", ".py")]
    source = "\n".join(path.read_text(encoding="utf-8") for path in files)
    named = re.findall(r"`(?:Cpu::|Run\.|AddressSpace\.)(\w+)`", (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))
    assert len(named) > 10
    assert [name for name in named if not re.search(rf"\b{name}\(", source)] == []


def test_the_table_of_exit_codes_is_the_one_of_the_source() -> None:
    page = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert told == {int(code) for code in ExitCode}


def test_the_readme_names_every_make_target_it_uses() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        used = set(re.findall(r"\bmake ([a-z]+(?:-[a-z]+)?)`", page.read_text(encoding="utf-8")))
        assert used <= targets, f"{page.name}: {used - targets}"

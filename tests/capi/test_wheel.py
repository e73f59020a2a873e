"""The wheel in a bare environment: built, installed, and used by C programs that know nothing of Python.

No network: what pyhv depends on is copied from the environment that runs the tests.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"
SYSTEM_PATH = {"PATH": "/usr/bin:/bin"}  # for the compiler; nothing of ours is there
HALF_AN_HOUR = 1800

pytestmark = pytest.mark.slow


def call(*command: str | Path, cwd: str | Path = "/", **environment: str) -> str:
    """From a folder and with an environment that have nothing to do with pyhv."""
    done = subprocess.run(
        [str(word) for word in command],
        check=False, cwd=cwd, env=environment, capture_output=True, text=True, timeout=HALF_AN_HOUR,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built anew, as `pip install .` does it."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    command = [sys.executable, "-m", "pip", "wheel", *options, str(ROOT)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=HALF_AN_HOUR)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("pyhv-*.whl")
    return built


def dependencies(name: str, found: set[str]) -> set[str]:
    """A distribution and what it requires here, as far as it is installed."""
    plain = re.split(r"[^A-Za-z0-9._-]", name, maxsplit=1)[0]
    try:
        package = distribution(plain)
    except PackageNotFoundError:  # for another system or version
        return found
    if package.metadata["Name"] not in found:
        found.add(package.metadata["Name"])
        for required in package.requires or ():
            if "extra ==" not in required:
                dependencies(required, found)
    return found


def copies(name: str, site: Path) -> Iterator[Path]:
    """Copy an installed distribution."""
    for file in distribution(name).files or ():
        if ".." not in file.parts and file.suffix != ".pyc":
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            yield Path(shutil.copy(file.locate(), site / file))


def make_environment(python: str, folder: Path, wheel: Path) -> Path:
    """An environment of `python` with the wheel in it; the folder of its commands."""
    call(python, "-m", "venv", "--without-pip", folder)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in dependencies("pyhv", set()) - {"pyhv"}:
        assert list(copies(name, site))
    options = ["--quiet", "--no-deps", "--no-index", "--no-warn-script-location"]
    call(sys.executable, "-m", "pip", "--python", folder / "bin/python", "install", *options, wheel)
    return folder / "bin"


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    return make_environment(str(base), tmp_path_factory.mktemp("bare") / "env", wheel)


def build(flags: list[str], name: str, out: Path, compiler: str = "gcc") -> Path:
    """With a plain compiler and nothing but the flags."""
    language = ["-x", "c++"] if compiler == "g++" else []
    source = [str(PROGRAMS / f"{name}.c"), "-x", "none"]
    call(compiler, "-O1", "-pthread", *language, *source, "-o", out, *flags, **SYSTEM_PATH)
    return out


@pytest.fixture(scope="module")
def flags(commands: Path) -> list[str]:
    """What a program is built with, as the bare environment says."""
    return shlex.split(call(commands / "hv", "c-flags"))


@pytest.mark.parametrize(
    ("compiler", "name"), [("gcc", "ports"), ("gcc", "threads"), ("gcc", "forks"), ("gcc", "leaves"), ("g++", "ports")]
)
def test_programs_in_an_empty_environment(flags: list[str], tmp_path: Path, compiler: str, name: str) -> None:
    assert call(build(flags, name, tmp_path / name, compiler)) == "ok\n"


def test_the_headers_and_the_library_are_the_environment_s(commands: Path) -> None:
    about = json.loads(call(commands / "hv", "c-flags", "--json"))
    assert all(str(commands.parent) in about[key] for key in ("include", "library", "pkg_config_path"))


def test_pkg_config(commands: Path, tmp_path: Path) -> None:
    about = json.loads(call(commands / "hv", "c-flags", "--json"))
    asked = ["pkg-config", "--cflags", "--libs", "Hypervisor"]
    flags = call(*asked, PKG_CONFIG_PATH=about["pkg_config_path"], **SYSTEM_PATH)
    assert call(build(shlex.split(flags), "ports", tmp_path / "ports")) == "ok\n"


@pytest.mark.parametrize("variable", ["PYTHONHOME", "PYTHONPATH"])
def test_variables_of_python_do_not_matter(flags: list[str], tmp_path: Path, variable: str) -> None:
    (tmp_path / "pyhv").mkdir()
    (tmp_path / "pyhv" / "__init__.py").write_text("raise SystemExit('not this one')")
    program = build(flags, "ports", tmp_path / "ports")
    assert call(program, cwd=tmp_path, **{variable: str(tmp_path)}) == "ok\n"


def other_python() -> str | None:
    """One of the same version from another place, if there is one: a wheel may have been built with that."""
    for place in ("/usr/bin", "/usr/local/bin"):
        python = Path(place) / f"python{sys.version_info.major}.{sys.version_info.minor}"
        if python.exists() and Path(sys.base_prefix).resolve() != python.resolve().parents[1]:
            return str(python)
    return None


def test_an_environment_of_a_python_from_another_place(wheel: Path, tmp_path: Path) -> None:
    """The library keeps to the standard library of the libpython that it was built with."""
    python = other_python()
    if python is None:
        pytest.skip("needs a second Python of the same version, /usr/bin/python3.x say")
    commands = make_environment(python, tmp_path / "env", wheel)
    flags = shlex.split(call(commands / "hv", "c-flags"))
    assert call(build(flags, "ports", tmp_path / "ports")) == "ok\n"


def test_a_folder_that_no_python_looks_into(wheel: Path, tmp_path: Path) -> None:
    """`pip install --target`: found from where the library is."""
    site = tmp_path / "target"
    for name in dependencies("pyhv", set()) - {"pyhv"}:
        assert list(copies(name, site))
    options = ["--quiet", "--no-deps", "--no-index", "--target"]
    call(sys.executable, "-m", "pip", "install", *options, site, wheel)
    library = site / "pyhv" / "lib"
    flags = [f"-I{site / 'pyhv' / 'include'}", f"-L{library}", f"-Wl,-rpath,{library}", "-lHypervisor"]
    assert call(build(flags, "ports", tmp_path / "ports")) == "ok\n"


def test_a_damaged_package_is_an_error_and_no_success(wheel: Path, commands: Path, tmp_path: Path) -> None:
    broken = tmp_path / "env"
    shutil.copytree(commands.parent, broken, symlinks=True)
    (package,) = broken.glob("lib/python*/site-packages/pyhv")
    (package / "errors.py").unlink()
    (tmp_path / "make.c").write_text(
        "#include <Hypervisor/Hypervisor.h>\nint main(void) { return hv_vm_create(HV_VM_DEFAULT) != HV_ERROR; }\n"
    )
    library = package / "lib"
    flags = [f"-I{package / 'include'}", f"-L{library}", f"-Wl,-rpath,{library}", "-lHypervisor"]
    call("gcc", tmp_path / "make.c", "-o", tmp_path / "make", *flags, **SYSTEM_PATH)
    done = subprocess.run([tmp_path / "make"], check=False, env={}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "libHypervisor: pyhv does not start" in done.stderr

#!/usr/bin/env bash
# Everything a fresh clone needs before it can build: system packages, the environment .venv, the editable install.
#
# Called by the Makefile when .venv/.ready is missing, older than pyproject.toml or this file, or from another place.
#   PYTHON=…      the interpreter to use (3.11 or newer; default: the first on PATH, else Debian's)
#   PYHV_APT=no   never install system packages, only say which are missing
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\033[1m%s\033[0m\n' "setup: $*" >&2; }
die() { printf 'setup: %s\n' "$@" >&2; exit 1; }

is_python() {  # $1 is a CPython >= 3.11
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11) or sys.implementation.name != "cpython")' 2>/dev/null
}

can_build() {  # $1 can make environments and has its headers
    "$1" -c 'import ensurepip, os, sysconfig, venv
raise SystemExit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' 2>/dev/null
}

find_python() {  # prints the interpreter to use; empty when there is none yet
    local candidate
    if [[ -n ${PYTHON:-} ]]; then
        command -v "$PYTHON"; return
    fi
    for candidate in python3 /usr/bin/python3 python3.13 python3.12 python3.11; do
        if is_python "$candidate" && can_build "$candidate"; then command -v "$candidate"; return; fi
    done
}

missing_packages() {  # Debian's names, one a line; a thing that is there by other means is not asked for
    command -v c++ >/dev/null && echo '#include <string>' | c++ -x c++ -fsyntax-only - 2>/dev/null || echo g++
    command -v gcc >/dev/null && command -v ld >/dev/null || echo gcc  # the example guests
    command -v cmake >/dev/null || echo cmake
    command -v ninja >/dev/null || echo ninja-build
    [[ -n $(find_zydis) ]] || echo libzydis-dev
    [[ -e /usr/share/seabios/bios.bin ]] || echo seabios
    [[ -e /boot/memtest86+x64.bin ]] || echo memtest86+
    if [[ -z $(find_python) ]]; then printf '%s\n' python3 python3-venv python3-dev; fi
}

find_zydis() {
    local prefix
    for prefix in /usr /usr/local ${CMAKE_PREFIX_PATH:+${CMAKE_PREFIX_PATH//[:;]/ }}; do
        if [[ -e $prefix/include/Zydis/Zydis.h ]]; then echo "$prefix"; return; fi
    done
}

install_packages() {
    local -a packages as_root=()
    mapfile -t packages < <(missing_packages)
    ((${#packages[@]})) || return 0
    command -v apt-get >/dev/null || die "these are missing (Debian's names): ${packages[*]}" \
        "this machine has no apt-get; install them its own way and run make again"
    if ((EUID != 0)); then as_root=(sudo -n); fi
    if [[ ${PYHV_APT:-} == no ]] || { ((EUID != 0)) && ! sudo -n true 2>/dev/null; }; then
        die "these system packages are missing, and this user may not install them. Ask root for:" \
            "    apt-get install ${packages[*]}"
    fi
    say "installing ${packages[*]}"
    "${as_root[@]}" apt-get -qq update
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes \
        apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 install --no-install-recommends -y "${packages[@]}" >/dev/null
}

make_environment() {
    local python
    python=$(find_python)
    [[ -n $python ]] || die "found no CPython 3.11 or newer with the venv module and its headers" \
        "on Debian: apt-get install python3 python3-venv python3-dev; or name one: make PYTHON=/path/to/python3"
    if ! .venv/bin/python -c '' 2>/dev/null || [[ $(cat .venv/.ready 2>/dev/null || pwd) != "$(pwd)" ]]; then
        say "making .venv with $("$python" --version) ($python)"
        rm -rf .venv build/dev
        "$python" -m venv .venv
    fi
}

native_requirements() {  # what pyproject.toml says the build needs
    .venv/bin/python -c 'import tomllib
print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")'
}

install_package() {
    local pip=(.venv/bin/python -m pip --disable-pip-version-check -qq install)
    say "installing Python packages"
    mapfile -t requirements < <(native_requirements)
    "${pip[@]}" "${requirements[@]}"
    say "building (the first time takes a few minutes)"
    "${pip[@]}" --no-build-isolation --config-settings=build-dir=build/dev --editable '.[test]'
    rm -f .venv/lib/python3*/site-packages/pyhv-source-only.pth
}

[[ -z ${PYTHON:-} ]] || is_python "$PYTHON" || die "PYTHON=$PYTHON is not CPython 3.11 or newer"
install_packages
make_environment
mkdir -p build
install_package
pwd > .venv/.ready

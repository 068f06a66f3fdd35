# Sourced by train.sh and test.sh: makes .venv, installs what changed, and sets $PYTHON.
#   SER_ENV=active   use the Python on the PATH and its torch (rented GPU images bring their own)
# Usage: prepare_environment requirements.txt [more requirement files]

say() { printf '\033[1m==> %s\033[0m\n' "$*"; }

prepare_environment() {
    local stamp wanted
    if [ "${SER_ENV:-}" = active ]; then
        PYTHON=$(command -v python3 || command -v python)
        stamp="${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/ser-$(printf '%s' "$PWD $PYTHON" | cksum | cut -d' ' -f1)"
        mkdir -p "$(dirname "$stamp")"
    else
        PYTHON="$PWD/.venv/bin/python"
        stamp="$PWD/.venv/installed-$(printf '%s' "$*" | cksum | cut -d' ' -f1)"
        if [ ! -x "$PYTHON" ]; then
            say "making .venv"
            python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
                { echo "error: Python 3.11 or newer is needed, but python3 is $(python3 --version 2>&1)" >&2; return 2; }
            python3 -m venv .venv
        fi
    fi
    wanted=$(cat "$@" pyproject.toml | cksum)
    if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        say "packages: as installed before ($PYTHON)"
    else
        say "packages: installing $* (about two minutes the first time)"
        local files=() alone=() # alone: without what the packages say they need ("--no-deps" in the file's first line)
        for file in "$@"; do
            if head -1 "$file" | grep -q -e --no-deps; then alone+=(-r "$file"); else files+=("$file"); fi
        done
        if [ "${SER_ENV:-}" = active ] && "$PYTHON" -c 'import torch' 2>/dev/null; then
            # Keep the image's own torch: it fits its GPU driver.
            grep -hv '^torch==' "${files[@]}" > "$stamp.txt"
            files=("$stamp.txt")
        fi
        "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-compile "${files[@]/#/-r}"
        [ ${#alone[@]} -eq 0 ] || "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-compile --no-deps "${alone[@]}"
        "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --editable .
        compile "$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" 0
        printf '%s\n' "$wanted" > "$stamp"
    fi
    compile src 1
    export PYTHON
}

# What lies below folder $1, once, by $2 processes (0: one a core). Left to Python it is never written down in many images
# (PYTHONDONTWRITEBYTECODE), and every process compiles for seconds. What can't be compiled is meant for another Python.
# Not python -m compileall: that takes Ctrl-C for itself, and the script would go on.
compile() {
    "$PYTHON" -c 'import compileall, sys; compileall.compile_dir(sys.argv[1], quiet=2, workers=int(sys.argv[2]))' "$@" 2> /dev/null || true
}

# Functions of the scripts in this folder. They are called in the root of the checkout.

# once FOLDER COMMAND…: runs the command, which installs something into the folder, unless that is complete. If several scripts need
# the folder at the same time, one of them installs.
once() {
    mkdir -p "$(dirname "$1")"
    (
        flock 9
        [ -e "$1/complete" ] || {
            echo "installing ${1#"$PWD/"}" >&2
            rm -rf "$1"
            mkdir -p "$1"
            "${@:2}"
            touch "$1/complete"
        }
    ) 9>"$1.lock"
}

# python_packages FOLDER PACKAGE…: installs packages from PyPI into a virtual environment, once.
python_packages() { once "$1" make_environment "$@"; }
make_environment() {
    python3 -m venv "$1"
    "$1/bin/pip" install --quiet --disable-pip-version-check "${@:2}"
}

# node_packages FROM FOLDER: installs the packages from npm that FROM/package-lock.json names, once for each version of this file.
node_packages() {
    mkdir -p "$2"
    (
        flock 9
        cmp -s "$1/package-lock.json" "$2/installed" || {
            cp "$1/package.json" "$1/package-lock.json" "$2"
            npm ci --prefix "$2" --ignore-scripts --no-audit --no-fund --loglevel=error
            cp "$1/package-lock.json" "$2/installed"
        }
    ) 9>"$2.lock"
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# answers URL PROCESS LOG: waits until a server answers. If its process ends, shows its log and fails.
answers() {
    until curl -s -o /dev/null "$1"; do
        kill -0 "$2" 2>/dev/null || { cat "$3" >&2; return 1; }
        sleep 0.1
    done
}

# start COMMAND…: starts a local server on a free port, and waits until it serves. Sets `url` to its address and
# `server` to its process. Its log is in the folder `scratch`.
start() {
    rm -f "$scratch/line"
    "$@" --port 0 --json >"$scratch/line" 2>"$scratch/log" &
    server=$!
    until [ -s "$scratch/line" ]; do
        kill -0 $server 2>/dev/null || { cat "$scratch/log" >&2; return 1; }
        sleep 0.1
    done
    url=$(sed -n 's/.*"url":"\([^"]*\)".*/\1/p' "$scratch/line")
}

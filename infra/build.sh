#!/usr/bin/env bash
# Builds functions for deployment, each into target/lambda/NAME/bootstrap.zip. Needs cargo-lambda.
#   infra/build.sh arm64|x86_64 [NAME…]     builds all functions if no NAME is given
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:?missing argument: arm64 or x86_64} in
arm64) target=aarch64-unknown-linux-gnu ;;
x86_64) target=x86_64-unknown-linux-gnu ;;
*) echo "unknown architecture $1: use arm64 or x86_64" >&2; exit 2 ;;
esac
shift
[ $# -gt 0 ] || set -- $(ls functions)
packages=()
for name in "$@"; do packages+=(-p "$name"); done
cargo lambda build --locked --profile lambda --target "$target" --output-format zip "${packages[@]}"

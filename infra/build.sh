#!/usr/bin/env bash
# Builds functions as they are deployed, each into target/lambda/NAME/bootstrap.zip. Needs cargo-lambda.
#   infra/build.sh arm64|x86_64 [NAME…]     all functions where none is named
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:?the architecture} in
arm64) target=aarch64-unknown-linux-gnu ;;
x86_64) target=x86_64-unknown-linux-gnu ;;
*) echo "the architecture is arm64 or x86_64, not $1" >&2; exit 2 ;;
esac
shift
[ $# -gt 0 ] || set -- $(ls functions)
packages=()
for name in "$@"; do packages+=(-p "$name"); done
cargo lambda build --locked --profile lambda --target "$target" --output-format zip "${packages[@]}"

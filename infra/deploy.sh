#!/usr/bin/env bash
# Builds all functions, packages them with the template, and deploys them.
# Needs cargo-lambda, the SAM CLI, the AWS CLI, credentials of the account, and for arm64 the Rust target
# aarch64-unknown-linux-gnu (`rustup target add`).
#
#   infra/deploy.sh [PARAMETERS] [options of `sam deploy`]
#
# PARAMETERS is a file with a line NAME=value for each parameter of infra/template.yaml that differs from its default. The
# stack's name comes from samconfig.toml, or from the variable STACK. The deployment that creates the stack leaves the table
# without deletion protection, so that CloudFormation can roll it back. A second deployment protects the table.
set -euo pipefail
cd "$(dirname "$0")/.."
stack=${STACK:-$(sed -n 's/^stack_name = "\(.*\)"$/\1/p' samconfig.toml)}
parameters=()
if [ -f "${1:-}" ]; then
    while IFS= read -r line; do
        case $line in '' | \#*) ;; *) parameters+=("$line") ;; esac
    done <"$1"
    shift
fi
options=("$@")
architecture=arm64
for one in "${parameters[@]}"; do
    case $one in Architecture=*) architecture=${one#*=} ;; esac
done

bash infra/build.sh "$architecture"

configuration=$(printf '%s\n' "${parameters[@]}" | sort | sha256sum | cut -c 1-32)

# deploy DELETION_PROTECTION: true or false.
deploy() {
    sam deploy --template-file infra/template.yaml --stack-name "$stack" --parameter-overrides "${parameters[@]}" \
        "Configuration=$configuration" "DeletionProtection=$1" "${options[@]}"
}
described() { aws cloudformation describe-stacks --stack-name "$stack" --query "Stacks[0].$1" --output "$2"; }

if ! failure=$(described StackStatus text 2>&1 >/dev/null); then
    [[ $failure == *'does not exist'* ]] || { printf '%s\n' "$failure" >&2; exit 1; }
    deploy false
fi
deploy true
described 'Outputs[].[OutputKey, OutputValue]' table

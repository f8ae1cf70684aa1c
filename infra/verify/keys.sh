#!/usr/bin/env bash
# Tries to use the functions' keys with the caller's own rights, which a key's policy has to refuse, whatever IAM allows.
# Needs the AWS command line, as somebody with all rights on KMS (an administrator of the account). Changes nothing.
#   bash infra/verify/keys.sh STACK
set -euo pipefail
stack=${1:?the name of the stack}
failed=0

key() {
    aws cloudformation describe-stack-resources --stack-name "$stack" --logical-resource-id "$1" \
        --query 'StackResources[0].PhysicalResourceId' --output text
}

# What is tried, then the command.
refused() {
    local what=$1 said
    shift
    if said=$("$@" 2>&1); then
        printf 'NOT  %s: it was done\n' "$what"
        failed=1
    elif grep -q AccessDenied <<<"$said"; then
        printf 'ok   %s: refused\n' "$what"
    else
        printf 'NOT  %s: %s\n' "$what" "$said"
        failed=1
    fi
}

refused "a data key by SealingKey" aws kms generate-data-key-without-plaintext --key-id "$(key SealingKey)" \
    --key-spec AES_256 --encryption-context purpose=totp-secret,number=1
refused "encrypting with SealingKey" aws kms encrypt --key-id "$(key SealingKey)" --plaintext dGVzdA== \
    --encryption-context purpose=totp-secret,number=1
for name in NamesKey CodesKey; do
    refused "a MAC by $name" aws kms generate-mac --key-id "$(key $name)" --mac-algorithm HMAC_SHA_256 --message dGVzdA== \
        --query KeyId
done
exit $failed

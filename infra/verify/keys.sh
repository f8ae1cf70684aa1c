#!/usr/bin/env bash
# Tries to use the functions' keys with the caller's own rights. The key policies have to refuse this, even if IAM allows it.
# Needs the AWS CLI, with credentials that have all rights on KMS (an administrator of the account). Changes nothing.
#   bash infra/verify/keys.sh STACK
set -euo pipefail
stack=${1:?missing argument: name of the stack}
. "$(dirname "$0")/stack.sh"
failed=0

# refused DESCRIPTION COMMAND…
refused() {
    local what=$1 said
    shift
    if said=$("$@" 2>&1); then
        printf 'FAIL %s: allowed\n' "$what"
        failed=1
    elif grep -q AccessDenied <<<"$said"; then
        printf 'ok   %s: refused\n' "$what"
    else
        printf 'FAIL %s: %s\n' "$what" "$said"
        failed=1
    fi
}

refused "generating a data key with SealingKey" aws kms generate-data-key-without-plaintext --key-id "$(named SealingKey)" \
    --key-spec AES_256 --encryption-context purpose=totp-secret,number=1
refused "encrypting with SealingKey" aws kms encrypt --key-id "$(named SealingKey)" --plaintext dGVzdA== \
    --encryption-context purpose=totp-secret,number=1
for name in NamesKey CodesKey; do
    refused "generating a MAC with $name" aws kms generate-mac --key-id "$(named $name)" --mac-algorithm HMAC_SHA_256 --message dGVzdA== \
        --query KeyId
done
exit $failed

#!/usr/bin/env bash
# Sends requests to a running API and checks what a gateway can break: the answers to unknown paths and methods, and their format.
# Needs curl and jq. It changes only the counter of an unknown login name; after five runs this login name is delayed (429).
#   bash infra/verify/edge.sh https://….execute-api.REGION.amazonaws.com
# For a deployment without a public address, which has no SSO paths: NO_SSO=yes bash infra/verify/edge.sh …
set -euo pipefail
url=${1:?missing argument: URL of the API}
failed=0

# check DESCRIPTION STATUS CODE CURL_ARGUMENTS…
check() {
    local what=$1 status=$2 code=$3 answer
    shift 3
    answer=$(curl --silent --show-error --include --max-time 30 "$@" | tr -d '\r')
    for wanted in "^HTTP/[0-9.]* $status" "\"code\":\"$code\"" "^content-type: application/problem+json" \
        "^cache-control: no-store" "^x-content-type-options: nosniff" "^strict-transport-security: " "^x-request-id: "; do
        grep -qi -- "$wanted" <<<"$answer" || { printf 'FAIL %s: no %s\n' "$what" "$wanted"; failed=1; return; }
    done
    printf 'ok   %s\n' "$what"
}

json=(-H "content-type: application/json")
check "an unknown path" 404 not_found "$url/v1/nothing"
# The local server has a page at the root.
[ -n "${ROOT_HAS_A_PAGE:-}" ] || check "the root" 404 not_found "$url/"
check "a path with a trailing slash" 404 not_found "$url/v1/login/"
# A REST API has these paths as resources above or below its routes.
check "a path above a route" 404 not_found "$url/v1"
check "a path below a route" 404 not_found "$url/v1/login/again"
# Each path of the API document, with a method that it does not have.
while read -r method path; do
    case $path in */sso | */sso/*) [ -z "${NO_SSO:-}" ] || continue ;; esac
    check "$method $path" 405 method_not_allowed -X "$method" "$url$path"
done < <(jq -r '.paths | to_entries[] | ((["put", "patch"] - (.value | keys))[0] | ascii_upcase) + " " + (.key | gsub("{[^}]*}"; "x"))' \
    "$(dirname "$0")/../../openapi.json")
check "a query string" 400 invalid_request "${json[@]}" -d '{}' "$url/v1/login?next=1"
check "a body that is not JSON" 400 invalid_request "${json[@]}" -d '{' "$url/v1/login"
check "a body that is too large" 413 payload_too_large "${json[@]}" -d "$(head -c 20000 /dev/zero | tr '\0' 0)" "$url/v1/login"
# No tenant has this id. Without a public address, there is no sign-in through an IdP.
check "metadata of an unknown tenant" 404 not_found "$url/v1/sso/verify/metadata"
check "an SSO login at an unknown tenant" 404 not_found "$url/v1/sso/verify/login"
check "a preflight request from an origin that is not configured" 405 method_not_allowed -X OPTIONS \
    -H "origin: https://verify.invalid" -H "access-control-request-method: POST" "$url/v1/login"
check "a missing token" 401 invalid_token "$url/v1/session"
check "an invalid token" 401 invalid_token -H "authorization: Bearer vs_none" "$url/v1/session"
check "the password of an unknown user" 401 invalid_credentials "${json[@]}" \
    -d '{"tenant":"verify","username":"nobody","password":"nothing at all"}' "$url/v1/login"
exit $failed

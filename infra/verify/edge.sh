#!/usr/bin/env bash
# Asks a running API for what a gateway could spoil: who answers unknown paths and methods, and in which form.
# Needs curl. Changes nothing but the counter of a login name that nobody has: after five times it has to wait (429).
#   bash infra/verify/edge.sh https://….execute-api.REGION.amazonaws.com
# For a deployment without a public address, where no path of single sign-on is there: NO_SSO=yes bash infra/verify/edge.sh …
set -euo pipefail
url=${1:?the address of the API}
failed=0

# What is asked, the status and code wanted, then curl's arguments.
ask() {
    local what=$1 status=$2 code=$3 answer
    shift 3
    answer=$(curl --silent --show-error --include --max-time 30 "$@" | tr -d '\r')
    for wanted in "^HTTP/[0-9.]* $status" "\"code\":\"$code\"" "^content-type: application/problem+json" \
        "^cache-control: no-store" "^x-content-type-options: nosniff" "^strict-transport-security: " "^x-request-id: "; do
        grep -qi -- "$wanted" <<<"$answer" || { printf 'NOT  %s: no %s\n' "$what" "$wanted"; failed=1; return; }
    done
    printf 'ok   %s\n' "$what"
}

json=(-H "content-type: application/json")
ask "a path that nobody has" 404 not_found "$url/v1/nothing"
# The local runner has a page there.
[ -n "${ROOT_HAS_A_PAGE:-}" ] || ask "the root" 404 not_found "$url/"
ask "a path too many" 404 not_found "$url/v1/login/"
# A REST API has these as nodes of its own above or below what it routes.
ask "a path above others" 404 not_found "$url/v1"
ask "a path below another" 404 not_found "$url/v1/login/again"
for path in login verify step-up mfa/enrolments mfa/enrolments/confirm mfa/recovery-token admin/users/u/mfa-reset \
    admin/portal-exclusions admin/portal-exclusions/b admin/users admin/users/u admin/clients admin/clients/c admin/audit \
    admin/settings session sessions sessions/s introspect password support/mfa-resets support/tenants support/clients mfa; do
    ask "another method on $path" 405 method_not_allowed -X PUT "$url/v1/$path"
done
for path in admin/sso sso/verify/metadata sso/verify/login sso/verify/acs; do
    [ -n "${NO_SSO:-}" ] || ask "another method on $path" 405 method_not_allowed -X PATCH "$url/v1/$path"
done
ask "a query string" 400 invalid_request "${json[@]}" -d '{}' "$url/v1/login?next=1"
ask "a body that is none" 400 invalid_request "${json[@]}" -d '{' "$url/v1/login"
ask "a body too large" 413 payload_too_large "${json[@]}" -d "$(head -c 20000 /dev/zero | tr '\0' 0)" "$url/v1/login"
# Nobody has that tenant; and where no public address is configured there is no sign-in by an IdP at all.
ask "an IdP's metadata of no tenant" 404 not_found "$url/v1/sso/verify/metadata"
ask "the way to no IdP" 404 not_found "$url/v1/sso/verify/login"
ask "a preflight request of an origin that is not configured" 405 method_not_allowed -X OPTIONS \
    -H "origin: https://verify.invalid" -H "access-control-request-method: POST" "$url/v1/login"
ask "no token" 401 invalid_token "$url/v1/session"
ask "a token that is none" 401 invalid_token -H "authorization: Bearer vs_none" "$url/v1/session"
ask "nobody's password" 401 invalid_credentials "${json[@]}" \
    -d '{"tenant":"verify","username":"nobody","password":"nothing at all"}' "$url/v1/login"
exit $failed

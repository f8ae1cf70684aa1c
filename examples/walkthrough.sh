#!/usr/bin/env bash
# Shows the flows of Vestibule with curl: bob enrols, signs in and recovers, ann resets bob and excludes a contact, and sam signs
# in through single sign-on. Needs only curl and the `local` program, which also replaces the authenticator app and sam's IdP.
#
#   examples/walkthrough.sh                                     starts a temporary server
#   VESTIBULE_URL=http://127.0.0.1:8080 examples/walkthrough.sh uses a running server with demo users who are not enrolled yet
#
# LOCAL is the path of the program (default: a build of this checkout). Exits with a status other than 0 after an unexpected
# answer.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
started=
cleanup() {
    for process in $started; do kill "$process" 2>/dev/null || true; wait "$process" 2>/dev/null || true; done
    rm -rf "$scratch"
}
trap cleanup EXIT

if [ -z "${LOCAL:-}" ]; then
    cargo build --quiet --package local
    LOCAL=${CARGO_TARGET_DIR:-target}/debug/local
fi

# start COMMAND…: starts a server on a free port, and sets $url to its address.
start() {
    "$LOCAL" "$@" --port 0 --json >"$scratch/$1.json" 2>"$scratch/$1.log" &
    local process=$!
    started="$started $process"
    for _ in $(seq 1 300); do
        [ -s "$scratch/$1.json" ] && break
        kill -0 "$process" 2>/dev/null || { cat "$scratch/$1.log" >&2; exit 1; }
        sleep 0.1
    done
    url=$(sed -n 's/.*"url":"\([^"]*\)".*/\1/p' "$scratch/$1.json")
}

if [ -z "${VESTIBULE_URL:-}" ]; then
    start serve --ephemeral
    VESTIBULE_URL=$url
fi
echo "Vestibule at $VESTIBULE_URL"

# ---------------------------------------------------------------- helpers

step() { printf '\n== %s\n' "$*"; }

# request METHOD PATH STATUS [TOKEN [BODY [HEADER]]]: sends a request, checks the status, and sets $answer to the answer.
request() {
    local arguments=(--silent --show-error --max-time 30 --output "$scratch/answer" --write-out '%{http_code}' --request "$1")
    [ -n "${4:-}" ] && arguments+=(--header "Authorization: Bearer $4")
    [ -n "${5:-}" ] && arguments+=(--header 'Content-Type: application/json' --data "$5")
    [ -n "${6:-}" ] && arguments+=(--header "$6")
    : >"$scratch/answer"
    local status
    status=$(curl "${arguments[@]}" "$VESTIBULE_URL$2")
    answer=$(cat "$scratch/answer")
    echo "$1 $2 -> $status"
    [ "$status" = "$3" ] || { echo "expected $3, got: $answer" >&2; exit 1; }
}

# expect TEXT: checks that the answer contains TEXT.
expect() { grep -qF -- "$1" <<<"$answer" || { echo "expected $1 in: $answer" >&2; exit 1; }; }

# field NAME [PREFIX]: prints the value of a field in the answer. If several have this name, the value that starts with PREFIX.
field() {
    local found
    found=$(sed -n "s/.*\"$1\":\"\(${2:-}[^\"]*\)\".*/\1/p" <<<"$answer")
    [ -n "$found" ] || { echo "expected a field $1 in: $answer" >&2; exit 1; }
    echo "$found"
}

login() { request POST /v1/login 200 '' "{\"tenant\":\"acme\",\"username\":\"$1\",\"password\":\"$2\"}"; }

# code SECRET [STEPS]: prints the current code, or the code of a later step of 30 seconds. The server accepts the codes of the
# previous, current and next step, each once and in ascending order. So this script can use the current and the next code without
# waiting.
code() {
    local at=$(($(date +%s) + ${2:-0} * 30))
    "$LOCAL" totp code --secret "$1" --at "$(date -u -d "@$at" +%Y-%m-%dT%H:%M:%SZ 2>/dev/null || date -u -r "$at" +%Y-%m-%dT%H:%M:%SZ)"
}

# enrol NAME PASSWORD: signs in with the password and enrols an authenticator app. Sets $secret and $session.
enrol() {
    login "$1" "$2"
    set_up
}

# set_up: enrols an authenticator app, with the enrolment token in the answer. Sets $secret and $session.
set_up() {
    expect '"status":"enrolment_required"'
    local token
    token=$(field token ve_)
    request POST /v1/mfa/enrolments 201 "$token" '{}'
    secret=$(field secret)
    request POST /v1/mfa/enrolments/confirm 200 "$token" "{\"code\":\"$(code "$secret")\"}"
    expect '"status":"mfa_enabled"'
    session=$(field token vs_)
}

# sso NAME: goes to the IdP and sends the IdP's form, as a browser does. Sets $answer to the service's answer.
sso() {
    local page status
    page=$(curl --silent --show-error --output /dev/null --write-out '%{redirect_url}' "$VESTIBULE_URL/v1/sso/acme/login")
    page=$(curl --silent --show-error "$page&username=$1")
    part() { sed -n "s/.* $1=\"\([^\"]*\)\".*/\1/p" <<<"$page"; }
    status=$(curl --silent --show-error --max-time 30 --output "$scratch/answer" --write-out '%{http_code}' \
        --data-urlencode "SAMLResponse=$(part 'name="SAMLResponse" value')" \
        --data-urlencode "RelayState=$(part 'name="RelayState" value')" "$(part action)")
    answer=$(cat "$scratch/answer")
    echo "POST $(part action) -> $status"
    [ "$status" = 200 ] || { echo "expected 200, got: $answer" >&2; exit 1; }
}

bob='bob bakes 6 rye loaves'
ann='ann waters 9 blue ferns'
con1='con1 counts 3 grey geese'

# ---------------------------------------------------------------- the flows

step 'Bob enrols. His password alone gives no session, only a token to enrol an authenticator app'
enrol bob "$bob"
bob_secret=$secret
request GET /v1/session 200 "$session"
expect '"username":"bob"'

step 'Bob creates a recovery token, in case he loses his phone. It is shown once'
request POST /v1/mfa/recovery-token 201 "$session"
recovery=$(field recovery_token)

step 'Bob signs in with password and code'
login bob "$bob"
expect '"status":"mfa_required"'
challenge=$(field token vc_)
used=$(code "$bob_secret" 1)
request POST /v1/verify 200 "$challenge" "{\"code\":\"$used\"}"
expect '"amr":["pwd","otp"]'
session=$(field token vs_)
request GET /v1/session 200 "$session"

step 'The same code does not work twice'
login bob "$bob"
challenge=$(field token vc_)
request POST /v1/verify 401 "$challenge" "{\"code\":\"$used\"}"
expect '"code":"invalid_code"'

step 'Bob has lost his phone. The recovery token signs him in'
request POST /v1/verify 200 "$challenge" "{\"code\":\"$recovery\"}"
expect '"amr":["pwd","recovery"]'
expect '"new_token_required":true'
bob_session=$(field token vs_)

step 'A recovery token works once'
login bob "$bob"
request POST /v1/verify 401 "$(field token vc_)" "{\"code\":\"$recovery\"}"
expect '"code":"invalid_code"'

step 'A user cannot switch MFA off'
request DELETE /v1/mfa 403 "$session"
expect '"code":"mfa_mandatory"'

step 'Ann, an Administrator, enrols'
enrol ann "$ann"
ann_session=$session

step 'Ann resets Bob. His authenticator app and his sessions no longer work'
request GET /v1/session 200 "$bob_session"
request GET "/v1/admin/users?q=bob" 200 "$ann_session"
bob_id=$(field id)
request POST "/v1/admin/users/$bob_id/mfa-reset" 200 "$ann_session" '{"reason":"lost the phone"}'
expect '"mfa":"none"'
request GET /v1/session 401 "$bob_session"
expect '"code":"session_refresh_required"'

step 'Bob has to enrol again before he can sign in'
enrol bob "$bob"
[ "$secret" != "$bob_secret" ] || { echo 'the secret did not change' >&2; exit 1; }
request GET /v1/session 200 "$session"

step 'Ann excludes a contact from MFA'
request GET "/v1/admin/users?q=con1" 200 "$ann_session"
con1_id=$(field id)
request POST /v1/admin/portal-exclusions 200 "$ann_session" \
    "{\"contact_ids\":[\"$con1_id\"],\"disable_mfa\":true,\"reason\":\"a client without phones\"}" "Idempotency-Key: walk-$$-$(date +%s)"
expect '"outcome":"excluded"'

step 'The contact signs in with the password only'
login con1 "$con1"
expect '"status":"signed_in"'
expect '"amr":["pwd"]'
expect '"excluded":true'
session=$(field token vs_)
request GET /v1/session 200 "$session"
expect '"username":"con1"'

step "Ann configures an IdP for the tenant. This IdP is for development and accepts any name"
start idp --sp "$VESTIBULE_URL/v1/sso/acme/metadata"
metadata=$(curl --silent --show-error "$url/metadata" | sed 's/"/\\"/g')
request PUT /v1/admin/sso 200 "$ann_session" "{\"metadata_xml\":\"$metadata\"}"
request POST /v1/admin/users 201 "$ann_session" \
    '{"kind":"employee","role":"standard","auth_type":"saml_sso","username":"sam","display_name":"Sam"}'

step 'Sam signs in through the IdP, and enrols an authenticator app once'
sso sam
set_up

step 'From now on the IdP alone signs Sam in'
sso sam
expect '"status":"signed_in"'
expect '"amr":["sso"]'
session=$(field token vs_)
request GET /v1/session 200 "$session"
expect '"username":"sam"'

printf '\nAll answers are as expected.\n'

#!/usr/bin/env bash
# Walks through Vestibule as its people do: bob enrols, signs in and recovers, ann resets him and excludes a contact, and sam
# comes by single sign-on. Needs curl, and nothing else but the `local` program, which plays the authenticator app and sam's
# IdP too.
#
#   examples/walkthrough.sh                                     starts a server of its own, which keeps nothing
#   VESTIBULE_URL=http://127.0.0.1:8080 examples/walkthrough.sh asks one that serves the demo people, not yet enrolled
#
# LOCAL names the program (default: `cargo run` of this checkout). Ends with another status than 0 on any answer that is not
# the expected one.
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

# start COMMAND…: starts a server on a free port. Leaves its address in $url.
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

# ---------------------------------------------------------------- how to ask

step() { printf '\n== %s\n' "$*"; }

# ask METHOD PATH STATUS [TOKEN [BODY [HEADER]]]: sends a request, keeps the answer in $answer, and insists on the status.
ask() {
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

# expect TEXT: the answer has to hold it.
expect() { grep -qF -- "$1" <<<"$answer" || { echo "expected $1 in: $answer" >&2; exit 1; }; }

# field NAME [PREFIX]: the text of a field in the answer; of several, one that starts with the prefix.
field() {
    local found
    found=$(sed -n "s/.*\"$1\":\"\(${2:-}[^\"]*\)\".*/\1/p" <<<"$answer")
    [ -n "$found" ] || { echo "expected a field $1 in: $answer" >&2; exit 1; }
    echo "$found"
}

login() { ask POST /v1/login 200 '' "{\"tenant\":\"acme\",\"username\":\"$1\",\"password\":\"$2\"}"; }

# code SECRET [STEPS]: what the app shows now, or some steps of 30 seconds later. The server takes the code of the step before,
# of now and of the next one, each once and in rising order: so now's and then the next one's need no waiting.
code() {
    local at=$(($(date +%s) + ${2:-0} * 30))
    "$LOCAL" totp code --secret "$1" --at "$(date -u -d "@$at" +%Y-%m-%dT%H:%M:%SZ 2>/dev/null || date -u -r "$at" +%Y-%m-%dT%H:%M:%SZ)"
}

# enrol NAME PASSWORD: password, secret, first code. Leaves $secret and $session.
enrol() {
    login "$1" "$2"
    set_up
}

# set_up: an authenticator, with the enrolment token in the answer.
set_up() {
    expect '"status":"enrolment_required"'
    local token
    token=$(field token ve_)
    ask POST /v1/mfa/enrolments 201 "$token" '{}'
    secret=$(field secret)
    ask POST /v1/mfa/enrolments/confirm 200 "$token" "{\"code\":\"$(code "$secret")\"}"
    expect '"status":"mfa_enabled"'
    session=$(field token vs_)
}

# sso NAME: to the IdP and back, as a browser goes that sends the IdP's form. Leaves the service's answer.
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

# ---------------------------------------------------------------- the walk

step 'Bob enrols: his password alone gives no session, only the right to set up an authenticator'
enrol bob "$bob"
bob_secret=$secret
ask GET /v1/session 200 "$session"
expect '"username":"bob"'

step 'Bob keeps a recovery token for the day he loses his phone; it is shown once'
ask POST /v1/mfa/recovery-token 201 "$session"
recovery=$(field recovery_token)

step 'Bob signs in with password and code'
login bob "$bob"
expect '"status":"mfa_required"'
challenge=$(field token vc_)
used=$(code "$bob_secret" 1)
ask POST /v1/verify 200 "$challenge" "{\"code\":\"$used\"}"
expect '"amr":["pwd","otp"]'
session=$(field token vs_)
ask GET /v1/session 200 "$session"

step 'The same code does not work twice'
login bob "$bob"
challenge=$(field token vc_)
ask POST /v1/verify 401 "$challenge" "{\"code\":\"$used\"}"
expect '"code":"invalid_code"'

step 'Bob lost his phone: the recovery token signs him in'
ask POST /v1/verify 200 "$challenge" "{\"code\":\"$recovery\"}"
expect '"amr":["pwd","recovery"]'
expect '"new_token_required":true'
bob_session=$(field token vs_)

step 'A recovery token is used up by its first use'
login bob "$bob"
ask POST /v1/verify 401 "$(field token vc_)" "{\"code\":\"$recovery\"}"
expect '"code":"invalid_code"'

step 'MFA cannot be switched off'
ask DELETE /v1/mfa 403 "$session"
expect '"code":"mfa_mandatory"'

step 'Ann, an Administrator, enrols'
enrol ann "$ann"
ann_session=$session

step 'Ann resets Bob: his authenticator and his sessions are gone'
ask GET /v1/session 200 "$bob_session"
ask GET "/v1/admin/users?q=bob" 200 "$ann_session"
bob_id=$(field id)
ask POST "/v1/admin/users/$bob_id/mfa-reset" 200 "$ann_session" '{"reason":"lost the phone"}'
expect '"mfa":"none"'
ask GET /v1/session 401 "$bob_session"
expect '"code":"session_refresh_required"'

step 'Bob has to enrol again before he gets in'
enrol bob "$bob"
[ "$secret" != "$bob_secret" ] || { echo 'the secret is the old one' >&2; exit 1; }
ask GET /v1/session 200 "$session"

step 'Ann excludes a contact from MFA'
ask GET "/v1/admin/users?q=con1" 200 "$ann_session"
con1_id=$(field id)
ask POST /v1/admin/portal-exclusions 200 "$ann_session" \
    "{\"contact_ids\":[\"$con1_id\"],\"disable_mfa\":true,\"reason\":\"a client without phones\"}" "Idempotency-Key: walk-$$-$(date +%s)"
expect '"outcome":"excluded"'

step 'The contact signs in with the password alone'
login con1 "$con1"
expect '"status":"signed_in"'
expect '"amr":["pwd"]'
expect '"excluded":true'
session=$(field token vs_)
ask GET /v1/session 200 "$session"
expect '"username":"con1"'

step "Ann's company has an IdP: this one is for development, and vouches for anybody"
start idp --sp "$VESTIBULE_URL/v1/sso/acme/metadata"
metadata=$(curl --silent --show-error "$url/metadata" | sed 's/"/\\"/g')
ask PUT /v1/admin/sso 200 "$ann_session" "{\"metadata_xml\":\"$metadata\"}"
ask POST /v1/admin/users 201 "$ann_session" \
    '{"kind":"employee","role":"standard","auth_type":"saml_sso","username":"sam","display_name":"Sam"}'

step 'Sam comes from there, and sets up an authenticator, once'
sso sam
set_up

step 'From then on the IdP is enough'
sso sam
expect '"status":"signed_in"'
expect '"amr":["sso"]'
session=$(field token vs_)
ask GET /v1/session 200 "$session"
expect '"username":"sam"'

printf '\nAll as expected.\n'

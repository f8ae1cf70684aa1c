#!/usr/bin/env bash
# Runs this example on free ports with a temporary local server, signs in through nginx, and checks who reaches the application.
# Here a code is fresh for five seconds instead of five minutes.
# Needs nginx with njs (Debian: nginx, libnginx-mod-http-js), curl, jq, oathtool, openssl and Python 3. LOCAL is the path of the
# local server (default: a build of this checkout).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
if [ -z "${LOCAL:-}" ]; then
    cargo build --quiet --package local
    LOCAL=${CARGO_TARGET_DIR:-target}/debug/local
fi
LOCAL=$(realpath "$LOCAL")

work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT
cd "$work"
free_ports() { python3 -c 'import socket; s = [socket.socket() for _ in range(2)]; [x.bind(("127.0.0.1", 0)) for x in s]; print(*[x.getsockname()[1] for x in s])'; }
read -r port application < <(free_ports)
origin=https://localhost:$port

# Vestibule, the application, and nginx.
"$LOCAL" serve --ephemeral --port 0 --json --public-url "$origin" >server.json 2>server.log &
python3 "$here/application.py" "$application" &
until [ -s server.json ]; do sleep 0.1; kill -0 %1; done
vestibule=$(jq -r .url server.json)
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost -keyout key.pem -out certificate.pem 2>/dev/null

post() { curl -sS --fail-with-body --json "$3" -H "Authorization: Bearer $2" "$vestibule$1"; } # path, token, body
code() { oathtool --totp --base32 "$secret" --now "@$(($(date +%s) + ${1:-0}))"; }
# Enrols a user. Sets $session and $secret.
enrol() { # tenant, username, password
    local token
    token=$(post /v1/login - "$(jq -n --arg t "$1" --arg u "$2" --arg p "$3" '{tenant: $t, username: $u, password: $p}')" | jq -r .enrolment.token)
    secret=$(post /v1/mfa/enrolments "$token" '{}' | jq -r .secret | tr -d ' ')
    session=$(post /v1/mfa/enrolments/confirm "$token" "{\"code\":\"$(code)\"}" | jq -r .session.token)
}

# The credential with which nginx introspects tokens of the tenant acme.
enrol acme ann 'ann waters 9 blue ferns'
post /v1/admin/clients "$session" '{"name":"nginx"}' >client.json
(umask 077; jq -r '"proxy_set_header Authorization \"Basic \("\(.client_id):\(.client_secret)" | @base64)\";"' client.json >client.conf)
sed -e "s/127.0.0.1:8080/${vestibule#http://}/; s/127.0.0.1:3000/127.0.0.1:$application/; s/127.0.0.1:8443/127.0.0.1:$port/" \
    -e 's/max_age 300/max_age 5/' "$here/nginx.conf" >nginx.conf
cp "$here/introspect.js" .
nginx -p "$work" -c nginx.conf -g 'daemon off;' 2>nginx.log &
until curl -sk -o /dev/null "$origin/healthz"; do sleep 0.1; kill -0 %3 || { cat nginx.log error.log; exit 1; }; done

# check WHAT STATUS curl-arguments…: the status of a request, and the address of a redirect if there is one. Sets $answer.
check() {
    local found
    found=$(curl -sS --cacert certificate.pem -o answer -w '%{http_code} %{redirect_url}' "${@:3}")
    answer=$(cat answer)
    found=${found% }
    printf '%-58s %s\n' "$1" "$found"
    [ "$found" = "$2" ] || { echo "expected $2: $answer" >&2; cat error.log >&2; exit 1; }
}
application_sees() { grep -qix -- "$1" <<<"${answer//$'\r'/}" || { echo "expected $1 in: $answer" >&2; exit 1; }; }
app=$origin/app/

check 'no session' 401 "$app"
check 'no session, a browser' "303 $origin/login?return_to=%2Fapp%2F%3Fa%3D1%26b" -H 'Accept: text/html' "$app?a=1&b"
check 'another token' 401 -H 'Authorization: Bearer vs_AAAAAAAAAAAAAAAAAAAAAA' "$app"

enrol support op 'op sorts 7 brass keys'
check 'a session of another tenant' 401 -H "Authorization: Bearer $session" "$app"

enrol acme bob 'bob bakes 6 rye loaves'
check 'a session' 200 -H "Authorization: Bearer $session" -H 'X-Role: administrator' "$app"
application_sees 'x-username: bob'
application_sees 'x-role: standard'
application_sees 'x-acr: multi_factor'

# Bob signs in with a browser: password, code, and back to the application.
browser=(-b cookies -c cookies -H 'Accept: text/html' -H "Origin: $origin")
check 'the password, in a browser' "303 $origin/verify?return_to=%2Fapp%2F" "${browser[@]}" \
    -d tenant=acme -d username=bob --data-urlencode 'password=bob bakes 6 rye loaves' -d return_to=/app/ "$origin/login"
check 'the code, in a browser' "303 $app" "${browser[@]}" -d "code=$(code 30)" -d return_to=/app/ "$origin/verify"
check 'a cookie' 200 "${browser[@]}" -b 'theme=dark' "$app"
application_sees 'x-username: bob'
! grep -q vs_ <<<"$answer" || { echo "the application got the token: $answer" >&2; exit 1; }
check 'a fresh code, where one is needed' 200 "${browser[@]}" "${app}payments/"
sleep 6
check 'an older code' "303 $origin/step-up?return_to=%2Fapp%2Fpayments%2F" "${browser[@]}" "${app}payments/"
check 'an older code, where it is enough' 200 "${browser[@]}" "$app"
check 'signed out' "303 $origin/login" "${browser[@]}" -d '' "$origin/logout"
check 'the cookie after that' "303 $origin/login?return_to=%2Fapp%2F" "${browser[@]}" "$app"

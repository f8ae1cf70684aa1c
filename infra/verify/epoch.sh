#!/usr/bin/env bash
# Raises the restore epoch of a deployed stack, and checks that an earlier session is refused afterwards. IT ENDS ALL SESSIONS AND
# MAKES ALL RECOVERY TOKENS INVALID: use it only on a stack without users. Needs curl, the AWS CLI with lambda:InvokeFunction on
# the operators' function, and a session token (vs_…) on standard input.
#   bash infra/verify/epoch.sh STACK URL <session
set -euo pipefail
stack=${1:?missing argument: name of the stack}
. "$(dirname "$0")/stack.sh"
url=${2:?missing argument: URL of the API}
read -r session
function=$(output OperatorsFunction)
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

# The token is passed on standard input, so that no process list shows it.
status() { curl --silent --output /dev/null --write-out '%{http_code}' --max-time 30 -H @- "$url/v1/session" <<<"Authorization: Bearer $session"; }

[ "$(status)" = 200 ] || { echo "FAIL the session is not valid before the raise" >&2; exit 1; }
fault=$(aws lambda invoke --function-name "$function" --cli-binary-format raw-in-base64-out \
    --payload '{"command":"raise_restore_epoch","reason":"infra/verify/epoch.sh"}' --query FunctionError --output text "$answer")
[ "$fault" = None ] || { printf 'FAIL the epoch was not raised: '; cat "$answer"; exit 1; }
# A running function reads the epoch again after 30 seconds.
for _ in $(seq 12); do
    [ "$(status)" != 401 ] || { echo "ok   the session is refused"; exit 0; }
    sleep 10
done
echo "FAIL the session is still valid after two minutes"
exit 1

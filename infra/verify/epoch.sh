#!/usr/bin/env bash
# Raises the restore epoch of a deployed stack, and sees that a session of before is refused after. IT ENDS EVERYBODY'S SESSIONS
# AND VOIDS ALL RECOVERY TOKENS: for a stack where nobody works yet. Needs curl, the AWS command line with lambda:InvokeFunction
# on the operators' function, and a session's token (vs_…) on standard input.
#   bash infra/verify/epoch.sh STACK URL <session
set -euo pipefail
stack=${1:?the name of the stack}
. "$(dirname "$0")/stack.sh"
url=${2:?the address of the API}
read -r session
function=$(output OperatorsFunction)
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

# The token stands in no command line.
status() { curl --silent --output /dev/null --write-out '%{http_code}' --max-time 30 -H @- "$url/v1/session" <<<"Authorization: Bearer $session"; }

[ "$(status)" = 200 ] || { echo "NOT  the session is none before" >&2; exit 1; }
fault=$(aws lambda invoke --function-name "$function" --cli-binary-format raw-in-base64-out \
    --payload '{"command":"raise_restore_epoch","reason":"infra/verify/epoch.sh"}' --query FunctionError --output text "$answer")
[ "$fault" = None ] || { printf 'NOT  raised: '; cat "$answer"; exit 1; }
# A function that runs looks again when it has not for 30 seconds.
for _ in $(seq 12); do
    [ "$(status)" != 401 ] || { echo "ok   the session is refused"; exit 0; }
    sleep 10
done
echo "NOT  the session goes on after two minutes"
exit 1

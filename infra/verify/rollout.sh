#!/usr/bin/env bash
# Checks that an alarm rolls a new version back. Run it while `just deploy` is moving requests to new versions.
# It sets the alarm FunctionFaults off, waits until CodeDeploy has stopped, and checks that `live` of the login function is the
# old version. CloudFormation then rolls the whole deployment back. Needs the AWS CLI.
#   bash infra/verify/rollout.sh STACK
set -euo pipefail
stack=${1:?missing argument: name of the stack}
. "$(dirname "$0")/stack.sh"
application=$(named ServerlessDeploymentApplication)
group=$(named LoginFunctionDeploymentGroup)
function=$(named LoginFunction)
live() { aws lambda get-alias --function-name "$function" --name live --query "$1" --output text; }
deployment=$(aws deploy list-deployments --application-name "$application" --deployment-group-name "$group" \
    --include-only-statuses InProgress --query 'deployments[0]' --output text)
[ "$deployment" != None ] || { echo "FAIL no deployment is in progress; start one that changes the login function" >&2; exit 1; }
before=$(live FunctionVersion)
echo "version $before is live; additional versions: $(live RoutingConfig.AdditionalVersionWeights)"
aws cloudwatch set-alarm-state --alarm-name "$(named FunctionFaults)" --state-value ALARM --state-reason "infra/verify/rollout.sh"
for _ in $(seq 60); do
    status=$(aws deploy get-deployment --deployment-id "$deployment" --query deploymentInfo.status --output text)
    case $status in Stopped | Failed) break ;; esac
    sleep 10
done
if [ "$(live FunctionVersion)" = "$before" ] && [ "$(live RoutingConfig)" = None ] && [ "$status" != Succeeded ]; then
    echo "ok   $status: only version $before is live"
else
    echo "FAIL $status: version $(live FunctionVersion) is live; additional versions: $(live RoutingConfig)"
    exit 1
fi

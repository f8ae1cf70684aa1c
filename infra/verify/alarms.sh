#!/usr/bin/env bash
# Shows the state of each alarm of a deployed stack; with `fire` sets each off by hand, so that the topic's reader sees that
# they are told. An alarm goes back by itself when its metric is next looked at.
# Needs the AWS command line, with cloudformation:ListStackResources, cloudwatch:DescribeAlarms and cloudwatch:SetAlarmState.
#   bash infra/verify/alarms.sh STACK [fire]
set -euo pipefail
stack=${1:?the name of the stack}
alarms=$(aws cloudformation list-stack-resources --stack-name "$stack" \
    --query "StackResourceSummaries[?ResourceType=='AWS::CloudWatch::Alarm'].PhysicalResourceId" --output text)
[ -n "$alarms" ] || { echo "no alarms in $stack" >&2; exit 1; }
for alarm in $alarms; do
    [ "${2:-}" != fire ] || aws cloudwatch set-alarm-state --alarm-name "$alarm" --state-value ALARM --state-reason "tried by hand"
    aws cloudwatch describe-alarms --alarm-names "$alarm" \
        --query 'MetricAlarms[0].[StateValue, AlarmName, length(AlarmActions)]' --output text
done

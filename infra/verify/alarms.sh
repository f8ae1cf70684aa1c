#!/usr/bin/env bash
# Shows the state of each alarm of a deployed stack. With `fire` it sets each alarm off, to test that subscribers of the topic
# are notified. CloudWatch resets an alarm when it next evaluates the metric.
# Needs the AWS CLI, with cloudformation:ListStackResources, cloudwatch:DescribeAlarms and cloudwatch:SetAlarmState.
#   bash infra/verify/alarms.sh STACK [fire]
set -euo pipefail
stack=${1:?missing argument: name of the stack}
alarms=$(aws cloudformation list-stack-resources --stack-name "$stack" \
    --query "StackResourceSummaries[?ResourceType=='AWS::CloudWatch::Alarm'].PhysicalResourceId" --output text)
[ -n "$alarms" ] || { echo "no alarms in $stack" >&2; exit 1; }
for alarm in $alarms; do
    [ "${2:-}" != fire ] || aws cloudwatch set-alarm-state --alarm-name "$alarm" --state-value ALARM --state-reason "test by infra/verify/alarms.sh"
    aws cloudwatch describe-alarms --alarm-names "$alarm" \
        --query 'MetricAlarms[0].[StateValue, AlarmName, length(AlarmActions)]' --output text
done

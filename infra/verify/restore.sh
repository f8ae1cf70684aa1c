#!/usr/bin/env bash
# Restores the table of a deployed stack into a new table, and enables what a restore leaves out. The stack keeps its own table;
# a deployment with the printed parameters serves the new one. Then raise the restore epoch (docs/deploy.md).
# Needs the AWS CLI. The new table costs its storage until you delete it.
#   bash infra/verify/restore.sh STACK NEW_TABLE [2026-11-24T12:00:00Z]
set -euo pipefail
stack=${1:?missing argument: name of the stack}
. "$(dirname "$0")/stack.sh"
new=${2:?missing argument: name of the new table}
when=(--use-latest-restorable-time)
[ -z "${3:-}" ] || when=(--restore-date-time "$3")
old=$(output Table)

aws dynamodb restore-table-to-point-in-time --source-table-name "$old" --target-table-name "$new" "${when[@]}" >/dev/null
until [ "$(aws dynamodb describe-table --table-name "$new" --query Table.TableStatus --output text)" = ACTIVE ]; do sleep 15; done
aws dynamodb update-table --table-name "$new" --deletion-protection-enabled \
    --stream-specification StreamEnabled=true,StreamViewType=NEW_IMAGE >/dev/null
aws dynamodb wait table-exists --table-name "$new"
aws dynamodb update-time-to-live --table-name "$new" --time-to-live-specification Enabled=true,AttributeName=ttl >/dev/null
aws dynamodb update-continuous-backups --table-name "$new" \
    --point-in-time-recovery-specification PointInTimeRecoveryEnabled=true >/dev/null
label=$(aws dynamodb describe-table --table-name "$new" --query Table.LatestStreamLabel --output text)
echo "Add these lines to the stack's parameters file, and run infra/deploy.sh:"
printf 'ExistingTable=%s\nExistingStream=%s\n' "$new" "$label"

#!/usr/bin/env bash
# Asks IAM what each role of a deployed stack may do: that what must be refused is refused, and what a flow needs is allowed.
# Needs the AWS command line, with iam:SimulatePrincipalPolicy and cloudformation:DescribeStackResources. Changes nothing.
# It looks at the roles' policies alone; the keys' own policies (which roles may use a key) are checked by AWS when they are used.
#   bash infra/verify/roles.sh STACK
set -euo pipefail
stack=${1:?the name of the stack}
. "$(dirname "$0")/stack.sh"
failed=0

account=$(aws sts get-caller-identity --query Account --output text)
caller=$(aws sts get-caller-identity --query Arn --output text)
partition=$(cut -d: -f2 <<<"$caller")
region=$(aws configure get region || printf '%s' "${AWS_REGION:?set AWS_REGION}")
table="arn:$partition:dynamodb:$region:$account:table/$(output Table)"
key() { printf 'arn:%s:kms:%s:%s:key/%s' "$partition" "$region" "$account" "$(named "$1")"; }
sealing=$(key SealingKey) names=$(key NamesKey) codes=$(key CodesKey)

# What is wanted (allowed or Deny), the role, the action, the resource, then context entries.
ask() {
    local wanted=$1 name=$2 role=$3 action=$4 resource=$5 decision
    shift 5
    local context=()
    [ $# = 0 ] || context=(--context-entries "$@")
    decision=$(aws iam simulate-principal-policy --policy-source-arn "$role" --action-names "$action" \
        --resource-arns "$resource" "${context[@]}" --query 'EvaluationResults[0].EvalDecision' --output text)
    case $decision in
    *"$wanted"*) printf 'ok   %s: %s is %s\n' "$name" "$action" "$decision" ;;
    *) printf 'NOT  %s: %s is %s, wanted %s (%s)\n' "$name" "$action" "$decision" "$wanted" "$*"; failed=1 ;;
    esac
}

keys() { printf 'ContextKeyName=dynamodb:LeadingKeys,ContextKeyType=stringList,ContextKeyValues=%s' "$1"; }
purpose=ContextKeyName=kms:EncryptionContext:purpose,ContextKeyType=string,ContextKeyValues

# What a role may use: sealing, names, codes.
while read -r name seals digests codes_too; do
    role=$(aws iam get-role --role-name "$(named "${name}Role")" --query Role.Arn --output text)
    ask allowed "$name" "$role" dynamodb:BatchGetItem "$table" "$(keys 'T#acme#U#one')"
    ask allowed "$name" "$role" dynamodb:BatchGetItem "$table" "$(keys SYS)"
    ask allowed "$name" "$role" dynamodb:DescribeTable "$table"
    ask Deny "$name" "$role" dynamodb:Scan "$table"
    ask Deny "$name" "$role" dynamodb:GetItem "$table" "$(keys 'T#acme#U#one')"
    ask Deny "$name" "$role" dynamodb:DeleteTable "$table"
    ask Deny "$name" "$role" dynamodb:UpdateItem "$table" "$(keys SYS)"
    ask Deny "$name" "$role" dynamodb:UpdateItem "$table" "$(keys 'X#other')"
    ask Deny "$name" "$role" dynamodb:BatchGetItem "$table" "$(keys 'T#acme#U#one,D#keys')"
    ask "$seals" "$name" "$role" dynamodb:BatchGetItem "$table" "$(keys 'D#keys')"
    ask "$seals" "$name" "$role" kms:Decrypt "$sealing" "$purpose=totp-secret"
    ask Deny "$name" "$role" kms:Decrypt "$sealing" "$purpose=another"
    ask Deny "$name" "$role" kms:Encrypt "$sealing" "$purpose=totp-secret"
    ask "$digests" "$name" "$role" kms:GenerateMac "$names"
    ask "$codes_too" "$name" "$role" kms:GenerateMac "$codes"
    ask Deny "$name" "$role" kms:PutKeyPolicy "$codes"
    ask Deny "$name" "$role" sts:AssumeRole "$role"
done <<'ROLES'
Login Deny allowed Deny
Verify allowed Deny allowed
EnableMfa allowed Deny allowed
Recovery Deny Deny allowed
AdminReset Deny Deny allowed
BatchPortalExclude Deny Deny Deny
Session Deny Deny Deny
Directory Deny allowed Deny
Support Deny allowed allowed
Sso Deny allowed Deny
ROLES
# The one that no gateway calls writes the store's identity too, and opens no secret either.
role=$(aws iam get-role --role-name "$(named OperatorsRole)" --query Role.Arn --output text)
ask allowed Operators "$role" dynamodb:UpdateItem "$table" "$(keys SYS)"
ask Deny Operators "$role" dynamodb:BatchGetItem "$table" "$(keys 'D#keys')"
ask Deny Operators "$role" kms:Decrypt "$sealing" "$purpose=totp-secret"
exit $failed

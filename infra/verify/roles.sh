#!/usr/bin/env bash
# Uses IAM's policy simulator to check that each role of a deployed stack allows what its flow needs, and denies the rest.
# Needs the AWS CLI, with iam:SimulatePrincipalPolicy and cloudformation:DescribeStackResources. Changes nothing.
# It checks only the roles' policies. AWS checks the key policies (which roles may use a key) when a key is used.
#   bash infra/verify/roles.sh STACK
set -euo pipefail
stack=${1:?missing argument: name of the stack}
. "$(dirname "$0")/stack.sh"
failed=0

account=$(aws sts get-caller-identity --query Account --output text)
caller=$(aws sts get-caller-identity --query Arn --output text)
partition=$(cut -d: -f2 <<<"$caller")
region=$(aws configure get region || printf '%s' "${AWS_REGION:?set AWS_REGION}")
table="arn:$partition:dynamodb:$region:$account:table/$(output Table)"
key() { printf 'arn:%s:kms:%s:%s:key/%s' "$partition" "$region" "$account" "$(named "$1")"; }
sealing=$(key SealingKey) names=$(key NamesKey) codes=$(key CodesKey)

# check allowed|Deny NAME ROLE ACTION RESOURCE [CONTEXT_ENTRY…]
check() {
    local wanted=$1 name=$2 role=$3 action=$4 resource=$5 decision
    shift 5
    local context=()
    [ $# = 0 ] || context=(--context-entries "$@")
    decision=$(aws iam simulate-principal-policy --policy-source-arn "$role" --action-names "$action" \
        --resource-arns "$resource" "${context[@]}" --query 'EvaluationResults[0].EvalDecision' --output text)
    case $decision in
    *"$wanted"*) printf 'ok   %s: %s is %s\n' "$name" "$action" "$decision" ;;
    *) printf 'FAIL %s: %s is %s, expected %s (%s)\n' "$name" "$action" "$decision" "$wanted" "$*"; failed=1 ;;
    esac
}

keys() { printf 'ContextKeyName=dynamodb:LeadingKeys,ContextKeyType=stringList,ContextKeyValues=%s' "$1"; }
purpose=ContextKeyName=kms:EncryptionContext:purpose,ContextKeyType=string,ContextKeyValues

# For each role, whether it may use SealingKey, NamesKey and CodesKey.
while read -r name seals digests codes_too; do
    role=$(aws iam get-role --role-name "$(named "${name}Role")" --query Role.Arn --output text)
    check allowed "$name" "$role" dynamodb:BatchGetItem "$table" "$(keys 'T#acme#U#one')"
    check allowed "$name" "$role" dynamodb:BatchGetItem "$table" "$(keys SYS)"
    check Deny "$name" "$role" dynamodb:DescribeTable "$table"
    check Deny "$name" "$role" dynamodb:Scan "$table"
    check Deny "$name" "$role" dynamodb:GetItem "$table" "$(keys 'T#acme#U#one')"
    check Deny "$name" "$role" dynamodb:DeleteTable "$table"
    check Deny "$name" "$role" dynamodb:UpdateItem "$table" "$(keys SYS)"
    check Deny "$name" "$role" dynamodb:UpdateItem "$table" "$(keys 'X#other')"
    check Deny "$name" "$role" dynamodb:BatchGetItem "$table" "$(keys 'T#acme#U#one,D#keys')"
    check "$seals" "$name" "$role" dynamodb:BatchGetItem "$table" "$(keys 'D#keys')"
    check "$seals" "$name" "$role" kms:Decrypt "$sealing" "$purpose=totp-secret"
    check Deny "$name" "$role" kms:Decrypt "$sealing" "$purpose=another"
    check Deny "$name" "$role" kms:Encrypt "$sealing" "$purpose=totp-secret"
    check "$digests" "$name" "$role" kms:GenerateMac "$names"
    check "$codes_too" "$name" "$role" kms:GenerateMac "$codes"
    check Deny "$name" "$role" kms:PutKeyPolicy "$codes"
    check Deny "$name" "$role" sts:AssumeRole "$role"
done <<'ROLES'
Login Deny allowed Deny
Verify allowed Deny allowed
EnableMfa allowed Deny allowed
Recovery Deny Deny allowed
AdminReset Deny Deny allowed
Password Deny allowed Deny
BatchPortalExclude Deny Deny Deny
Session Deny Deny Deny
Directory Deny allowed Deny
Support Deny allowed allowed
Sso Deny allowed Deny
ROLES
# SSO shows an Administrator what the audit says about the last refused sign-in.
role=$(aws iam get-role --role-name "$(named SsoRole)" --query Role.Arn --output text)
check allowed Sso "$role" dynamodb:Query "$table" "$(keys 'T#acme#A#202701#0')"
check Deny Sso "$role" dynamodb:Query "$table" "$(keys 'T#acme#U#one')"
# The operators' function, which no gateway calls, also writes the store's identity. It cannot open secrets.
role=$(aws iam get-role --role-name "$(named OperatorsRole)" --query Role.Arn --output text)
check allowed Operators "$role" dynamodb:UpdateItem "$table" "$(keys SYS)"
check allowed Operators "$role" dynamodb:DescribeTable "$table"
check Deny Operators "$role" dynamodb:BatchGetItem "$table" "$(keys 'D#keys')"
check Deny Operators "$role" kms:Decrypt "$sealing" "$purpose=totp-secret"
# No gateway calls these either. They open no secrets and make no digests.
for name in AuditEvents Notify PasswordMail; do
    role=$(aws iam get-role --role-name "$(named "${name}Role")" --query Role.Arn --output text)
    check Deny "$name" "$role" dynamodb:Scan "$table"
    check Deny "$name" "$role" dynamodb:UpdateItem "$table" "$(keys SYS)"
    check Deny "$name" "$role" kms:Decrypt "$sealing" "$purpose=totp-secret"
    check Deny "$name" "$role" kms:GenerateMac "$names"
    reads=allowed
    [ $name != AuditEvents ] || reads=Deny
    check $reads "$name" "$role" dynamodb:BatchGetItem "$table" "$(keys 'T#acme#U#one')"
done
exit $failed

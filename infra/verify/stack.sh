# shellcheck shell=bash
# What the scripts beside this one ask a `stack` for; they read it.

# The physical id of a resource of the stack.
named() {
    aws cloudformation describe-stack-resources --stack-name "$stack" --logical-resource-id "$1" \
        --query 'StackResources[0].PhysicalResourceId' --output text
}

# An output of the stack.
output() {
    aws cloudformation describe-stacks --stack-name "$stack" \
        --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue" --output text
}

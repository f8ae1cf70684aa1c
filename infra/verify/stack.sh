# shellcheck shell=bash
# Functions for the other scripts in this folder, which source this file. They read the variable `stack`.

# named LOGICAL_ID: prints the physical id of a resource of the stack.
named() {
    aws cloudformation describe-stack-resources --stack-name "$stack" --logical-resource-id "$1" \
        --query 'StackResources[0].PhysicalResourceId' --output text
}

# output NAME: prints an output of the stack.
output() {
    aws cloudformation describe-stacks --stack-name "$stack" \
        --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue" --output text
}

#!/usr/bin/env python3
"""Compares the recorded calls of functions with their roles in `infra/template.yaml`: no action, key, index or partition may
be missing or superfluous. Prints a table of functions and calls; exits with 1 if they differ.

    infra/roles.py CALLS LOGICAL=ID…     CALLS: file written by `.ci/recorder`
                                         LOGICAL=ID: logical name of a key, the bus or the mail sender in the template, and its id

IAM evaluates all keys of a request together. AWS does not document whether IAM evaluates the writes of a transaction
separately, so each statement that an action of a call needs has to allow all partitions of the call. A function without any
recorded call is an error.
"""

import fnmatch
import json
import os
import sys
from collections import Counter, defaultdict

import yaml

# Actions that Lambda itself performs with the role, to read a stream for the function.
LAMBDAS = {f"dynamodb:{action}" for action in ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")}
SERVICES = {"dynamodb", "kms", "events", "ses"}


def listed(one):
    return one if isinstance(one, list) else [one]


def pascal(flow):
    return "".join(word.capitalize() for word in flow.split("-"))


class Statement:
    """One statement of a role, and the parts of it that calls used."""

    def __init__(self, one):
        # A statement that depends on a parameter counts as enabled.
        one = one["Fn::If"][1] if "Fn::If" in one else one
        assert one["Effect"] == "Allow", one
        self.actions = set(listed(one["Action"]))
        self.resources = [json.dumps(resource, sort_keys=True) for resource in listed(one["Resource"])]
        condition = one.get("Condition", {})
        self.context, self.partitions, self.sender = {}, None, None
        for operator, values in condition.items():
            for name, value in values.items():
                if name == "dynamodb:LeadingKeys":
                    assert operator in ("ForAllValues:StringLike", "ForAllValues:StringEquals"), operator
                    self.partitions = set(listed(value))
                elif name.startswith("kms:EncryptionContext:"):
                    assert operator == "StringEquals", operator
                    self.context[name.removeprefix("kms:EncryptionContext:")] = value
                elif name == "ses:FromAddress":
                    assert operator == "StringEquals", operator
                    self.sender = value["Ref"]
                else:
                    raise AssertionError(f"unknown condition: {operator} {name}")
        self.used = set()

    def on_table(self):
        """The name of the index, None for the table, False for another service."""
        text = " ".join(self.resources)
        if "/index/" in text:
            return text.split("/index/")[1].split('"')[0]
        return None if any(action.startswith("dynamodb:") for action in self.actions) else False

    def allows(self, action, call, keys):
        if action not in self.actions:
            return False
        if call["service"] == "dynamodb":
            matched = {
                pattern
                for pattern in self.partitions or ()
                for partition in call["partitions"]
                if fnmatch.fnmatchcase(partition, pattern)
            }
            every = self.partitions is None or all(
                any(fnmatch.fnmatchcase(partition, pattern) for pattern in matched) for partition in call["partitions"]
            )
            if self.on_table() != call["index"] or not every:
                return False
            self.used |= {action} | matched
            return True
        on = [keys.get(one) for one in call["on"]]
        if call["service"] == "ses":
            # The resource is the identity (a domain or an address); the condition restricts the sender.
            named = self.resources if on == [self.sender] else []
        else:
            named = [one for one in self.resources if [json.loads(one)] == [{"Fn::GetAtt": [name, "Arn"]} for name in on]]
        context = call.get("context") or {}
        if not named or any(context.get(name) != value for name, value in self.context.items()):
            return False
        self.used |= {action} | set(named)
        return True

    def superfluous(self):
        parts = self.actions | (self.partitions or set())
        if next(iter(self.actions)).split(":")[0] in ("kms", "events"):
            parts |= set(self.resources)
        return sorted(parts - self.used - LAMBDAS)


def described(call, keys):
    """The text of a call for the table."""
    if "on" in call:
        return " ".join([call["call"], *(keys.get(one, str(one)) for one in call["on"])])
    # Show a single partition by its name, and others by the prefix of their kind.
    kinds = sorted({key if key == "D#keys" or "#" not in key else key.split("#")[0] + "#" for key in call["partitions"]})
    actions = call["call"] + (f" ({', '.join(call['actions'])})" if call["call"] not in call["actions"] else "")
    return " ".join([actions + (f" in {call['index']}" if call["index"] else ""), *kinds])


def main():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    with open(os.path.join(root, "infra/template.yaml"), encoding="utf-8") as file:
        resources = yaml.safe_load(file)["Resources"]
    with open(sys.argv[1], encoding="utf-8") as file:
        calls = [json.loads(line) for line in file]
    keys = {key: logical for logical, key in (pair.split("=", 1) for pair in sys.argv[2:])}
    flows = sorted(os.listdir(os.path.join(root, "functions")))
    faults, table = [], defaultdict(Counter)
    unknown = Counter(str(call["function"]) for call in calls if call["function"] not in flows)
    faults += [f"{count} calls by {name}, which is not a function" for name, count in unknown.items()]
    for flow in flows:
        policies = resources[pascal(flow) + "Role"]["Properties"]["Policies"]
        statements = [Statement(one) for policy in policies for one in policy["PolicyDocument"]["Statement"]]
        own = [call for call in calls if call["function"] == flow]
        if not own:
            faults.append(f"{flow} has no recorded call")
            continue
        for call in own:
            table[flow][described(call, keys)] += 1
            for action in call["actions"]:
                action = f"{call['service']}:{action}"
                # Mark every matching statement as used; `any` over a generator would stop at the first one.
                if not any([statement.allows(action, call, keys) for statement in statements]):
                    faults.append(f"{flow} is not allowed {action} for {described(call, keys)}")
        for statement in statements:
            services = {action.split(":")[0] for action in statement.actions}
            if services & SERVICES:
                faults += [f"{flow} is allowed {part}, but no recorded call needs it" for part in statement.superfluous()]
            for action in statement.actions:
                if "*" in action or "Scan" in action or "PartiQL" in action:
                    faults.append(f"{flow} is allowed {action}")
                if action == "kms:Decrypt" and flow not in ("enable-mfa", "verify"):
                    faults.append(f"{flow} must not be allowed kms:Decrypt")
    for flow, seen in table.items():
        print(flow)
        for call, count in sorted(seen.items()):
            print(f"  {count:5} {call}")
    for fault in sorted(set(faults)):
        print(fault, file=sys.stderr)
    return 1 if faults else 0


sys.exit(main())

#!/usr/bin/env python3
"""Compares what functions were seen to call with what their roles in `infra/template.yaml` allow: no action, key, index or
partition is missing, and none is superfluous. Prints a table of function and calls; ends with 1 where they differ.

    infra/roles.py CALLS LOGICAL=ID…     CALLS: what `.ci/recorder` wrote; LOGICAL=ID: what the template calls it, and
its id here

IAM looks at all keys of a request at once, and whether it looks at a transaction's writes one by one is not documented: so
each statement that an action of a call needs has to allow all partitions of the call. Functions of which there is no call are
named and fail; those that nothing here can run are left out (UNSEEN).
"""

import fnmatch
import json
import os
import sys
from collections import Counter, defaultdict

import yaml

# Called by a stream or a rule, neither of which there is here. Their roles are not compared here.
UNSEEN = {"audit-events", "notify"}
# What is needed when data keys have aged or a function is started again, which takes longer than these journeys:
# `tests/tests/kms.rs` has it under a clock that is moved.
LATER = {
    ("enable-mfa", "kms:Decrypt"),  # started when there is a data key
    ("verify", "kms:GenerateDataKey"),  # seals anew, 90 days after
    ("verify", "dynamodb:UpdateItem"),  # of D#keys, with it
}
SERVICES = {"dynamodb", "kms"}


def listed(one):
    return one if isinstance(one, list) else [one]


def pascal(flow):
    return "".join(word.capitalize() for word in flow.split("-"))


class Statement:
    """One statement of a role, and which parts of it were needed."""

    def __init__(self, one):
        # One that a parameter switches on is looked at as if it were on.
        one = one["Fn::If"][1] if "Fn::If" in one else one
        assert one["Effect"] == "Allow", one
        self.actions = set(listed(one["Action"]))
        self.resources = [json.dumps(resource, sort_keys=True) for resource in listed(one["Resource"])]
        condition = one.get("Condition", {})
        self.context, self.partitions = {}, None
        for operator, values in condition.items():
            for name, value in values.items():
                if name == "dynamodb:LeadingKeys":
                    assert operator in ("ForAllValues:StringLike", "ForAllValues:StringEquals"), operator
                    self.partitions = set(listed(value))
                elif name.startswith("kms:EncryptionContext:"):
                    assert operator == "StringEquals", operator
                    self.context[name.removeprefix("kms:EncryptionContext:")] = value
                else:
                    raise AssertionError(f"a condition that is not known here: {operator} {name}")
        self.used = set()

    def on_table(self):
        """The index, or None for the table; False for something else."""
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
        named = [resource for resource in self.resources if json.loads(resource) == {"Fn::GetAtt": [keys.get(call["on"][0]), "Arn"]}]
        context = call["context"] or {}
        if not named or any(context.get(name) != value for name, value in self.context.items()):
            return False
        self.used |= {action} | set(named)
        return True

    def superfluous(self):
        parts = self.actions | (self.partitions or set())
        if self.actions and next(iter(self.actions)).startswith("kms:"):
            parts |= set(self.resources)
        return sorted(parts - self.used)


def told(call, keys):
    """A call in the table."""
    if call["service"] == "kms":
        return f"{call['call']} {keys.get(call['on'][0], call['on'][0])}"
    # Partitions by their kind: those of one thing by name, those of many by their first letters.
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
    faults += [f"{count} calls by {name}, which is no function" for name, count in unknown.items()]
    for flow in flows:
        if flow in UNSEEN:
            continue
        policies = resources[pascal(flow) + "Role"]["Properties"]["Policies"]
        statements = [Statement(one) for policy in policies for one in policy["PolicyDocument"]["Statement"]]
        own = [call for call in calls if call["function"] == flow]
        if not own:
            faults.append(f"{flow} was not seen to call anything")
            continue
        for call in own:
            table[flow][told(call, keys)] += 1
            for action in call["actions"]:
                action = f"{call['service']}:{action}"
                # Every statement that would do counts as used: one of them is superfluous only where another covers it.
                if not any([statement.allows(action, call, keys) for statement in statements]):
                    faults.append(f"{flow} is not allowed {action} as in {told(call, keys)}")
        for statement in statements:
            services = {action.split(":")[0] for action in statement.actions}
            if services & SERVICES:
                faults += [
                    f"{flow} is allowed {part}, and was not seen to need it"
                    for part in statement.superfluous()
                    if not ((flow, part) in LATER and (part.startswith("kms:") or statement.partitions == {"D#keys"}))
                ]
            for action in statement.actions:
                if "*" in action or "Scan" in action or "PartiQL" in action:
                    faults.append(f"{flow} is allowed {action}")
                if action == "kms:Decrypt" and flow not in ("enable-mfa", "verify"):
                    faults.append(f"{flow} may decrypt")
    for flow, seen in table.items():
        print(flow)
        for call, count in sorted(seen.items()):
            print(f"  {count:5} {call}")
    for fault in sorted(set(faults)):
        print(fault, file=sys.stderr)
    return 1 if faults else 0


sys.exit(main())

#!/usr/bin/env python3
"""Computes costs in USD from measured units, and prints the page docs/cost.md.

    cargo test -p tests --test costs -- --nocapture >target/costs.txt && python3 infra/cost.py <target/costs.txt >docs/cost.md

The test counts units and round trips on the wire, and the template sets the memory sizes. Prices and the times below are
assumptions; the page names each of them. `just cost` runs the command above, `.ci/costs` compares the page.
"""

import argparse
import pathlib
import re
import sys

# List prices in USD, us-east-1, without free tiers and volume discounts.
AS_OF = "November 2026"
WRITE = 0.625  # a million write request units, on demand
READ = 0.125  # a million read request units, on demand
GATEWAY = 1.00  # a million HTTP API requests
INVOKED = 0.20  # a million Lambda invocations
GB_SECOND = {"arm64": 0.0000133334, "x86_64": 0.0000166667}
LOG_GB = 0.50  # ingested
STORED_GB_MONTH = 0.25  # table storage
BACKED_UP_GB_MONTH = 0.20  # point-in-time recovery
KMS = 3.00  # a million KMS requests
KMS_KEY = 1.00  # a key, a month
REST = 3.50  # a million REST API requests
EVENT = 1.00  # a million events put on a bus of EventBridge
FIREHOSE_GB = 0.029  # ingested by Firehose; each record counts as at least 5 KB
ARCHIVED_GB_MONTH = 0.023  # in S3; 0.004 after the move to Glacier Instant Retrieval
KEYS = 4  # the table's key and the three keys of the functions
# Calls of a running instance, in seconds between two calls: verify unwraps a data key every five minutes (DATA_KEYS_CACHED in
# shared/src/kms.rs), and every function reads the store's identity every half minute (IDENTITY_CACHED in
# shared/src/lambda/function.rs). In addition, each of the two functions
# of a sign-in derives one digest key when it starts. LIVES is the lifetime of an instance in seconds.
UNWRAPPED_EACH = 300
IDENTIFIED_EACH = 30
LIVES = 7200
MONTH = 30.4 * 86_400

# Amazon Cognito user pools, us-east-1: USD for each monthly active user, in steps by number of users. The first 10,000 users of
# Lite and Essentials are permanently free. Entered by hand, from the start of these plans in November 2024.
COGNITO_FREE = 10_000
COGNITO = {
    "Lite": (COGNITO_FREE, [(100_000, 0.0055), (1_000_000, 0.0046), (10_000_000, 0.00325)]),
    "Essentials": (COGNITO_FREE, [(10_000_000, 0.015)]),
    "Plus": (0, [(10_000_000, 0.02)]),
}

SIGN_IN = ("login, right", "verify, right")
KNOWN = ("login, right, known device", "verify, right")
# Round trips in parallel with the password hash: the read of the login name's owner.
PARALLEL = {"login, right": 1, "login, wrong": 1}


def measured(lines):
    """Maps the name of a flow to round trips, write units, read units and bytes logged by the function."""
    row = re.compile(r"^\.*(.+?) +(\d+) trips +([\d.]+) W +([\d.]+) R +(\d+) B$")
    found = (row.match(line.rstrip()) for line in lines)
    flows = {m[1]: (int(m[2]), float(m[3]), float(m[4]), int(m[5])) for m in found if m}
    missing = {*SIGN_IN, *KNOWN} - flows.keys()
    if missing:
        sys.exit(f"missing measurements: {sorted(missing)}. Run the test with --nocapture.")
    return flows


def template():
    return pathlib.Path(__file__).with_name("template.yaml").read_text()


def memory(flow):
    """Memory of a function in GB, from the template."""
    return int(re.search(rf"CodeUri: \S*/{flow}/bootstrap.zip\s+MemorySize: (\d+)", template())[1]) / 1024


def audit_days():
    """Default retention of audit rows, from the template."""
    return int(re.search(r"AuditRetentionDays:\s+Type: Number\s+Default: (\d+)", template())[1])


def per_million(flows, names, given):
    """Cost in USD of a million runs of these requests, by part."""
    writes, reads, lines = (sum(flows[name][part] for name in names) for part in (1, 2, 3))
    # CloudWatch adds 26 bytes to each log line: one of the function, one of the gateway, and two of Lambda itself.
    logged = lines + len(names) * (given.gateway_line + given.system_lines + 4 * 26)
    seconds = {}
    for name in names:
        function = name.split(",")[0]
        parallel = PARALLEL.get(name, 0)
        hashing = max(given.hash_ms, parallel * given.trip_ms) if function == "login" else 0
        seconds[function] = ((flows[name][0] - parallel) * given.trip_ms + hashing + given.own_ms) / 1000
    computed = sum(seconds[function] * memory(function) for function in seconds)
    return [
        (f"table: {writes:g} write units", writes * WRITE),
        (f"table: {reads:g} read units", reads * READ),
        (f"gateway: {len(names)} requests", len(names) * GATEWAY),
        (f"Lambda: {len(names)} requests", len(names) * INVOKED),
        (f"Lambda: {computed:.4f} GB-seconds, {given.architecture}", computed * 1e6 * GB_SECOND[given.architecture]),
        (f"logs: {logged} bytes", logged / 1e3 * LOG_GB),
    ]


def keys_and_gate(given):
    """Monthly cost that depends on the running instances and not on the traffic: starts, KMS, reads of the store's identity."""
    unwrapped = given.instances * MONTH / UNWRAPPED_EACH
    derived = 2 * given.instances * MONTH / LIVES
    identified = 2 * given.instances * MONTH / IDENTIFIED_EACH
    started = given.instances * MONTH / LIVES * given.init_ms / 1000 * (memory("login") + memory("verify"))
    return [
        (f"Lambda: {started:,.0f} GB-seconds of starts (INIT)", started * GB_SECOND[given.architecture]),
        (f"KMS: {unwrapped + derived:,.0f} requests", (unwrapped + derived) / 1e6 * KMS),
        (f"identity item of the store: {identified:,.0f} reads", identified / 1e6 * READ),
    ]


def cognito(plan, users):
    free, steps = COGNITO[plan]
    cost, below = 0.0, free
    for upto, price in steps:
        cost += max(0, min(users, upto) - below) * price
        below = max(below, upto)
    return cost


def cognito_rows(whole, given):
    """Rows of the comparison with Cognito, one for each number of users."""
    rows = []
    for users in (10_000, 100_000, 1_000_000):
        here = users * given.sign_ins / 1e6 * whole + KEYS * KMS_KEY
        plans = " | ".join(f"{cognito(plan, users):,.0f}" for plan in COGNITO)
        rows.append(f"| {users:,} | {users * given.sign_ins:,} | {here:,.0f} | {plans} |")
    return "\n".join(rows)


def break_even(whole):
    """For each plan, the monthly sign-ins of each of a million users at which both cost the same."""
    for plan in COGNITO:
        yield plan, (cognito(plan, 1_000_000) - KEYS * KMS_KEY) / whole


def verdict(total):
    return "met" if total <= 10 else f"missed by {total - 10:.2f}"


def page(flows, given):
    gate = keys_and_gate(given)
    full, known = per_million(flows, SIGN_IN, given) + gate, per_million(flows, KNOWN, given) + gate
    total, total_known = sum(cost for _, cost in full), sum(cost for _, cost in known)
    table_and_gateway = sum(cost for _, cost in full[:3])
    def kept(days):
        return 2 * days / 30.4 * (STORED_GB_MONTH + BACKED_UP_GB_MONTH)

    days = audit_days()
    whole = total + kept(days) + 2 * EVENT
    archived = 2 * (5e-6 * 1e6 * FIREHOSE_GB + given.event_bytes / 1e3 * 12 * ARCHIVED_GB_MONTH)
    quiet = total - 2 * (given.system_lines + 2 * 26) / 1e3 * LOG_GB
    slow = argparse.Namespace(**{**vars(given), "trip_ms": 2 * given.trip_ms})
    slow = sum(cost for _, cost in per_million(flows, SIGN_IN, slow) + keys_and_gate(slow))
    yield f"""# What a sign-in costs

`infra/cost.py` generates this page from units that a test counts on the wire; do not edit it. To repeat it:

<!-- not run: CI has a step for it, .ci/costs -->
```sh
cargo test -p tests --test costs -- --nocapture >target/costs.txt && python3 infra/cost.py <target/costs.txt >docs/cost.md
```

**A million two-step sign-ins cost about {whole:.0f} USD in total**: {total:.2f} USD for the sign-ins themselves, {kept(days):.2f} for keeping their audit rows for {days} days (`AuditRetentionDays`), and {2 * EVENT:.2f} for their events. With audit rows kept for 400 days, the total is {total + kept(400) + 2 * EVENT:.2f}. In addition, {KEYS} KMS keys cost {KEYS * KMS_KEY:.2f} USD a month, for any number of sign-ins.

**The sign-ins themselves cost about {round(total):.0f} USD**: {total:.2f} under the assumptions [below](#what-is-measured-and-what-is-assumed), with a password hash of {given.hash_ms:g} ms, a round trip to the table of {given.trip_ms:g} ms, and billed starts of functions. With round trips of {2 * given.trip_ms:g} ms they cost {slow:.2f}. With `SystemLogLevel=WARN`, which removes Lambda's own lines from the log, they cost {quiet:.2f}. From a known device they cost {total_known:.2f}. Table and gateway cost {table_and_gateway:.2f} of the sum. The goal is at most 10 USD for table, gateway, Lambda, keys and logs: {verdict(total)}, and {verdict(quiet)} with `SystemLogLevel=WARN`.

| A million two-step sign-ins | USD |
|---|---|"""
    for what, cost in full:
        yield f"| {what} | {cost:.2f} |"
    yield f"""| **the sign-ins** | **{total:.2f}** |
| audit rows for {days} days: two of at most a kilobyte, with backups | {kept(days):.2f} |
| events: two on an EventBridge bus | {2 * EVENT:.2f} |
| **total** | **{whole:.2f}** |
| with `AuditArchive=true`, in addition: two events through Firehose to S3, kept there for a year | {archived:.2f} |

## What is measured and what is assumed
- **Measured**: bytes in the function's log; write units, read units and round trips, over HTTP on an emulator of DynamoDB that counts by Amazon's published rules. Nobody has compared them with a bill.
- **Assumed**: a round trip to the table takes {given.trip_ms:g} ms, a password hash {given.hash_ms:g} ms, and everything else {given.own_ms:g} ms for each request. None of these was measured on AWS. For each request, the gateway's log line has {given.gateway_line} bytes, Lambda's own two lines have {given.system_lines} bytes (at `SystemLogLevel` INFO), and CloudWatch adds 26 bytes to each line. A start takes {given.init_ms:g} ms and is billed. An event has {given.event_bytes} bytes. The million sign-ins arrive in one month. During the whole month {given.instances} instances of each of the two functions run, and each instance lives for {LIVES / 3600:g} hours. This is more than such traffic needs, which is {1e6 / MONTH:.1f} sign-ins a second. Change these values with `--trip-ms`, `--hash-ms`, `--own-ms`, `--init-ms`, `--gateway-line`, `--system-lines`, `--event-bytes`, `--instances`, `--architecture`.
- **Keys**: a request makes no KMS call. A function derives each of its digest keys once when it starts (GenerateMac). verify and enable-mfa keep an unwrapped data key for five minutes (Decrypt). The number of calls depends on the instances, not on the sign-ins.
- **Prices**: list prices of us-east-1, {AS_OF}, entered by hand, without free tier or discount. Compare them with the pages of [DynamoDB](https://aws.amazon.com/dynamodb/pricing/on-demand/), [API Gateway](https://aws.amazon.com/api-gateway/pricing/), [Lambda](https://aws.amazon.com/lambda/pricing/), [CloudWatch](https://aws.amazon.com/cloudwatch/pricing/) and [KMS](https://aws.amazon.com/kms/pricing/) for your region.

| Price | USD |
|---|---|
| a million write units; a million read units | {WRITE:g}; {READ:g} |
| a million requests of an HTTP API; a million Lambda invocations | {GATEWAY:.2f}; {INVOKED:.2f} |
| a GB-second on arm64; on x86_64 | {GB_SECOND["arm64"]:.10f}; {GB_SECOND["x86_64"]:.10f} |
| a GB of ingested logs | {LOG_GB:.2f} |
| a GB in the table for a month; in its backup for a month | {STORED_GB_MONTH:.2f}; {BACKED_UP_GB_MONTH:.2f} |
| a million KMS requests; a key for a month | {KMS:.2f}; {KMS_KEY:.2f} |
| a million requests of a REST API | {REST:.2f} |
| a million events on a bus | {EVENT:.2f} |
| a GB through Firehose; a GB in S3 for a month | {FIREHOSE_GB:g}; {ARCHIVED_GB_MONTH:g} |

Without the function's log line for each request (log level WARN), the sign-ins cost {total - sum(flows[name][3] + 26 for name in SIGN_IN) / 1e3 * LOG_GB:.2f} USD. The gateway's line remains.

## What is not included
- **The function that puts events on the bus.** One invocation handles up to 100 rows. Lambda reads the table's stream for free, and the rule that sends events to the archive is free too. Firehose counts each event as 5 KB.
- **Refusals.** Each one writes a metric line of about 200 bytes to the log: {0.226 * LOG_GB:.2f} USD a million. Custom metrics cost 0.30 USD a month each, alarms 0.10 USD each, and the dashboard 3 USD if the account already has three.
- **REST.** With `ApiType=REST` the gateway costs {2 * (REST - GATEWAY):.2f} USD more, so the sign-ins cost {total + 2 * (REST - GATEWAY):.2f}.
- **A KMS call for each verification**, which a design without data keys in memory would need. It would cost {KMS:.2f} USD more, so the sign-ins would cost {total + KMS:.2f}.
- **Attacks.** A wrong password costs the units in the table below and a hash. Vestibule evaluates five in a row; then delays begin.
- **Other services**: data transfer out of AWS, log storage, metric filters, mails, traces, storage of the index, WAF and domains. DynamoDB also uses the table's key every few minutes, for any traffic.

## Comparison with Amazon Cognito
The table shows USD a month if each monthly active user (MAU) signs in {given.sign_ins} times a month in two steps with an authenticator app. The cost of Vestibule is the total above ({whole:.2f} for a million sign-ins, with audit rows and events) and the {KEYS} keys, without free tiers. The cost of Cognito includes its permanent free tier.

| MAU | Sign-ins | Vestibule | Cognito Lite | Essentials | Plus |
|---|---|---|---|---|---|
{cognito_rows(whole, given)}

Cognito charges for each user, and Vestibule costs money for each sign-in. For 1,000,000 users, both cost the same at {", ".join(f"{even:,.0f} ({name})" for name, even in break_even(whole))} sign-ins a month for each user. All three plans have multi-factor authentication with authenticator apps. Essentials adds passwordless sign-in, codes by e-mail and changes to access tokens. Plus adds threat protection (risk of a sign-in, leaked passwords) and its log. Cognito has no resets by an Administrator under a step-up and no batch exclusion of contacts, and leaves tenants to the application. Vestibule has no self-service sign-up, no codes by mail or text message and no passkeys. Neither price includes labour.

Cognito's prices were entered by hand, from the start of its plans in November 2024. In USD for each MAU they are 0.0055 (up to 100,000), 0.0046 (up to a million) and 0.00325 (above) for Lite, 0.015 for Essentials, and 0.02 for Plus. The first {COGNITO_FREE:,} users are free, except in Plus. Compare the prices with [Amazon's price page](https://aws.amazon.com/cognito/pricing/), and the plans with [Amazon's list of features](https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-sign-in-feature-plans.html).

## Table units of each flow
Each row is one request, unless its name says otherwise. USD is the cost of a million, for table units and the gateway's request only.

| Flow | Round trips | Write units | Read units | USD |
|---|---|---|---|---|"""
    for name, (trips, writes, reads, _) in sorted(flows.items()):
        yield f"| {name} | {trips} | {writes:g} | {reads:g} | {writes * WRITE + reads * READ + GATEWAY:.2f} |"


def main():
    parser = argparse.ArgumentParser(description="Reads the output of the test `costs` and prints docs/cost.md.")
    parser.add_argument("--trip-ms", type=float, default=5)
    parser.add_argument("--hash-ms", type=float, default=34)
    parser.add_argument("--own-ms", type=float, default=2)
    parser.add_argument("--init-ms", type=float, default=100)
    parser.add_argument("--gateway-line", type=int, default=200)
    parser.add_argument("--system-lines", type=int, default=600)
    parser.add_argument("--event-bytes", type=int, default=900)
    parser.add_argument("--instances", type=int, default=5)
    parser.add_argument("--sign-ins", type=int, default=20)
    parser.add_argument("--architecture", choices=sorted(GB_SECOND), default="arm64")
    given = parser.parse_args()
    for part in page(measured(sys.stdin), given):
        print(part)


if __name__ == "__main__":
    main()

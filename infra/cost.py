#!/usr/bin/env python3
"""Turns measured units into dollars: the page docs/cost.md.

    cargo test -p tests --test costs -- --nocapture >target/costs.txt && python3 infra/cost.py <target/costs.txt >docs/cost.md

Units and round trips are what the test counted on the wire; memory sizes are the template's; prices and the times below are
assumptions, each named on the page. `just cost` does the above, `.ci/costs` compares.
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
INVOKED = 0.20  # a million Lambda requests
GB_SECOND = {"arm64": 0.0000133334, "x86_64": 0.0000166667}
LOG_GB = 0.50  # ingested
STORED_GB_MONTH = 0.25  # table storage
BACKED_UP_GB_MONTH = 0.20  # point-in-time recovery
KMS = 3.00  # a million KMS requests
KMS_KEY = 1.00  # a key, a month
REST = 3.50  # a million REST API requests
EVENT = 1.00  # a million events put on a bus of EventBridge
FIREHOSE_GB = 0.029  # taken in by Firehose, each record counted as 5 KB at least
ARCHIVED_GB_MONTH = 0.023  # in S3; 0.004 once it is in Glacier Instant Retrieval
KEYS = 4  # the table's, and three of the functions
# What an instance asks while it lives: a data key is unwrapped anew each five minutes (verify alone), the store's identity is
# read each half minute (RELIED_ON in shared/src/lambda/function.rs), and each of the two functions of a sign-in derives one digest key when it starts.
UNWRAPPED_EACH = 300
IDENTIFIED_EACH = 30
LIVES = 7200
MONTH = 30.4 * 86_400

# Amazon Cognito, user pools, us-east-1: USD for each monthly active user, by how many of them; the first 10,000 of Lite and of
# Essentials are free, for good. Typed by hand, as of the plans' beginning in November 2024.
COGNITO_FREE = 10_000
COGNITO = {
    "Lite": (COGNITO_FREE, [(100_000, 0.0055), (1_000_000, 0.0046), (10_000_000, 0.00325)]),
    "Essentials": (COGNITO_FREE, [(10_000_000, 0.015)]),
    "Plus": (0, [(10_000_000, 0.02)]),
}

SIGN_IN = ("login, right", "verify, right")
KNOWN = ("login, right, known device", "verify, right")
# Round trips that lie beside the hash of the password: the read of the name's owner.
BESIDE = {"login, right": 1, "login, wrong": 1}


def measured(lines):
    """Name of a flow -> round trips, write units, read units, bytes that the function logs."""
    row = re.compile(r"^\.*(.+?) +(\d+) of +\d+ trips +([\d.]+) of +[\d.]+ W +([\d.]+) of +[\d.]+ R +(\d+) B$")
    found = (row.match(line.rstrip()) for line in lines)
    flows = {m[1]: (int(m[2]), float(m[3]), float(m[4]), int(m[5])) for m in found if m}
    missing = {*SIGN_IN, *KNOWN} - flows.keys()
    if missing:
        sys.exit(f"not measured: {sorted(missing)}. Was the test run with --nocapture?")
    return flows


def template():
    return pathlib.Path(__file__).with_name("template.yaml").read_text()


def memory(flow):
    """GB of a function, as the template has it."""
    return int(re.search(rf"CodeUri: \S*/{flow}/bootstrap.zip\s+MemorySize: (\d+)", template())[1]) / 1024


def audit_days():
    """How long audit rows are kept, if the deployment does not say otherwise."""
    return int(re.search(r"AuditRetentionDays:\s+Type: Number\s+Default: (\d+)", template())[1])


def per_million(flows, names, given):
    """What a million of these requests, one after the other, cost, by part."""
    writes, reads, lines = (sum(flows[name][part] for name in names) for part in (1, 2, 3))
    # CloudWatch adds 26 bytes to each line: the function's, the gateway's, and the two of Lambda itself.
    logged = lines + len(names) * (given.gateway_line + given.system_lines + 4 * 26)
    seconds = {}
    for name in names:
        function = name.split(",")[0]
        beside = BESIDE.get(name, 0)
        hashing = max(given.hash_ms, beside * given.trip_ms) if function == "login" else 0
        seconds[function] = ((flows[name][0] - beside) * given.trip_ms + hashing + given.own_ms) / 1000
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
    """What instances ask of KMS and of the store's identity, whatever the traffic, for a million sign-ins a month."""
    unwrapped = given.instances * MONTH / UNWRAPPED_EACH
    derived = 2 * given.instances * MONTH / LIVES
    identified = 2 * given.instances * MONTH / IDENTIFIED_EACH
    started = given.instances * MONTH / LIVES * given.init_ms / 1000 * (memory("login") + memory("verify"))
    return [
        (f"Lambda: {started:,.0f} GB-seconds of starts (INIT)", started * GB_SECOND[given.architecture]),
        (f"KMS: {unwrapped + derived:,.0f} requests", (unwrapped + derived) / 1e6 * KMS),
        (f"the store's identity: {identified:,.0f} reads", identified / 1e6 * READ),
    ]


def cognito(plan, users):
    free, steps = COGNITO[plan]
    cost, below = 0.0, free
    for upto, price in steps:
        cost += max(0, min(users, upto) - below) * price
        below = max(below, upto)
    return cost


def beside_cognito(whole, given):
    """A row for each number of users."""
    rows = []
    for users in (10_000, 100_000, 1_000_000):
        here = users * given.sign_ins / 1e6 * whole + KEYS * KMS_KEY
        plans = " | ".join(f"{cognito(plan, users):,.0f}" for plan in COGNITO)
        rows.append(f"| {users:,} | {users * given.sign_ins:,} | {here:,.0f} | {plans} |")
    return "\n".join(rows)


def evens(whole):
    """How many sign-ins a month each of a million users may have before a plan is cheaper."""
    for plan in COGNITO:
        yield plan, (cognito(plan, 1_000_000) - KEYS * KMS_KEY) / whole


def verdict(total):
    return "it is met" if total <= 10 else f"missed by {total - 10:.2f}"


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

Written by `infra/cost.py` from units that a test counts on the wire; do not edit. To repeat it:

```sh
cargo test -p tests --test costs -- --nocapture >target/costs.txt && python3 infra/cost.py <target/costs.txt >docs/cost.md
```

**A million sign-ins in two steps cost about {whole:.0f} USD, all in all**: {total:.2f} for the sign-ins themselves, {kept(days):.2f} for keeping their audit rows {days} days (`AuditRetentionDays`), {2 * EVENT:.2f} for their events. With the audit kept 400 days it is {total + kept(400) + 2 * EVENT:.2f}. Beside it stand {KEYS * KMS_KEY:.2f} USD a month for {KEYS} KMS keys, however many sign in.

**The sign-ins themselves cost about {round(total):.0f} USD**, {total:.2f} under the assumptions [below](#what-is-measured-and-what-is-assumed): a password hash of {given.hash_ms:g} ms, a round trip to the table of {given.trip_ms:g} ms, starts of functions billed. With round trips of {2 * given.trip_ms:g} ms it is {slow:.2f}; with `SystemLogLevel=WARN`, without Lambda's own lines in the log, {quiet:.2f}; from a known device {total_known:.2f}. Table and gateway are {table_and_gateway:.2f} of it. The goal is 10 USD at most, table, gateway, Lambda, keys and logs: {verdict(total)}, {verdict(quiet)} with `SystemLogLevel=WARN`.

| a million sign-ins in two steps | USD |
|---|---|"""
    for what, cost in full:
        yield f"| {what} | {cost:.2f} |"
    yield f"""| **the sign-ins** | **{total:.2f}** |
| audit rows, {days} days: two of at most a kilobyte, with backups | {kept(days):.2f} |
| events: two on a bus of EventBridge | {2 * EVENT:.2f} |
| **all in all** | **{whole:.2f}** |
| with `AuditArchive=true`: two events through Firehose to S3, kept a year there | {archived:.2f} |

## What is measured and what is assumed
- **Measured**: bytes of the function's log; write and read units, and round trips, over HTTP on an emulator of DynamoDB that counts by Amazon's published rules. It was not compared with a bill.
- **Assumed**: a round trip to the table takes {given.trip_ms:g} ms, a password hash {given.hash_ms:g} ms, everything else {given.own_ms:g} ms a request. None of these was measured on AWS. The gateway's line of a request has {given.gateway_line} bytes, Lambda's own two {given.system_lines} (at `SystemLogLevel` INFO), and CloudWatch adds 26 to each line. A start takes {given.init_ms:g} ms and is billed. An event has {given.event_bytes} bytes. A million sign-ins come in one month, and keep {given.instances} instances of each of the two functions alive all of it, each for {LIVES / 3600:g} hours: more than such traffic needs, as it is {1e6 / MONTH:.1f} sign-ins a second. Change them with `--trip-ms`, `--hash-ms`, `--own-ms`, `--init-ms`, `--gateway-line`, `--system-lines`, `--event-bytes`, `--instances`, `--architecture`.
- **Keys**: a request asks KMS nothing. A function derives each of its digest keys once when it starts (GenerateMac); verify and enable-mfa keep an unwrapped data key for five minutes (Decrypt). What that comes to follows from the instances, not from the sign-ins.
- **Prices**: list prices of us-east-1, {AS_OF}, typed in by hand and not fetched; no free tier, no discount. Compare them with the pages of [DynamoDB](https://aws.amazon.com/dynamodb/pricing/on-demand/), [API Gateway](https://aws.amazon.com/api-gateway/pricing/), [Lambda](https://aws.amazon.com/lambda/pricing/), [CloudWatch](https://aws.amazon.com/cloudwatch/pricing/) and [KMS](https://aws.amazon.com/kms/pricing/) for your region.

| price | USD |
|---|---|
| a million write units; read units | {WRITE:g}; {READ:g} |
| a million requests of an HTTP API; of Lambda | {GATEWAY:.2f}; {INVOKED:.2f} |
| a GB-second on arm64; on x86_64 | {GB_SECOND["arm64"]:.10f}; {GB_SECOND["x86_64"]:.10f} |
| a GB of logs taken in | {LOG_GB:.2f} |
| a GB stored for a month; backed up | {STORED_GB_MONTH:.2f}; {BACKED_UP_GB_MONTH:.2f} |
| a million KMS requests; a key for a month | {KMS:.2f}; {KMS_KEY:.2f} |
| a million requests of a REST API | {REST:.2f} |
| a million events on a bus | {EVENT:.2f} |
| a GB through Firehose; in S3 for a month | {FIREHOSE_GB:g}; {ARCHIVED_GB_MONTH:g} |

Without the function's line for each request (its log level at WARN) the sum is {total - sum(flows[name][3] + 26 for name in SIGN_IN) / 1e3 * LOG_GB:.2f} USD; the gateway's line stays.

## What is not in the sum
- **The function that puts events on the bus**, invoked with up to 100 rows at once. Reading the table's stream is free for Lambda, and so is the rule that hands events to the archive. Firehose counts each event as 5 KB.
- **Refusals** are lines of a metric in the log, of about 200 bytes: {0.226 * LOG_GB:.2f} USD a million. Custom metrics cost 0.30 USD a month each, the dashboard 3 beyond the third of an account, alarms 0.10 each.
- **REST.** With `ApiType=REST` the gateway costs {2 * (REST - GATEWAY):.2f} USD more, {total + 2 * (REST - GATEWAY):.2f} in all.
- **A KMS call for each verify**, without data keys in memory, would be {KMS:.2f} USD more, {total + KMS:.2f} in all.
- **What others run up.** A wrong password costs what the table below says, and a hash; five in a row are evaluated, then delays begin.
- Data that leaves AWS, log storage, metric filters, mails, traces, the index's storage, WAF and domains. The table's own key is asked by DynamoDB every few minutes, whatever the traffic.

## Beside Amazon Cognito
A month, in USD, if each monthly active user (MAU) signs in {given.sign_ins} times in two steps with an authenticator. This side is all of the above and the {KEYS} keys ({whole:.2f} a million sign-ins, with audit rows and events); its free tiers are left out, Cognito's lasting one is in.

| MAU | sign-ins | here | Cognito Lite | Essentials | Plus |
|---|---|---|---|---|---|
{beside_cognito(whole, given)}

Cognito is priced by the user, this by the sign-in: the two cost the same at {", ".join(f"{even:,.0f} ({name})" for name, even in evens(whole))} sign-ins a month for each of 1,000,000 users. All three plans have multi-factor authentication with authenticators; Essentials has in addition passwordless sign-in, codes by e-mail and changes to access tokens, Plus adds threat protection (risk of a sign-in, passwords known from leaks) and its log. Cognito has no resets by an Administrator under a step-up, no exclusion of contacts in batches, and its tenants are a matter of the application; this has no sign-up by users themselves, no codes by mail or text message and no passkeys. Nobody's work is in either price.

Cognito's prices are typed in by hand from its plans' beginning in November 2024, and could not be fetched: per MAU 0.0055 (to 100,000), 0.0046 (to a million) and 0.00325 (beyond) for Lite, 0.015 for Essentials, 0.02 for Plus; the first {COGNITO_FREE:,} free but in Plus. Compare them with [its page](https://aws.amazon.com/cognito/pricing/), and the plans with [theirs](https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-sign-in-feature-plans.html).

## The table's units, each flow
One request each, unless it says otherwise; USD a million, of table units and the gateway's request alone.

| flow | round trips | write units | read units | USD |
|---|---|---|---|---|"""
    for name, (trips, writes, reads, _) in sorted(flows.items()):
        yield f"| {name} | {trips} | {writes:g} | {reads:g} | {writes * WRITE + reads * READ + GATEWAY:.2f} |"


def main():
    parser = argparse.ArgumentParser(description="Reads what the test `costs` prints, writes docs/cost.md.")
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

#!/usr/bin/env python3
"""Turns measured units into dollars: the page docs/cost.md.

    cargo test -p tests --test costs -- --nocapture | python3 infra/cost.py > docs/cost.md

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
AUDIT_DAYS = 400

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


def memory(flow):
    """GB of a function, as the template has it."""
    template = pathlib.Path(__file__).with_name("template.yaml").read_text()
    return int(re.search(rf"CodeUri: \S*/{flow}/bootstrap.zip\s+MemorySize: (\d+)", template)[1]) / 1024


def per_million(flows, names, given):
    """What a million of these requests, one after the other, cost, by part."""
    writes, reads, lines = (sum(flows[name][part] for name in names) for part in (1, 2, 3))
    # CloudWatch adds 26 bytes to each of the two lines.
    logged = lines + len(names) * (given.gateway_line + 2 * 26)
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


def verdict(total):
    return "it is met" if total <= 10 else f"missed by {total - 10:.2f}"


def page(flows, given):
    full, known = per_million(flows, SIGN_IN, given), per_million(flows, KNOWN, given)
    total, total_known = sum(cost for _, cost in full), sum(cost for _, cost in known)
    table_and_gateway = sum(cost for _, cost in full[:3])
    months = AUDIT_DAYS / 30.4
    kept = 2 * months * (STORED_GB_MONTH + BACKED_UP_GB_MONTH)
    yield f"""# What a sign-in costs

Written by `infra/cost.py` from units that a test counts on the wire; do not edit. To repeat it:

```sh
cargo test -p tests --test costs -- --nocapture | python3 infra/cost.py > docs/cost.md
```

**A million sign-ins in two steps: {total:.2f} USD**, of which table and gateway {table_and_gateway:.2f}. From a known device {total_known:.2f} USD. The goal is 10 USD at most: {verdict(total)}.

| a million sign-ins in two steps | USD |
|---|---|"""
    for what, cost in full:
        yield f"| {what} | {cost:.2f} |"
    yield f"""| **sum** | **{total:.2f}** |

## What is measured and what is assumed
- **Measured**: bytes of the function's log; write and read units, and round trips, over HTTP on an emulator of DynamoDB that counts by Amazon's published rules. It was not compared with a bill.
- **Assumed**: a round trip to the table takes {given.trip_ms:g} ms, a password hash {given.hash_ms:g} ms, everything else {given.own_ms:g} ms a request. The gateway's line of a request has {given.gateway_line} bytes, and CloudWatch adds 26 to each line. Change them with `--trip-ms`, `--hash-ms`, `--own-ms`, `--gateway-line`, `--architecture`.
- **Prices**: list prices of us-east-1, {AS_OF}, typed in by hand and not fetched; no free tier, no discount. Compare them with the pages of [DynamoDB](https://aws.amazon.com/dynamodb/pricing/on-demand/), [API Gateway](https://aws.amazon.com/api-gateway/pricing/), [Lambda](https://aws.amazon.com/lambda/pricing/), [CloudWatch](https://aws.amazon.com/cloudwatch/pricing/) and [KMS](https://aws.amazon.com/kms/pricing/) for your region.

| price | USD |
|---|---|
| a million write units; read units | {WRITE:g}; {READ:g} |
| a million requests of an HTTP API; of Lambda | {GATEWAY:.2f}; {INVOKED:.2f} |
| a GB-second on arm64; on x86_64 | {GB_SECOND["arm64"]:.10f}; {GB_SECOND["x86_64"]:.10f} |
| a GB of logs taken in | {LOG_GB:.2f} |
| a GB stored for a month; backed up | {STORED_GB_MONTH:.2f}; {BACKED_UP_GB_MONTH:.2f} |
| a million KMS requests | {KMS:.2f} |

Without the function's line for each request (its log level at WARN) the sum is {total - sum(flows[name][3] + 26 for name in SIGN_IN) / 1e3 * LOG_GB:.2f} USD; the gateway's line stays.

## What is not in the sum
- **Keeping the audit.** A sign-in writes two rows of at most a kilobyte (each costs one unit), kept {AUDIT_DAYS} days: at most {kept:.2f} USD a million sign-ins over that time, with backups.
- **KMS.** Secrets are not sealed by KMS yet. If each verify asked KMS once, that would be {KMS:.2f} USD more, {total + KMS:.2f} in all. The table's own key is asked by DynamoDB every few minutes, whatever the traffic, and costs by the month.
- **What others run up.** A wrong password costs what the table below says, and a hash; five in a row are evaluated, then delays begin.
- Starts of functions, data that leaves AWS, log storage, alarms, metric filters, reading the table's stream (nothing does yet), the index's storage, WAF and domains.

## The table's units, each flow
One request each, unless it says otherwise; USD a million, of table units and the gateway's request alone.

| flow | round trips | write units | read units | USD |
|---|---|---|---|---|"""
    for name, (trips, writes, reads, _) in sorted(flows.items()):
        yield f"| {name} | {trips} | {writes:g} | {reads:g} | {writes * WRITE + reads * READ + GATEWAY:.2f} |"


def main():
    parser = argparse.ArgumentParser(description="Reads what the test `costs` prints, writes docs/cost.md.")
    parser.add_argument("--trip-ms", type=float, default=5)
    parser.add_argument("--hash-ms", type=float, default=30)
    parser.add_argument("--own-ms", type=float, default=2)
    parser.add_argument("--gateway-line", type=int, default=200)
    parser.add_argument("--architecture", choices=sorted(GB_SECOND), default="arm64")
    given = parser.parse_args()
    for part in page(measured(sys.stdin), given):
        print(part)


if __name__ == "__main__":
    main()

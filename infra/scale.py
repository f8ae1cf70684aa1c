#!/usr/bin/env python3
"""What limits, at how many users: the page docs/scale.md, from the same measured units as docs/cost.md.

    cargo test -p tests --test costs -- --nocapture >target/costs.txt && python3 infra/scale.py <target/costs.txt >docs/scale.md

Quotas are Amazon's defaults, typed in by hand; sizes and times are assumptions, each named on the page.
"""

import argparse
import math
import sys

import cost

# Amazon's limits and defaults, November 2026, typed in by hand and not fetched.
ITEM_WRITES = 1_000  # write units a second, of one partition and so of one item: no quota, it cannot be raised
TABLE_UNITS = 40_000  # write (and read) units a second, of one table on demand
FRESH_TABLE = 4_000  # write units a second that a new table takes at once
CONCURRENCY = 1_000  # Lambda, an account in a region
GATEWAY = 10_000  # requests a second, an account in a region
KMS = 10_000  # symmetric operations and MACs a second, together; more in some regions
PUT_EVENTS = 10_000  # events a second in the largest regions; far fewer in others
PARTITION_GB = 10

# The code's (shared/src/policy.rs, shared/src/audit.rs, shared/src/store/batch.rs) and the template's.
FREE, DOUBLINGS, LONGEST = 5, 10, 900
SHARDS = 4
GROUP = 20
STAGE_RATE = 1_000
LOGIN_CONCURRENCY = 50

USERS = (10**6, 10**8, 10**9)


def guesses_a_day():
    """Passwords of one name that are evaluated in a day, whoever sends how many."""
    seconds, guesses = 0, FREE
    for n in range(DOUBLINGS):
        seconds, guesses = seconds + 2**n, guesses + 1
    return guesses + (86_400 - seconds) // LONGEST


def large(number):
    for size, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {name}"
    return f"{number:.3g}"


def over(number, quota):
    return f"{large(number)} ({number / quota:.2g} ×)"


def seconds_of(flows, name, given):
    beside = cost.BESIDE.get(name, 0)
    hashing = max(given.hash_ms, beside * given.trip_ms) if name.startswith("login") else 0
    return ((flows[name][0] - beside) * given.trip_ms + hashing + given.own_ms) / 1000


def at(users, flows, given):
    """The rows of the table, for so many users."""
    mean = users * given.sign_ins_a_day / 86_400
    peak = mean * given.peak
    login, verify = (seconds_of(flows, name, given) for name in cost.SIGN_IN)
    writes = sum(flows[name][1] for name in cost.SIGN_IN)
    reads = sum(flows[name][2] for name in cost.SIGN_IN)
    instances = math.ceil(peak * login), math.ceil(peak * verify)
    rows_kept = users * given.sign_ins_a_day * 2 * cost.audit_days()
    people, audit = users * given.person_kb / 1e6, rows_kept * given.row_kb / 1e6
    partitions = max(math.ceil(peak * writes / ITEM_WRITES), math.ceil((people + audit) / PARTITION_GB))
    return {
        "sign-ins a second, mean; peak": f"{large(mean)}; {large(peak)}",
        "write units a second at the peak": over(peak * writes, TABLE_UNITS),
        "read units a second": over(peak * reads, TABLE_UNITS),
        "requests a second of the gateway": over(2 * peak, GATEWAY),
        "logins at once (argon2)": over(instances[0], CONCURRENCY),
        "verifies at once": over(instances[1], CONCURRENCY),
        "KMS a second, while instances live": over(instances[1] / cost.UNWRAPPED_EACH + sum(instances) / cost.LIVES, KMS),
        "KMS a second, if all start within a minute": over((sum(instances) + instances[1]) / 60, KMS),
        "events a second": over(2 * peak, PUT_EVENTS),
        "people, GB": large(people),
        f"audit rows of {cost.audit_days()} days, GB": large(audit),
        "partitions, and shards of the stream, at least": large(partitions),
        "storage with backups, USD a month": large((people + audit) * (cost.STORED_GB_MONTH + cost.BACKED_UP_GB_MONTH)),
    }


def page(flows, given):
    columns = [at(users, flows, given) for users in USERS]
    login, verify = (seconds_of(flows, name, given) for name in cost.SIGN_IN)
    delayed, wrong = flows["login, delayed"], flows["login, wrong"]
    slow = seconds_of(flows, "login, right", given)
    refused_seconds = (delayed[0] * given.trip_ms + given.own_ms) / 1000
    batch = flows["batch of two groups"]
    trips_a_group = (batch[0] - 1) / 2
    groups_a_second = 1000 / (trips_a_group * given.trip_ms)
    contact_writes = batch[1] / (2 * GROUP)
    peak_for = lambda quota, units: quota / units / given.peak * 86_400 / given.sign_ins_a_day
    sign_in_writes = sum(flows[name][1] for name in cost.SIGN_IN)
    yield f"""# What limits, at how many users

Written by `infra/scale.py` from units that a test counts on the wire; do not edit. To repeat it:

```sh
cargo test -p tests --test costs -- --nocapture >target/costs.txt && python3 infra/scale.py <target/costs.txt >docs/scale.md
```

Nothing here was seen under load. It is measured units times assumed traffic, held against Amazon's limits: it says where to look first, and what to ask for before the users come.

- **Traffic**: {given.sign_ins_a_day:g} sign-in in two steps for each user and day, the peak {given.peak:g} times the mean (`--sign-ins-a-day`, `--peak`).
- **Times**: a round trip {given.trip_ms:g} ms, a password hash {given.hash_ms:g} ms on the one vCPU that 1,769 MB buy, everything else {given.own_ms:g} ms: {1000 * login:g} ms a login, {1000 * verify:g} ms a verify.
- **Sizes**: {given.person_kb:g} KB for a person's items and their index, {given.row_kb:g} KB for an audit row (`--person-kb`, `--row-kb`). A sign-in leaves two rows, kept {cost.audit_days()} days.
- **Limits** are Amazon's defaults for one account in one region, typed in by hand and not fetched ({cost.AS_OF}). In brackets how many times the default that is: over 1 × it has to be raised first. All can be but the partition's.

| users | {" | ".join(f"{users:,}" for users in USERS)} | default |
|---|{"---|" * len(USERS)}---|"""
    quotas = {
        "write units a second at the peak": TABLE_UNITS,
        "read units a second": TABLE_UNITS,
        "requests a second of the gateway": GATEWAY,
        "logins at once (argon2)": CONCURRENCY,
        "verifies at once": CONCURRENCY,
        "KMS a second, while instances live": KMS,
        "KMS a second, if all start within a minute": KMS,
        "events a second": PUT_EVENTS,
    }
    for name in columns[0]:
        quota = f"{quotas[name]:,}" if name in quotas else ""
        yield f"| {name} | {' | '.join(column[name] for column in columns)} | {quota} |"
    first = sorted(
        (
            (peak_for(TABLE_UNITS, sign_in_writes), "the table's write units"),
            (peak_for(GATEWAY, 2), "the gateway's requests"),
            (peak_for(CONCURRENCY, login + verify), "concurrent functions"),
            (peak_for(PUT_EVENTS, 2), "events on the bus"),
            (peak_for(STAGE_RATE, 2), "the stage's throttle (template)"),
            (peak_for(LOGIN_CONCURRENCY, login), "`LoginConcurrency=50` (if given)"),
            (peak_for(FRESH_TABLE, sign_in_writes), "what a new table takes at once"),
        )
    )
    yield f"""
**In the order in which they come**, with users at which the peak reaches them: {"; ".join(f"{what} at {large(users)}" for users, what in first)}. The two of the template are there to bound a bill, and are raised with a parameter or a line; a new table grows by itself, and can be warmed before.

## One name under attack
Each try on a name writes its password counter, an item that no sign-in of a known device and no second factor touches. One item takes {ITEM_WRITES:,} write units a second, and a try that comes too early costs {delayed[1]:g} ({delayed[0]} round trip, no hash): **at {ITEM_WRITES / delayed[1]:,.0f} tries a second on one name DynamoDB throttles that item**, and a throttled try is denied (503). Before that the stage's throttle of {STAGE_RATE:,} requests a second is met, and {LOGIN_CONCURRENCY} logins at once, {refused_seconds * 1000:g} ms each, let {LOGIN_CONCURRENCY / refused_seconds:,.0f} of them through a second.

How many come does not matter to the name: {guesses_a_day()} passwords of it are evaluated in a day, on the first day, and {86_400 // LONGEST} on each day after. Others are untouched, since each has an item of their own, but for what all share: the concurrency of login, which an attack on many names at once can use up, and the audit below.

A wrong password that is evaluated costs {wrong[1]:g} write units and a hash of {given.hash_ms:g} ms. {LOGIN_CONCURRENCY} at once hash {LOGIN_CONCURRENCY / slow:,.0f} passwords a second, whoever sends them. An attacker with {LOGIN_CONCURRENCY / slow:,.0f} fresh names a second keeps everybody else from a login; the answer to that is a web application firewall (`ApiType=REST`), not this table.

## One tenant
- **Its audit** is written to {SHARDS} partitions a month, by the person: {SHARDS * ITEM_WRITES:,} write units a second for one tenant, if its people are spread evenly. A row in a sign-in's transaction costs two: about {SHARDS * ITEM_WRITES / 4:,.0f} sign-ins a second, which is a tenant of {large(SHARDS * ITEM_WRITES / 4 / given.peak * 86_400 / given.sign_ins_a_day)} users. Then one tenant's sign-ins are denied at its peak; `SHARDS` in `shared/src/audit.rs` is the number to raise, before there are rows.
- **A batch** of 1,000 contacts writes {1000 * contact_writes:,.0f} units: {contact_writes:.2g} a contact, in transactions of {GROUP}, one after the other. At {given.trip_ms:g} ms a trip that is {groups_a_second:,.0f} groups and {groups_a_second * GROUP * contact_writes:,.0f} units a second, each contact's on an item of its own; the item that all groups of a batch write, its own, sees {groups_a_second:,.0f} writes a second of the {ITEM_WRITES:,} that it may.
- **Administrators** are one item of the tenant, written when one is made, changed or reset, and by no sign-in.
- **The list of its people** is one partition of the index. People are made at up to {ITEM_WRITES:,} a second in it.

## Table, stream and keys
- **Partitions** follow from what is stored, {PARTITION_GB} GB each, and nearly all of it is audit: at each of these sizes what is kept decides, not what is written. Each partition has a shard of the stream, and each shard that has something to say is one call of audit-events at a time. Keeping fewer days in the table, and the rest where the events go, is the way out; it is not built.
- **KMS** is asked when an instance starts, and by verify each {cost.UNWRAPPED_EACH // 60} minutes while it lives; no other request waits for it. What limits is a start of all at once, as after a deployment.
- **Argon2** is {given.hash_ms / 1000 / login:.0%} of a login's time. A cheaper hash would be a cheaper table of passwords for whoever steals it.

## A second region
The template is one region. What a second one would cost is not money but guarantees:

- **A global table decides by the last writer**, and replicates in about a second. Each guard of this store is a condition on one item *in one region*: a code, a recovery token, a reset code, a support ticket could each win **in two regions at once**, and the last try of five be taken twice. That is what this product is there to exclude.
- **Global tables with strong consistency** (three regions) know no transactions, which sign-in, enrolment and reset are made of.
- **So a tenant has one home region**: every write and every consistent read of a tenant goes there, and its people are denied while that region is away. Regions beside each other, each with tenants of its own, need nothing but this template twice. They share nothing: KMS keys and names' digests are of one region.
- **Failing over** a tenant is a restore: another table, from a copy that may lack the last minutes, and the restore epoch raised ([deploy.md](deploy.md))."""


def main():
    parser = argparse.ArgumentParser(description="Reads what the test `costs` prints, writes docs/scale.md.")
    parser.add_argument("--sign-ins-a-day", type=float, default=1)
    parser.add_argument("--peak", type=float, default=5)
    parser.add_argument("--trip-ms", type=float, default=5)
    parser.add_argument("--hash-ms", type=float, default=34)
    parser.add_argument("--own-ms", type=float, default=2)
    parser.add_argument("--person-kb", type=float, default=3)
    parser.add_argument("--row-kb", type=float, default=1)
    given = parser.parse_args()
    for part in page(cost.measured(sys.stdin), given):
        print(part)


if __name__ == "__main__":
    main()

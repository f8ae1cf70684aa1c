#!/usr/bin/env python3
"""Computes which limits a deployment reaches at how many users, and prints the page docs/scale.md.

    cargo test -p tests --test costs -- --nocapture >target/costs.txt && python3 infra/scale.py <target/costs.txt >docs/scale.md

It uses the same measured units as docs/cost.md. Quotas are Amazon's defaults, entered by hand. Sizes and times are assumptions;
the page names each of them.
"""

import argparse
import math
import sys

import cost

# Amazon's limits and default quotas, November 2026, entered by hand.
ITEM_WRITES = 1_000  # write units a second of one partition, and so of one item; a fixed limit, not a quota
TABLE_UNITS = 40_000  # write units (and read units) a second of one on-demand table
FRESH_TABLE = 4_000  # write units a second that a new table accepts immediately
CONCURRENCY = 1_000  # concurrent Lambda executions of an account in a region
GATEWAY = 10_000  # requests a second of an account in a region
KMS = 10_000  # symmetric operations and MACs a second in total; more in some regions
PUT_EVENTS = 10_000  # events a second in the largest regions; far fewer in others
PARTITION_GB = 10

# Constants of the code (shared/src/policy.rs, shared/src/audit.rs, shared/src/store/batch.rs) and of the template.
FREE, DOUBLINGS, LONGEST = 5, 10, 900
SHARDS = 4
GROUP = 20
STAGE_RATE = 1_000
LOGIN_CONCURRENCY = 50

USERS = (10**6, 10**8, 10**9)


def attempts_on_first_day():
    """Passwords for one login name that are evaluated on the first day, for any number of requests."""
    seconds, attempts = 0, FREE
    for n in range(DOUBLINGS):
        seconds, attempts = seconds + 2**n, attempts + 1
    return attempts + (86_400 - seconds) // LONGEST


def large(number):
    for size, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {name}"
    return f"{number:.3g}"


def over(number, quota):
    return f"{large(number)} ({number / quota:.2g} ×)"


def seconds_of(flows, name, given):
    parallel = cost.PARALLEL.get(name, 0)
    hashing = max(given.hash_ms, parallel * given.trip_ms) if name.startswith("login") else 0
    return ((flows[name][0] - parallel) * given.trip_ms + hashing + given.own_ms) / 1000


def at(users, flows, given):
    """The rows of the table for this number of users."""
    mean = users * given.sign_ins_a_day / 86_400
    peak = mean * given.peak
    login, verify = (seconds_of(flows, name, given) for name in cost.SIGN_IN)
    writes = sum(flows[name][1] for name in cost.SIGN_IN)
    reads = sum(flows[name][2] for name in cost.SIGN_IN)
    instances = math.ceil(peak * login), math.ceil(peak * verify)
    rows_kept = users * given.sign_ins_a_day * 2 * cost.audit_days()
    stored, audit = users * given.user_kb / 1e6, rows_kept * given.row_kb / 1e6
    partitions = max(math.ceil(peak * writes / ITEM_WRITES), math.ceil((stored + audit) / PARTITION_GB))
    return {
        "sign-ins a second: mean; peak": f"{large(mean)}; {large(peak)}",
        "write units a second at the peak": over(peak * writes, TABLE_UNITS),
        "read units a second at the peak": over(peak * reads, TABLE_UNITS),
        "gateway requests a second at the peak": over(2 * peak, GATEWAY),
        "concurrent logins (Argon2)": over(instances[0], CONCURRENCY),
        "concurrent verifications": over(instances[1], CONCURRENCY),
        "KMS calls a second, while instances run": over(instances[1] / cost.UNWRAPPED_EACH + sum(instances) / cost.LIVES, KMS),
        "KMS calls a second, if all start within a minute": over((sum(instances) + instances[1]) / 60, KMS),
        "events a second at the peak": over(2 * peak, PUT_EVENTS),
        "users, GB": large(stored),
        f"audit rows of {cost.audit_days()} days, GB": large(audit),
        "partitions and stream shards, at least": large(partitions),
        "storage with backups, USD a month": large((stored + audit) * (cost.STORED_GB_MONTH + cost.BACKED_UP_GB_MONTH)),
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
    yield f"""# Which limits a deployment reaches, and at how many users

`infra/scale.py` generates this page from units that a test counts on the wire; do not edit it. To repeat it:

<!-- not run: CI has a step for it, .ci/costs -->
```sh
cargo test -p tests --test costs -- --nocapture >target/costs.txt && python3 infra/scale.py <target/costs.txt >docs/scale.md
```

Nothing on this page was measured under load. The figures are measured units, multiplied by assumed traffic and compared with Amazon's limits. They show which limits to check first, and which quotas to raise before the users arrive.

- **Traffic**: {given.sign_ins_a_day:g} two-step sign-in for each user and day; the peak is {given.peak:g} times the mean (`--sign-ins-a-day`, `--peak`).
- **Times**: a round trip takes {given.trip_ms:g} ms, a password hash {given.hash_ms:g} ms on one vCPU (1,769 MB), and everything else {given.own_ms:g} ms. A login then takes {1000 * login:g} ms, a verification {1000 * verify:g} ms.
- **Sizes**: {given.user_kb:g} KB for a user's items and their index, {given.row_kb:g} KB for an audit row (`--user-kb`, `--row-kb`). A sign-in writes two rows, which are kept for {cost.audit_days()} days.
- **Limits** are Amazon's defaults for one account in one region, entered by hand ({cost.AS_OF}). The number in parentheses is the ratio to the default. Above 1 ×, the quota has to be raised first. All quotas can be raised, except the limit of a partition.

| Users | {" | ".join(f"{users:,}" for users in USERS)} | Default |
|---|{"---|" * len(USERS)}---|"""
    quotas = {
        "write units a second at the peak": TABLE_UNITS,
        "read units a second at the peak": TABLE_UNITS,
        "gateway requests a second at the peak": GATEWAY,
        "concurrent logins (Argon2)": CONCURRENCY,
        "concurrent verifications": CONCURRENCY,
        "KMS calls a second, while instances run": KMS,
        "KMS calls a second, if all start within a minute": KMS,
        "events a second at the peak": PUT_EVENTS,
    }
    for name in columns[0]:
        quota = f"{quotas[name]:,}" if name in quotas else ""
        yield f"| {name} | {' | '.join(column[name] for column in columns)} | {quota} |"
    first = sorted(
        (
            (peak_for(TABLE_UNITS, sign_in_writes), "write units of the table"),
            (peak_for(GATEWAY, 2), "requests of the gateway"),
            (peak_for(CONCURRENCY, login + verify), "concurrent executions"),
            (peak_for(PUT_EVENTS, 2), "events on the bus"),
            (peak_for(STAGE_RATE, 2), "throttle of the gateway's stage (template)"),
            (peak_for(LOGIN_CONCURRENCY, login), "`LoginConcurrency=50` (if set)"),
            (peak_for(FRESH_TABLE, sign_in_writes), "write units of a new table"),
        )
    )
    yield f"""
**The limits in order**, with the number of users at which the peak reaches each: {"; ".join(f"{what} at {large(users)}" for users, what in first)}. The throttle of the stage and `LoginConcurrency` limit the bill. To raise them, change a line of the template and a parameter. The capacity of a new table grows automatically, and you can warm the table before.

## One login name under attack
Each attempt on a login name writes its password counter. Sign-ins from a known device and second factors do not use this item. One item accepts {ITEM_WRITES:,} write units a second, and an attempt that comes too early costs {delayed[1]:g} ({delayed[0]} round trip, no hash). **At {ITEM_WRITES / delayed[1]:,.0f} attempts a second on one login name, DynamoDB throttles this item**, and a throttled attempt is denied (503). At that rate the stage's throttle of {STAGE_RATE:,} requests a second also applies. `LoginConcurrency={LOGIN_CONCURRENCY}` does not: at {refused_seconds * 1000:g} ms each, {LOGIN_CONCURRENCY} concurrent logins handle {LOGIN_CONCURRENCY / refused_seconds:,.0f} such attempts a second.

The number of requests does not change how many passwords Vestibule evaluates for a login name: {attempts_on_first_day()} on the first day, and {86_400 // LONGEST} on each following day. Other users are not affected, because each has a separate item. They share only the concurrency of login, which an attack on many login names can use up, and the audit (see below).

A wrong password that is evaluated costs {wrong[1]:g} write units and a hash of {given.hash_ms:g} ms. With `LoginConcurrency={LOGIN_CONCURRENCY}`, login hashes {LOGIN_CONCURRENCY / slow:,.0f} passwords a second in total. An attacker who uses {LOGIN_CONCURRENCY / slow:,.0f} new login names a second blocks all other logins. Use a web application firewall against this (`ApiType=REST`, or CloudFront).

## One tenant
- **The audit** of a tenant is written to {SHARDS} partitions a month, chosen by the user. One tenant can write {SHARDS * ITEM_WRITES:,} units a second, if its users are distributed evenly. A row in a sign-in's transaction costs two units, so the limit is about {SHARDS * ITEM_WRITES / 4:,.0f} sign-ins a second, which is a tenant of {large(SHARDS * ITEM_WRITES / 4 / given.peak * 86_400 / given.sign_ins_a_day)} users. Above that, the tenant's sign-ins are denied at its peak. To raise the limit, raise `SHARDS` in `shared/src/audit.rs` before the first row is written.
- **A batch** of 1,000 contacts writes {1000 * contact_writes:,.0f} units: {contact_writes:.2g} for each contact, in sequential transactions of {GROUP}. At {given.trip_ms:g} ms for a round trip, these are {groups_a_second:,.0f} groups and {groups_a_second * GROUP * contact_writes:,.0f} units a second, distributed over the contacts' items. All groups of a batch write the batch's item: {groups_a_second:,.0f} writes a second of the allowed {ITEM_WRITES:,}.
- **Administrators** are one item of the tenant. A creation, change or reset of an Administrator writes it. No sign-in does, except a sign-in by SSO whose groups change the role.
- **The list of users** of a tenant is one partition of the index. It accepts up to {ITEM_WRITES:,} new users a second.

## Table, stream and keys
- **Partitions** hold {PARTITION_GB} GB each, and nearly all of the data is audit. At each of these sizes the stored data, not the write rate, determines their number. Each partition has a shard of the stream, and each shard with new records is one concurrent invocation of audit-events. To have fewer partitions, lower `AuditRetentionDays` and keep the events in an archive (`AuditArchive`).
- **KMS** is called when an instance starts, and every {cost.UNWRAPPED_EACH // 60} minutes by each instance of verify. No other request waits for it. The peak is a simultaneous start of all instances, such as after a deployment.
- **Argon2** takes {given.hash_ms / 1000 / login:.0%} of a login's time. A cheaper hash would make stolen password hashes cheaper to break.

## A second region
The template deploys one region. A second region would weaken guarantees:

- **In a global table the last writer wins**, and replication takes about a second. Each rule of this store is a condition on one item *in one region*. A code, a recovery token, a reset code or a support ticket could be accepted **in two regions at once**, and the last of five attempts could be used twice. Vestibule exists to prevent this.
- **Global tables with strong consistency** (three regions) do not support transactions, which sign-in, enrolment and reset need.
- **So a tenant has one home region.** Every write and every consistent read of the tenant goes there, and its users are denied while that region is unavailable. To use several regions, each with its own tenants, deploy this template in each. The regions share nothing: KMS keys and digests of login names belong to one region.
- **Failover** of a tenant is a restore: another table, from a copy that may lack the last minutes, and a raised restore epoch ([deploy.md](deploy.md#restoring-the-table))."""


def main():
    parser = argparse.ArgumentParser(description="Reads the output of the test `costs` and prints docs/scale.md.")
    parser.add_argument("--sign-ins-a-day", type=float, default=1)
    parser.add_argument("--peak", type=float, default=5)
    parser.add_argument("--trip-ms", type=float, default=5)
    parser.add_argument("--hash-ms", type=float, default=34)
    parser.add_argument("--own-ms", type=float, default=2)
    parser.add_argument("--user-kb", type=float, default=3)
    parser.add_argument("--row-kb", type=float, default=1)
    given = parser.parse_args()
    for part in page(cost.measured(sys.stdin), given):
        print(part)


if __name__ == "__main__":
    main()

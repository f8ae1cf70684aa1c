// Signs a user in with a client that is generated from the API document: first an enrolment, then a sign-in with a code. If it
// compiles, the document contains what a client needs; if it runs, the service agrees with the document.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import createClient from "openapi-fetch";
import type { components, operations, paths } from "./api.js";

const url = process.argv[2];
assert(url, "usage: client.js URL");
const api = createClient<paths>({ baseUrl: url });
const credentials = { tenant: "acme", username: "ann", password: "seven green lamps" };
const bearer = (token: string) => ({ headers: { Authorization: `Bearer ${token}` } });

/** The answer of a request that has to succeed. */
function answer<T>(result: { data?: T; error?: components["schemas"]["Problem"]; response: Response }): T {
  assert(result.data !== undefined, `${result.response.status} ${JSON.stringify(result.error)}`);
  return result.data;
}

/** The code of a secret in base32 at a time in seconds (RFC 6238). */
function totp(secret: string, seconds: number): string {
  const bits = [...secret.replaceAll(" ", "")].map((c) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(c));
  const text = bits.map((value) => value.toString(2).padStart(5, "0")).join("");
  const key = Buffer.from((text.match(/.{8}/g) ?? []).map((byte) => Number.parseInt(byte, 2)));
  const step = Buffer.alloc(8);
  step.writeBigUInt64BE(BigInt(Math.floor(seconds / 30)));
  const digest = createHmac("sha1", key).update(step).digest();
  const number = digest.readUInt32BE(digest.readUInt8(19) & 15) & 0x7fffffff;
  return (number % 1_000_000).toString().padStart(6, "0");
}

// The first sign-in enrols an authenticator.
const first = answer(await api.POST("/v1/login", { body: credentials }));
assert(first.status === "enrolment_required");
const enrolling = bearer(first.enrolment.token);
const { secret } = answer(await api.POST("/v1/mfa/enrolments", { ...enrolling, body: {} }));
const enrolledAt = Date.now() / 1000;
const confirmed = answer(
  await api.POST("/v1/mfa/enrolments/confirm", { ...enrolling, body: { code: totp(secret, enrolledAt) } }),
);
assert.equal(confirmed.user.mfa, "active");

// The session lists users, typed as in the document.
const session = bearer(confirmed.session.token);
const users: components["schemas"]["UserDto"][] = answer(
  await api.GET("/v1/admin/users", { ...session, params: { query: { kind: "employee", limit: 10 } } }),
).items;
assert.deepEqual(users.map((user) => user.username), ["ann"]);
const events = answer(await api.GET("/v1/admin/audit", session)).items;
const enrolled: components["schemas"]["Action"] = "factor.activated";
assert(events.some((event) => event.action === enrolled && event.actor === confirmed.user.id));
const ended = await api.DELETE("/v1/session", session);
assert.equal(ended.response.status, 204);

// The second sign-in needs the code of the next time step, because each code works once.
const second = answer(await api.POST("/v1/login", { body: credentials }));
assert(second.status === "mfa_required");
assert.deepEqual(second.challenge.methods, ["totp", "recovery_token"]);
const signedIn = answer(
  await api.POST("/v1/verify", { ...bearer(second.challenge.token), body: { code: totp(secret, enrolledAt + 30) } }),
);
const current = answer(await api.GET("/v1/session", bearer(signedIn.session.token)));
assert.deepEqual(current.session.amr, ["pwd", "otp"]);

// A refusal is a problem with a code from a closed set.
const refused = await api.POST("/v1/login", { body: { ...credentials, password: "another" } });
assert(refused.error?.code === "invalid_credentials");

// Values that the document does not allow do not compile.
// @ts-expect-error an optional field is absent, never null
const nothing: operations["login"]["requestBody"]["content"]["application/json"]["device_token"] = null;
// @ts-expect-error no such action
const unknown: components["schemas"]["Action"] = "user.forgotten";
assert(nothing === null && unknown);

console.log(`${signedIn.user.display_name} is signed in by ${current.session.amr.join(" and ")}`);

// The journeys of people by clicking, on the demo users: pages.mjs URL with|without TENANT

import { start } from "./browser.mjs";

const [url, scripts, tenant] = [process.argv[2], process.argv[3] === "with", process.argv[4]];
const PASSWORDS = {
  ann: "ann waters 9 blue ferns", bob: "bob bakes 6 rye loaves", con1: "con1 counts 3 grey geese", op: "op sorts 7 brass keys",
};
const { person, finish } = await start(url, scripts);

// P4, P5, P6: a new user signs in, sets up the authenticator, and saves a recovery token.
const bob = await person();
await bob.open("/");
await bob.see("Sign in", "login");
await bob.press("Sign in");
await bob.see("Sign in", "login-empty");
await bob.fill({ tenant, username: "bob", password: "wrong" });
await bob.press("Sign in");
await bob.see("Sign in", "login-wrong");
await bob.signIn(tenant, "bob", PASSWORDS.bob);
await bob.see("Set up your authenticator app", "enroll");
await bob.enrol();
await bob.see("Scan this QR code with your app", "enroll-qr");
await bob.fill({ code: "000000" });
await bob.press("Confirm");
await bob.see("Enter the code that the app shows", "enroll-wrong");
await bob.confirm();
await bob.see("Save a recovery token", "enroll-token");
await bob.press("Show a new recovery token");
await bob.see("Your recovery token", "token");
const token = await bob.text("p.secret");
await bob.page.getByLabel("I have saved the recovery token").check();
await bob.press("Continue");
await bob.see("My settings", "settings");
await bob.open("/settings/sessions");
await bob.see("Where you are signed in", "sessions");
await bob.press("Sign out");
await bob.see("Sign in", "login-after-logout");
await bob.page.goBack();
await bob.see("Sign in", "back-after-logout");

// A code, with mistakes on the way.
await bob.signIn(tenant, "bob", PASSWORDS.bob);
await bob.see("Enter your code", "verify");
await bob.fill({ code: "12" });
await bob.press("Sign in");
await bob.see("Enter your code", "verify-malformed");
for (const state of ["verify-wrong", "verify-wrong-twice"]) {
  await bob.fill({ code: "000000" });
  await bob.press("Sign in");
  await bob.see("Enter your code", state);
}
const code = await bob.code();
await bob.fill({ code: `${code.slice(0, 3)} ${code.slice(3)}` });
await bob.press("Sign in");
await bob.see("My settings", "settings-with-token");

// P7: a lost phone, with a recovery token.
const phoneless = await person();
await phoneless.signIn(tenant, "bob", PASSWORDS.bob);
await phoneless.follow("Use a recovery token instead");
await phoneless.see("Enter your recovery token", "verify-recovery");
await phoneless.fill({ recovery_token: "wrong" });
await phoneless.press("Sign in");
await phoneless.see("Enter your recovery token", "verify-recovery-wrong");
await phoneless.fill({ recovery_token: token });
await phoneless.press("Sign in");
await phoneless.see("Get a recovery token", "token-used");
await phoneless.open("/enroll");
await phoneless.see("Replace your authenticator app", "enroll-replace");
await phoneless.open("/settings/sessions");
await phoneless.see("Where you are signed in", "sessions-two");

// Other states of these pages.
await bob.open("/step-up?return_to=/settings/security");
await bob.see("Confirm that it is you", "step-up");
await bob.open(`/login?tenant=${tenant}`);
await bob.see("Sign in", "login-without-sso");
await bob.open("/nothing");
await bob.see("This did not work", "not-found");
await bob.open("/logout");
await bob.see("Sign out", "logout");
// By the keyboard alone: the first key leads past the header, and Enter sends the form.
const keys = await person();
await keys.open("/login");
await keys.page.keyboard.press("Tab");
if ((await keys.page.evaluate(() => document.activeElement.getAttribute("href"))) !== "#main") keys.faults.push("the first link does not skip to the content");
await keys.page.keyboard.press("Enter");
for (const text of [tenant, "con1", PASSWORDS.con1]) {
  do await keys.page.keyboard.press("Tab");
  while (!(await keys.page.evaluate(() => document.activeElement.matches("main input"))));
  await keys.page.keyboard.type(text);
}
await keys.page.keyboard.press("Enter");
await keys.page.waitForURL(/enroll/);
await keys.see("Set up your authenticator app", "enroll-contact");
const german = await person();
await german.open("/login?lang=de");
await german.see("Anmelden", "login-german");

// A forgotten password, and a link that does not work any more.
const stranger = await person();
await stranger.open("/password/forgot");
await stranger.see("Forgot your password?", "forgot");
await stranger.press("Send the mail");
await stranger.see("Forgot your password?", "forgot-empty");
await stranger.fill({ tenant, username: "bob" });
await stranger.press("Send the mail");
await stranger.see("Look into your mail", "forgot-sent");
await stranger.open("/password/reset?token=vp_old");
await stranger.see("This link does not work", "link-ended");

await finish();

// The work of Administrators, support and invited users by clicking, on the demo users:
// administration.mjs URL with|without TENANT MAILS IDP OPERATOR. MAILS is the file with the mails, IDP the URL of the identity
// provider for development, and OPERATOR the username of an operator who has not enrolled yet.

import { readFileSync } from "node:fs";
import { start } from "./browser.mjs";

const [url, scripts, tenant, mails, idp, operator] = [process.argv[2], process.argv[3] === "with", ...process.argv.slice(4)];
const PASSWORDS = {
  ann: "ann waters 9 blue ferns", con2: "con2 paints 8 tall gates", op: "op sorts 7 brass keys",
};
const { person, finish } = await start(url, scripts);
const ann = await person();

/** The link in the last mail to the address with this in its subject. */
async function link(to, subject) {
  for (let wait = 0; wait < 50; wait++) {
    const sent = readFileSync(mails, "utf8").trim().split("\n").map((line) => JSON.parse(line));
    const mail = sent.findLast((one) => one.to === to && one.subject.includes(subject));
    if (mail) {
      const { pathname, search } = new URL(mail.text.match(/https?:[^\s"<]+/)[0]);
      return pathname + search;
    }
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error(`no mail to ${to} about ${subject}`);
}

async function enrol(who) {
  await who.enrol();
  await who.confirm();
  await who.follow("Not now");
}

/** Opens a user by the list. Returns the path of their page. */
async function openUser(username, name) {
  await ann.open(`/admin/users?q=${username}`);
  await ann.follow(name);
  return new URL(ann.page.url()).pathname;
}

/** P9: support finds the sole Administrator, who is locked out, and resets them. Returns the reset code. */
async function supportResets() {
  const op = await person();
  await op.signIn("support", operator, PASSWORDS.op);
  await enrol(op);
  await op.see("My settings", "settings-operator");
  await op.follow("Support");
  await op.see("Support: find a company", "support");
  await op.fill({ q: "none like this" });
  await op.press("Search");
  await op.see("Support: find a company", "support-none");
  await op.open(`/support?q=${tenant}`);
  await op.follow("Acme");
  await op.see(`Users of ${tenant}`, "support-users");
  await op.page.getByRole("link", { name: "Reset Ann Administrator" }).click();
  await op.see("Reset the authenticator of an Administrator", "support-reset");
  await op.press("Reset");
  await op.see("Reset the authenticator of an Administrator", "support-reset-empty");
  await op.fill({ ticket: `T-1001-${tenant}`, reason: "New phone; called back" });
  await op.press("Reset");
  await op.see("Reset code for Ann Administrator", "support-reset-done");
  const code = await op.text("p.secret");
  // The browser keeps nothing of a sent form, so it shows an error of its own.
  await op.page.goBack().catch(() => op.page.waitForURL("chrome-error://**"));
  if ((await op.page.content()).includes(code)) op.faults.push("the browser's history shows the reset code");
  await op.open("/support");
  await op.offersNoWayToTurnMfaOff();
  return code;
}

/** P5: the Administrator enrols with the reset code. */
async function administratorSignsIn(code) {
  await ann.signIn(tenant, "ann", PASSWORDS.ann);
  await ann.see("Set up your authenticator app", "enroll-reset-code");
  await ann.fill({ reset_code: "WRONG-CODE" });
  await ann.press("Show the QR code");
  await ann.see("Set up your authenticator app", "enroll-reset-code-wrong");
  await ann.fill({ reset_code: code });
  await enrol(ann);
}

/** P14: the list of users, and what may be changed of a user. */
async function users() {
  await ann.follow("Users");
  await ann.see("Users", "users");
  await ann.fill({ q: "con" });
  await ann.press("Search");
  await ann.see("Users", "users-found");
  await ann.fill({ q: "nobody" });
  await ann.press("Search");
  await ann.see("Users", "users-none");
  await openUser("ann", "Ann Administrator");
  await ann.see("Ann Administrator", "user-own");
  const bob = await openUser("bob", "Bob Employee");
  await ann.see("Bob Employee", "user");
  await ann.offersNoWayToTurnMfaOff();
  await ann.open(`${bob}?change=role`);
  await ann.see("Change the role of Bob Employee", "change-role");
  await ann.open(`${bob}?change=email`);
  await ann.see("Change the e-mail address of Bob Employee", "change-email");
  await ann.fill({ email: "nothing" });
  await ann.press("Save");
  await ann.see("Change the e-mail address of Bob Employee", "change-email-wrong");
  await ann.open(`${bob}?change=delete`);
  await ann.see("Delete Bob Employee", "delete");
  await ann.open("/admin/users/new");
  await ann.see("New user", "new-user");
  await ann.press("Create the user");
  await ann.see("New user", "new-user-empty");
}

/** An invitation, and what the invited person does. Later the person forgets the password. */
async function invitation() {
  const address = `eve@${tenant}.example`;
  await ann.page.locator("[name=role]").selectOption("standard");
  await ann.fill({ username: "eve", display_name: "Eve <b>Employee</b>", email: address });
  await ann.press("Create the user");
  await ann.see("Eve <b>Employee</b>", "user-invited");
  const eve = await person();
  const invited = await link(address, "account");
  await eve.open(invited);
  await eve.see("Choose a new password", "invitation");
  if (eve.page.url().includes("vp_")) eve.faults.push("the token stays in the address");
  await eve.fill({ new_password: "short" });
  await eve.press("Set the password");
  await eve.see("Choose a new password", "invitation-short");
  await eve.fill({ new_password: "eve reads 5 thick atlases" });
  await eve.press("Set the password");
  await eve.see("Your password is set", "invitation-done");
  await eve.open(invited);
  await eve.fill({ new_password: "eve reads 5 thin pamphlets" });
  await eve.press("Set the password");
  await eve.see("This link does not work", "invitation-used");
  await eve.signIn(tenant, "eve", "eve reads 5 thick atlases");
  await enrol(eve);

  const forgetful = await person();
  await forgetful.open(`/login?tenant=${tenant}`);
  await forgetful.follow("Forgot your password?");
  await forgetful.see("Forgot your password?", "forgot");
  await forgetful.fill({ tenant, username: "eve" });
  await forgetful.press("Send the mail");
  await forgetful.see("Look into your mail", "forgot-sent");
  await forgetful.open(await link(address, "set a new password"));
  await forgetful.fill({ new_password: "eve sells 6 heavy globes" });
  await forgetful.press("Set the password");
  await forgetful.signIn(tenant, "eve", "eve sells 6 heavy globes");
  await forgetful.see("Enter your code", "forgot-next");
  await eve.open("/settings/security");
  await eve.see("Sign in", "signed-out-by-reset");
}

/** P8: an Administrator resets an employee, and another Administrator. */
async function resets() {
  await openUser("bob", "Bob Employee");
  await ann.follow("Reset MFA");
  await ann.see("Reset the MFA of Bob Employee", "reset");
  await ann.press("Reset MFA");
  await ann.see("Reset the MFA of Bob Employee", "reset-empty");
  await ann.fill({ reason: "Lost phone" });
  await ann.press("Reset MFA");
  await ann.see("The MFA of Bob Employee is reset", "reset-done");
  await openUser("amy", "Amy Administrator");
  await ann.follow("Reset MFA");
  await ann.fill({ reason: "Lost phone; called back" });
  await ann.press("Reset MFA");
  await ann.see("The MFA of Amy Administrator is reset", "reset-done-code");
}

/** P10: contacts are excluded in a batch, and included again. */
async function exclusions() {
  await ann.follow("Exclusions");
  await ann.see("Exclusions", "exclusions-empty");
  await ann.follow("Exclude contacts");
  await ann.see("Exclude contacts", "exclude");
  await ann.page.getByLabel("Conrad Contact (con2)").check();
  await ann.page.getByLabel("Consuelo Contact (con3)").check();
  await ann.fill({ reason: "Kiosk terminals" });
  await ann.press("Preview");
  await ann.see("Preview: exclude contacts", "exclude-preview");
  await ann.press("Exclude these contacts");
  await ann.see("Result", "exclude-done");
  await ann.open("/admin/exclusions");
  await ann.see("Exclusions", "exclusions");
  const contact = await person();
  await contact.signIn(tenant, "con2", PASSWORDS.con2);
  await contact.see("My settings", "settings-excluded");
  const [con1, bob] = [await openUser("con1", "Connie Contact"), await openUser("bob", "Bob Employee")];
  const ids = [con1, bob].map((path) => path.split("/").pop());
  await ann.open("/admin/exclusions?change=exclude");
  const buffer = Buffer.from(["id,note", ...ids.map((id) => `${id},x`), "nobody,x", ""].join("\n"));
  await ann.page.locator("[name=csv]").setInputFiles({ name: "contacts.csv", mimeType: "text/csv", buffer });
  await ann.fill({ reason: "From a file" });
  await ann.press("Preview");
  await ann.see("Preview: exclude contacts", "exclude-file");
  await openUser("con2", "Conrad Contact");
  await ann.follow("Include again");
  await ann.see("Include contacts again", "include");
  await ann.fill({ reason: "Kiosk is gone" });
  await ann.press("Preview");
  await ann.press("Include these contacts again");
  await ann.see("Result", "include-done");
  await contact.open("/settings/security");
  await contact.see("Sign in", "signed-out-by-inclusion");
}

async function auditAndSettings() {
  await ann.follow("Audit");
  await ann.see("Audit", "audit");
  await ann.fill({ user: "nobody" });
  await ann.press("Search");
  await ann.see("Audit", "audit-wrong");
  await ann.follow("Settings");
  await ann.see("Settings", "tenant-settings");
  await ann.offersNoWayToTurnMfaOff();
  await ann.fill({ issuer: "Acme & Söhne" });
  await ann.press("Save");
  await ann.see("Settings", "tenant-settings-saved");
}

/** A list of users is imported after a preview. */
async function importUsers() {
  await ann.open("/admin/users");
  await ann.follow("Import users");
  await ann.see("Import users", "import");
  await ann.fill({ rows: "username,role\nnora,standard" });
  await ann.press("Preview");
  await ann.see("Import users", "import-wrong");
  await ann.fill({ rows: [
    "username;display_name;role;email;password;team",
    "nora;Nora Lind;standard;;nora has 5 quiet owls;Sales",
    "ivy;Ivy Moss;portal;ivy@acme.example;;",
    "bob;Bob Again;standard;bob2@acme.example;;",
    "king;King;king;king@acme.example;;",
  ].join("\n") });
  await ann.press("Preview");
  await ann.see("Preview: import users", "import-preview");
  await ann.press("Create 2 users");
  await ann.see("Result of the import", "import-result");
}

/** The Administrator enters their own address and confirms it. */
async function ownAddress() {
  await ann.open("/settings/email");
  await ann.see("E-mail address", "email-none");
  await ann.open("/admin/users?q=ann");
  await ann.page.locator("main table a").first().click();
  await ann.page.locator('a[href$="?change=email"]').click();
  await ann.fill({ email: "ann@acme.example" });
  await ann.press("Save");
  await ann.open("/settings/email");
  await ann.see("E-mail address", "email");
  await ann.press("Send the mail");
  await ann.see("E-mail address", "email-sent");
}

/** The colour and the logo of the company, which a stranger sees too. */
async function brand() {
  await ann.open("/admin/settings");
  await ann.see("Settings", "tenant");
  for (const [color, state] of [["#ffff00", "tenant-wrong-colour"], ["#0b6e4f", "tenant-colour"]]) {
    await ann.fill({ accent_color: color });
    await ann.page.locator('[name="accent_color"]').press("Enter");
    await ann.page.waitForLoadState();
    await ann.see("Settings", state);
  }
  const logo = "iVBORw0KGgoAAAANSUhEUgAAAEAAAAAgAQMAAACYU+zHAAAABlBMVEV6H1z///9sCwEzAAAAUklEQVR42p3PsQ2AMAwF0YtJ4TIFA0RMYjbzaDBZKKxIYCpwdXq/Mvw8hTFcYAVApgtsL9lnuKepYEmEHlFpaVI0SaNG9NDbZJSHLBxQjPPTmxcn9AbnLnRsuwAAAABJRU5ErkJggg==";
  const choose = (name, content) => ann.page.locator('[name="logo[base64]"]').setInputFiles({ name, mimeType: "image/png", buffer: content });
  await choose("logo.svg", Buffer.from("<svg/>"));
  await ann.press("Upload the logo");
  await ann.see("Settings", "tenant-wrong-logo");
  await choose("logo.png", Buffer.from(logo, "base64"));
  await ann.press("Upload the logo");
  await ann.see("Settings", "tenant-logo");
  const width = await ann.page.evaluate(() => document.querySelector(".brand img").naturalWidth);
  if (width !== 64) throw new Error(`the logo is ${width} px wide instead of 64`);
  await ann.open("/settings/security");
  await ann.see("My settings", "settings-colour");
  await ann.open("/admin/users");
  await ann.see("Users", "users-colour");
  const stranger = await person();
  await stranger.open(`/login?tenant=${tenant}`);
  await stranger.see("Sign in", "login-colour");
}

/** P11, P12: a user who moves to an identity provider signs in again, enrols once, and needs no code afterwards. */
async function sso() {
  await ann.follow("Single sign-on (SSO)");
  await ann.see("Single sign-on (SSO)", "sso-none");
  await ann.fill({ metadata_xml: "<none/>" });
  await ann.press("Save");
  await ann.see("Single sign-on (SSO)", "sso-wrong");
  await ann.fill({ metadata_xml: await (await fetch(`${idp}/metadata`)).text() });
  await ann.press("Save");
  await ann.see("Single sign-on (SSO)", "sso");
  // Nobody here has this name yet: it is a refusal, and the page shows what arrived.
  const stranger = await person();
  await stranger.open(`/login?tenant=${tenant}`);
  await stranger.bySso(tenant, "nobody@example.com");
  await stranger.see("This did not work", "sso-not-accepted");
  await ann.open("/admin/sso");
  await ann.see("Single sign-on (SSO)", "sso-refused");
  if (!(await ann.text("main")).includes("nobody@example.com")) ann.faults.push("the page does not show the NameID that arrived");
  await ann.open(`${await openUser("bob", "Bob Employee")}?change=auth_type`);
  await ann.see("Change how Bob Employee signs in", "change-auth-type");
  await ann.page.locator("[name=auth_type]").selectOption("saml_sso");
  await ann.press("Save");
  await ann.see("Bob Employee", "user-sso");
  await ann.open("/admin/sso?remove=true");
  await ann.see("Remove the identity provider", "sso-remove");
  const bob = await person();
  await bob.open(`/login?tenant=${tenant}`);
  await bob.see("Sign in", "login-with-sso");
  await bob.bySso(tenant, "bob");
  await bob.see("Set up your authenticator app", "enroll-sso");
  await enrol(bob);
  await bob.press("Sign out");
  await bob.open(`/login?tenant=${tenant}`);
  await bob.bySso(tenant, "bob");
  await bob.see("My settings", "settings-sso");
}

await administratorSignsIn(await supportResets());
await users();
await invitation();
await resets();
await exclusions();
await auditAndSettings();
await sso();
await importUsers();
await ownAddress();
await brand();
await finish();

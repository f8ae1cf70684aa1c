// The work of Administrators, support and invited users by clicking, on the demo users of `local`.

import { readFileSync } from "node:fs";
import { start } from "./browser.mjs";

const [url, scripts, mails, idp] = [process.argv[2], process.argv[3] === "with", process.argv[4], process.argv[5]];
const PASSWORDS = {
  ann: "ann waters 9 blue ferns", amy: "amy folds 4 paper boats", con2: "con2 paints 8 tall gates", op: "op sorts 7 brass keys",
};
const { person, finish } = await start(url, scripts);

/** The link in the last mail to the address with this in its subject. */
async function link(to, subject) {
  for (let wait = 0; wait < 50; wait++) {
    const sent = readFileSync(mails, "utf8").trim().split("\n").map((line) => JSON.parse(line));
    const mail = sent.findLast((one) => one.to === to && one.subject.includes(subject));
    if (mail) return new URL(mail.text.match(/https?:\S+/)[0]);
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error(`no mail to ${to} about ${subject}`);
}

// P9: support finds the sole Administrator, who is locked out, and resets them with a ticket.
const op = await person();
await op.signIn("support", "op", PASSWORDS.op);
await op.enrol();
await op.confirm();
await op.follow("Not now");
await op.see("My settings", "settings-operator");
await op.follow("Support");
await op.see("Support: find a company", "support");
await op.fill({ q: "none like this" });
await op.press("Search");
await op.see("Support: find a company", "support-none");
await op.open("/support");
await op.follow("Acme");
await op.see("Users of Acme", "support-users");
await op.page.getByRole("link", { name: "Reset Ann Administrator" }).click();
await op.see("Reset the authenticator of an Administrator", "support-reset");
await op.press("Reset");
await op.see("Reset the authenticator of an Administrator", "support-reset-empty");
await op.fill({ ticket: "T-1001", reason: "New phone; called back" });
await op.press("Reset");
await op.see("Reset code for ann", "support-reset-done");
const annsCode = await op.text("p.secret");
await op.page.goBack();
await op.page.goForward().catch(() => {});
if ((await op.page.content()).includes(annsCode)) op.faults.push("the reset code is shown again");

// P5 after a reset: the Administrator needs the code.
const ann = await person();
await ann.signIn("acme", "ann", PASSWORDS.ann);
await ann.see("Set up your authenticator app", "enroll-reset-code");
await ann.fill({ reset_code: "WRONG-CODE" });
await ann.press("Show the QR code");
await ann.see("Set up your authenticator app", "enroll-reset-code-wrong");
await ann.fill({ reset_code: annsCode });
await ann.enrol();
await ann.confirm();
await ann.follow("Not now");

// P14: the list of users.
await ann.follow("Users");
await ann.see("Users", "users");
await ann.fill({ q: "con" });
await ann.press("Search");
await ann.see("Users", "users-found");
await ann.fill({ q: "nobody" });
await ann.press("Search");
await ann.see("Users", "users-none");

// An invitation, and what the invited person does.
await ann.open("/admin/users/new");
await ann.see("New user", "new-user");
await ann.press("Create the user");
await ann.see("New user", "new-user-empty");
await ann.page.locator("[name=role]").selectOption("standard");
await ann.fill({ username: "eve", display_name: "Eve <b>Employee</b>", email: "eve@example.com" });
await ann.press("Create the user");
await ann.see("Eve <b>Employee</b>", "user-invited");
const eve = await person();
const invitation = await link("eve@example.com", "account");
await eve.open(invitation.pathname + invitation.search);
await eve.see("Choose a new password", "invitation");
if (eve.page.url().includes("vp_")) eve.faults.push("the token stays in the address");
await eve.fill({ new_password: "short" });
await eve.press("Set the password");
await eve.see("Choose a new password", "invitation-short");
await eve.fill({ new_password: "eve reads 5 thick atlases" });
await eve.press("Set the password");
await eve.see("Sign in", "invitation-done");
await eve.open(invitation.pathname + invitation.search);
await eve.see("This link does not work", "invitation-used");
await eve.signIn("acme", "eve", "eve reads 5 thick atlases");
await eve.enrol();
await eve.confirm();
await eve.follow("Not now");

// A forgotten password. The authenticator stays.
const forgetful = await person();
await forgetful.open("/login?tenant=acme");
await forgetful.follow("Forgot your password?");
await forgetful.see("Forgot your password?", "forgot");
await forgetful.fill({ tenant: "acme", username: "eve" });
await forgetful.press("Send the mail");
await forgetful.see("Look into your mail", "forgot-sent");
const reset = await link("eve@example.com", "set a new password");
await forgetful.open(reset.pathname + reset.search);
await forgetful.fill({ new_password: "eve sells 6 heavy globes" });
await forgetful.press("Set the password");
await forgetful.signIn("acme", "eve", "eve sells 6 heavy globes");
await forgetful.see("Enter your code", "forgot-next");
await eve.open("/settings/security");
await eve.see("Sign in", "signed-out-by-reset");

// P8: an Administrator resets an employee, and another Administrator.
await ann.open("/admin/users?q=bob");
await ann.follow("Bob Employee");
await ann.see("Bob Employee", "user");
await ann.follow("Reset MFA");
await ann.see("Reset the MFA of Bob Employee", "reset");
await ann.press("Reset MFA");
await ann.see("Reset the MFA of Bob Employee", "reset-empty");
await ann.fill({ reason: "Lost phone" });
await ann.press("Reset MFA");
await ann.see("The MFA of Bob Employee is reset", "reset-done");
await ann.open("/admin/users/amy/mfa-reset");
await ann.fill({ reason: "Lost phone; called back" });
await ann.press("Reset MFA");
await ann.see("The MFA of Amy Administrator is reset", "reset-done-code");

// What may be changed of a user, and what may not.
await ann.open("/admin/users/ann");
await ann.see("Ann Administrator", "user-own");
await ann.open("/admin/users/bob?change=role");
await ann.see("Change the role of Bob Employee", "change-role");
await ann.open("/admin/users/bob?change=email");
await ann.see("Change the e-mail address of Bob Employee", "change-email");
await ann.fill({ email: "nothing" });
await ann.press("Save");
await ann.see("Change the e-mail address of Bob Employee", "change-email-wrong");
await ann.open("/admin/users/bob?change=delete");
await ann.see("Delete Bob Employee", "delete");

// P10: contacts are excluded in a batch, and included again.
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
await contact.signIn("acme", "con2", PASSWORDS.con2);
await contact.see("My settings", "settings-excluded");
await ann.open("/admin/exclusions?change=exclude");
await ann.page.locator("[name=csv]").setInputFiles({ name: "contacts.csv", mimeType: "text/csv", buffer: Buffer.from("id,note\ncon1,x\nbob,x\nnobody,x\n") });
await ann.fill({ reason: "From a file" });
await ann.press("Preview");
await ann.see("Preview: exclude contacts", "exclude-file");
await ann.open("/admin/exclusions?change=include&contact=con2");
await ann.see("Include contacts again", "include");
await ann.fill({ reason: "Kiosk is gone" });
await ann.press("Preview");
await ann.press("Include these contacts again");
await ann.see("Result", "include-done");
await contact.open("/settings/security");
await contact.see("Sign in", "signed-out-by-inclusion");

// The audit and the settings.
await ann.follow("Audit");
await ann.see("Audit", "audit");
await ann.fill({ user: "nobody" });
await ann.press("Search");
await ann.see("Audit", "audit-wrong");
await ann.follow("Settings");
await ann.see("Settings", "tenant-settings");
await ann.fill({ issuer: "Acme & Söhne" });
await ann.press("Save");
await ann.see("Settings", "tenant-settings-saved");

// P11, P12: an identity provider. A user who moves to SSO signs in again, enrols once, and needs no code afterwards.
await ann.follow("Single sign-on (SSO)");
await ann.see("Single sign-on (SSO)", "sso-none");
await ann.fill({ metadata_xml: "<none/>" });
await ann.press("Save");
await ann.see("Single sign-on (SSO)", "sso-wrong");
await ann.fill({ metadata_xml: await (await fetch(`${idp}/metadata`)).text() });
await ann.press("Save");
await ann.see("Single sign-on (SSO)", "sso");
await ann.open("/admin/users/bob?change=auth_type");
await ann.see("Change how Bob Employee signs in", "change-auth-type");
await ann.page.locator("[name=auth_type]").selectOption("saml_sso");
await ann.press("Save");
await ann.see("Bob Employee", "user-sso");
await ann.open("/admin/sso?remove=true");
await ann.see("Remove the identity provider", "sso-remove");
const sso = await person();
await sso.open("/login?tenant=acme");
await sso.see("Sign in", "login-with-sso");
await sso.bySso("bob");
await sso.see("Set up your authenticator app", "enroll-sso");
await sso.enrol();
await sso.confirm();
await sso.follow("Not now");
await sso.press("Sign out");
await sso.open("/login?tenant=acme");
await sso.bySso("bob");
await sso.see("My settings", "settings-sso");

// P1: nothing on these pages turns MFA off.
for (const [who, paths] of [[ann, ["/settings/security", "/admin/settings", "/admin/users/bob"]], [op, ["/support", "/settings/security"]]]) {
  for (const path of paths) {
    await who.open(path);
    const offers = await who.page.getByRole("main").getByText(/(disable|turn off|switch off) (MFA|the authenticator)/i).count();
    if (offers > 0) who.faults.push(`${path} offers to turn MFA off`);
  }
}

await finish();

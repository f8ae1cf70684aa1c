# The texts of pages and mails. Every catalogue has the same texts, in the same order; a test checks it.

## All pages
skip = Skip to the content
error-prefix = Error:
error-summary = There is a problem
show-password = Show password
hide-password = Hide password
copy = Copy
copied = Copied
download = Download
print = Print
continue = Continue
seconds = { $count ->
    [one] 1 second
   *[other] { $count } seconds
}
minutes = { $count ->
    [one] 1 minute
   *[other] { $count } minutes
}

## Navigation
nav-label = Pages
nav-settings = My settings
nav-users = Users
nav-exclusions = Exclusions
nav-audit = Audit
nav-tenant = Settings
nav-support = Support
nav-logout = Sign out

## Problems
problem-title = This did not work
problem-home = Go to the start page
problem-request = If you ask for help, give this number:
problem-invalid_request = Something in the form is not valid. Check your entries.
problem-malformed_code = Enter the 6 digits that your authenticator app shows.
problem-invalid_credentials = The company, the username or the password is wrong.
problem-invalid_token = This page has expired. Sign in again.
problem-invalid_code = The code is wrong or was used before. Each code works once: wait for the next code.
problem-session_refresh_required = Your security settings changed. Sign in again.
problem-step_up_required = Your last code was entered more than 5 minutes ago. Confirm with a new code, then send the form again.
problem-forbidden = You are not allowed to do this.
problem-mfa_mandatory = Multi-factor authentication cannot be turned off.
problem-mfa_reset_required = Your authenticator is blocked, or the time to set one up has passed. Ask an Administrator of your company to reset it.
problem-reset_code_required = The reset code is missing, wrong or expired. You get it from the person who reset your authenticator.
problem-not_found = There is no such page.
problem-conflict = Something changed in the meantime. Look at the current state and try again.
problem-idempotency_mismatch = This batch was already started with other contacts.
problem-not_sole_administrator = Support can reset only a tenant's sole Administrator.
problem-ticket_used = This ticket was used before. Each ticket works once.
problem-method_not_allowed = There is no such page.
problem-payload_too_large = What you sent is too large.
problem-too_many_attempts = Too many attempts. Try again in { $wait }. If you cannot wait, ask an Administrator of your company.
problem-unavailable = The service does not respond at the moment. Nothing was changed. Try again in { $wait }.

## Fields
label-tenant = Company
hint-tenant = The short name of your company, for example acme
invalid-tenant = Enter the short name of your company: at most 64 letters, digits, hyphens or underscores.
label-username = Username
invalid-username = Enter a username.
label-password = Password
invalid-password = Enter a password of at most 1,024 bytes.
label-code = Code
hint-code = The 6 digits that your authenticator app shows now
invalid-code = Enter the 6 digits that your authenticator app shows.
label-recovery_token = Recovery token
hint-recovery_token = The token that you saved when you set up your authenticator
invalid-recovery_token = Enter your recovery token.
label-reset_code = Reset code
hint-reset_code = You get it from the person who reset your authenticator
invalid-reset_code = Enter the reset code.

## Sign in
login-title = Sign in
login-submit = Sign in
login-sso = Sign in with SSO
login-sso-at = Sign in with SSO at { $tenant }
login-sso-none = { $tenant } has no SSO. Sign in with your password.
login-forgot = Forgot your password?

## Code
verify-title = Enter your code
verify-submit = Sign in
verify-recovery = Use a recovery token instead
verify-recovery-title = Enter your recovery token
verify-recovery-once = A recovery token works once. After you sign in, you get a new one.
verify-code = Use a code instead
verify-ended = This sign-in has ended: it took more than 5 minutes, or there were 5 wrong codes.
verify-again = Sign in again
verify-clock = Is the clock of your phone right? A code depends on the time: turn on the automatic setting of date and time.
verify-lost = No phone and no recovery token? Ask an Administrator of your company to reset your authenticator.

## Confirm with a code
step-up-title = Confirm that it is you
step-up-why = What you want to do needs a code that is not older than 5 minutes.
step-up-submit = Confirm
step-up-none = You have no authenticator, so you cannot confirm. Ask an Administrator of your company.

## Set up the authenticator
enroll-title = Set up your authenticator app
enroll-replace-title = Replace your authenticator app
enroll-why = Your company protects sign-ins with a second step: a code from an app on your phone.
enroll-app = Install an authenticator app if you have none: Google Authenticator, Microsoft Authenticator, Duo, Aegis or any other.
enroll-keep = Your current authenticator keeps working until you confirm the new one.
enroll-start = Show the QR code
enroll-step = Step { $step } of 3
enroll-scan = Scan this QR code with your app
enroll-qr = QR code for { $account }
enroll-open = Open in the app on this device
enroll-by-hand = Enter the key by hand
enroll-by-hand-how = Choose "enter a setup key" in your app. The name is { $account }, the type is "time-based".
enroll-confirm = Enter the code that the app shows
enroll-confirm-submit = Confirm
enroll-expires = You have 10 minutes.
enroll-no-qr = The QR code is shown only once. If your app does not have the key, start again with a new QR code.
enroll-again = Start again
enroll-ended = This set-up has ended: it took more than 10 minutes, or there were 5 wrong codes.

## My settings
security-title = My settings
security-mfa = Authenticator app
security-since = Set up on { $time }
security-active = Active
security-none = Not set up
security-disabled = Blocked
security-excluded = Your company has excluded you from the second step. You sign in with your password.
security-replace = Replace the authenticator app
security-token = Recovery token
security-token-exists = You have a recovery token from { $time }.
security-token-none = You have no recovery token. If you lose your phone, you cannot sign in without one.
security-token-new = Get a new recovery token
security-sessions = Sessions
security-sessions-show = See where you are signed in
security-password = Password
security-password-change = Change your password
security-email = E-mail address
security-email-show = See and confirm your e-mail address

## Recovery token
token-title = Get a recovery token
token-step-title = Save a recovery token
token-why = If you lose your phone, a recovery token lets you sign in once. Keep it where you find it without your phone: on paper or in a password manager.
token-used = You signed in with your recovery token, which is now used up. Get a new one first.
token-void = The recovery token that you have becomes void.
token-create = Show a new recovery token
token-shown-title = Your recovery token
token-once = It is shown only now. Save it before you continue.
token-saved = I have saved the recovery token
token-later = Not now
token-conflict = You have no active authenticator, so you cannot get a recovery token.

## Sessions
sessions-title = Where you are signed in
sessions-this = This browser
sessions-unknown = Unknown program
sessions-signed-in = Signed in
sessions-last-seen = Last used
sessions-end = Sign out
sessions-end-others = Sign out everywhere else
sessions-only = You are signed in only here.
logout-title = Sign out
logout-submit = Sign out

## Administration
save = Save
change = Change
cancel = Cancel
back-to = Back to { $name }
filter-submit = Search
filter-clear = Show all
filter-all = All
filter-none-yet = Nothing was found so far. The search is not finished: go to the next page.
paging-label = Pages of the list
paging-next = Next page
paging-first = First page
role-administrator = Administrator
role-standard = Employee
role-portal = Contact
role-operator = Operator
auth-type-local = Password and code
auth-type-saml_sso = SAML SSO
label-display_name = Name
hint-display_name = As other people read it, for example Ann Lee
invalid-display_name = Enter a name of at most 200 characters, without line breaks.
label-email = E-mail address
hint-email-optional = Optional. Where Vestibule sends notices, for example about a reset
hint-email = Where Vestibule sends notices, for example about a reset
invalid-email = Enter an e-mail address like name@example.com, of at most 254 characters.
label-role = Role
invalid-role = Choose a role.
label-kind = Kind
invalid-kind = Choose a role.
label-auth_type = Sign-in
invalid-auth_type = Choose how the person signs in.
label-active = May sign in
invalid-active = Something in the form is not valid.
label-mfa = MFA
label-excluded = Excluded from MFA
label-q = Name begins with
invalid-q = Enter the beginning of a name: at most 128 characters.
label-sso_name_id = NameID of SSO
label-reason = Reason
hint-reason = At most 200 characters. It is kept in the audit.
invalid-reason = Enter a reason of at most 200 characters, in one line.
invalid-user-password = Enter a password of at least 8 bytes, or 15 characters for a contact, and at most 1,024 bytes. Passwords that many people use are refused.
hint-user-password = At least 8 characters, or 15 for a contact. Passwords that many people use are refused.
hint-new-user-password = Leave it empty to invite the person by mail: they choose it themselves. Otherwise at least 8 characters, or 15 for a contact. Passwords that many people use are refused.

## Users
users-title = Users
users-new = New user
users-back = Back to the users
users-name = Name and username
users-employees = Employees
users-contacts = Contacts
users-excluded = Excluded
users-included = Not excluded
users-none = There are no users.
users-none-match = No user matches.
users-deleted = The user is deleted.

## A user
user-created = The user is created. At the first sign-in they set up their authenticator app.
user-invited = A mail is on its way to the person: with its link they choose their password. Then they set up their authenticator app.
user-changed = The change is saved.
user-own = This is your own account.
user-last = The company must keep an active Administrator, and without an identity provider one who signs in with a password. So this Administrator must keep role and account. Make another user an Administrator first.
user-email-none = None
user-email-verified = (confirmed)
user-password-none = None
user-last-sign-in = Last sign-in
user-never = Never
user-invite = Send the invitation
user-not-invited = The person cannot be invited: they have a password or no e-mail address, are inactive, or sign in with SSO.
user-name-id = NameID of SSO
user-password-set = Set a new password
user-password-own = You change your own password in My settings.
user-state = Account
user-active = Active
user-inactive = Inactive
user-activate = Activate
user-deactivate = Deactivate
user-enrol-by = (to be set up by { $time })
user-reset = Reset MFA
user-reset-own = You cannot reset your own MFA. Replace your authenticator app, or ask another Administrator.
user-exclusion = Exclusion from MFA
user-employee-not-excluded = Employees cannot be excluded.
user-excluded-since = Excluded since { $time }.
user-password-too-short = Not excluded. The password has fewer than 15 characters, so the contact cannot be excluded before you set a longer one.
user-exclude = Exclude from MFA
user-include = Include again
user-id = User id
user-audit = Show what happened with this user
user-delete = Delete the user
change-title-display_name = Change the name of { $name }
change-title-email = Change the e-mail address of { $name }
change-title-role = Change the role of { $name }
change-title-auth_type = Change how { $name } signs in
change-title-password = Set a new password for { $name }
change-title-invitation = Invite { $name }
change-title-activate = Activate { $name }
change-title-deactivate = Deactivate { $name }
change-title-delete = Delete { $name }
change-ends-sessions = The change ends the person's sessions. They sign in again.
change-ends-exclusion = This contact is excluded from MFA. If they become an employee, the exclusion ends and they set up an authenticator app.
change-auth-type = With SAML SSO the person signs in through the identity provider only. Their password does not work any more.
change-password = Tell the person the password in person or by telephone. They change it after the sign-in.
change-invitation = The person gets a mail with a link to choose a password. The link works for 7 days. An earlier link does not work any more.
change-deactivate = The person cannot sign in until you activate them again. Their sessions end now.
change-activate = The person can sign in again, with the same password and authenticator app.
change-delete = This cannot be undone. The person's sessions end, and the username can be used again. The audit keeps what happened.
auth-type-no-idp = The company has no identity provider, so nobody can sign in with SSO. Set one up first.

## New user
new-user-title = New user
new-user-submit = Create the user
new-user-next = Tell the person the username and the password in person or by telephone. At the first sign-in they set up their authenticator app.
new-user-next-mail = An invited person chooses the password with the link of the mail. If you enter a password, tell it in person or by telephone. At the first sign-in they set up their authenticator app.
new-user-email-needed = Enter an e-mail address for the invitation, or a password.
new-user-taken = This username is taken. Choose another one.

## Import of users
import-title = Import users
import-what = Give a list of people. You see a preview first: nobody is created before you confirm.
import-columns = The first line names the columns: username, display_name and role, and if you like email, password and auth_type. Other columns are ignored.
import-roles = The role is standard or administrator for an employee, and portal for a contact.
import-invite = People without a password get a mail with a link to choose one, so they need an e-mail address.
import-no-mails = This service sends no mails with links. So everyone who signs in with a password needs one in the list.
hint-import-csv = At most 200 users and 190 KiB. The separator is a comma, a semicolon or a tab.
label-rows = Or paste the list
hint-rows = With the line that names the columns, for example copied from a spreadsheet
invalid-rows = This is not a list: each line needs as many cells as the first line.
import-none = Choose a file or paste a list.
import-two = Choose a file or paste a list, not both.
import-no-column = The first line does not name a column "{ $column }".
import-no-rows = The list has only the line that names the columns, and no users.
import-too-many = The list has { $count } users. At most 200 can be created at once: split the list.
import-too-large = The list is larger than 190 KiB. Split it, or leave out columns that are ignored.
import-preview = Preview
import-preview-title = Preview: import users
import-preview-notice = Nobody is created yet. This would happen:
import-preview-nothing = Nobody would be created, so there is nothing to confirm.
import-ignored = Ignored columns: { $columns }
import-confirm = { $count ->
    [one] Create 1 user
   *[other] Create { $count } users
}
import-confirm-again = Create the users
import-interrupted = The import was interrupted, and some users may be created. Confirm again: nobody is created twice. If somebody gets no invitation, send it from their page.
import-done-title = Result of the import
import-done = Done.
import-line = Line
import-outcome = Outcome
import-created = Created
import-invited = Created and invited by mail
import-exists = Not created: the username is taken
import-invalid = Not created
import-invalid-role = The role must be standard or administrator for an employee, or portal for a contact.
import-invalid-kind = The kind must fit the role: employee for standard and administrator, contact for portal.
import-invalid-auth_type = The sign-in (auth_type) must be local or saml_sso.
import-download = Download as CSV
import-another = Import another list

## Reset
reset-title = Reset the MFA of { $name }
reset-effect = The person's authenticator app, recovery token and sessions become void. They set up an authenticator app at the next sign-in.
reset-verify = Make sure that the person who asks for it is who they say they are: call them back on a number that you know.
reset-submit = Reset MFA
reset-too-many = One Administrator can reset 10 people an hour, and a company 50. Wait, or ask another Administrator.
reset-done-title = The MFA of { $name } is reset
reset-code-once = The person needs this reset code. It is shown only now.
reset-code-until = The code works until { $time }.
reset-code-how = Give them the code in person or by telephone, not by e-mail. If it gets lost, reset again: you get a new code.
reset-no-code = The person needs no reset code.
reset-tell = What to tell the person
reset-tell-sign-in = Sign in as { $username }, with the password as before.
reset-tell-code = Enter the reset code.
reset-tell-scan = Scan the QR code with an authenticator app, and enter the code that the app shows.
reset-tell-until = Do this by { $time }. After that, another reset is needed.

## Audit
audit-title = Audit
audit-at = Time
audit-action = Event
audit-actor = Who
audit-target = Concerns
audit-details = Details
audit-refused = Refused
audit-unknown = Not known
audit-operator = Operator of support
audit-deleted = (deleted)
audit-csv = Download this page as CSV
audit-none = There are no events.
audit-none-more = There are no more events.
audit-reason = Reason
audit-ticket = Ticket
audit-changed = Changed
audit-user-agent = Program
audit-name-id = NameID
audit-name-id-format = Format of the NameID
audit-algorithm = Algorithm
audit-batch = Batch
audit-client = Client
audit-notified = Notice to
audit-notified-user = the user
audit-notified-administrators = the Administrators
label-user = User
hint-user = Username, or user id of a deleted user
invalid-user = There is no user with this name.
label-from = From
hint-from = First day, in UTC
invalid-from = Enter a day like 2026-01-31.
label-to = To
hint-to = Last day, in UTC
invalid-to = Enter a day like 2026-01-31.
action-password-reset_mailed = Link to a new password mailed
action-password-reset = New password set by a mailed link
action-invitation-mailed = Invitation mailed
action-email-verification_mailed = Link to confirm the address mailed
action-email-verified = E-mail address confirmed
action-login = Sign-in with a password alone
action-login-password_accepted = Correct password
action-sso-login = Sign-in with SSO
action-idp-changed = Identity provider set
action-idp-removed = Identity provider removed
action-login-delayed = Five wrong passwords in a row: sign-in delayed
action-login-attacked = 100 wrong passwords in a row
action-password-attacked = Five wrong current passwords: session ended
action-verify = Code at sign-in
action-step_up = Code to confirm
action-factor-attacked = 50 more wrong codes
action-recovery_token-used = Sign-in with a recovery token
action-recovery_token-issued = New recovery token
action-enrolment-started = Set-up of an authenticator started
action-enrolment = Code to set up an authenticator
action-factor-activated = Authenticator set up
action-factor-disabled = 100 wrong codes in a row: authenticator blocked
action-mfa-reset = MFA reset
action-mfa-reset_code_renewed = New reset code
action-exclusion-batch = Batch of exclusions
action-exclusion-excluded = Contact excluded from MFA
action-exclusion-included = Contact included again
action-sessions-ended = Sessions ended
action-user-created = User created
action-user-changed = User changed
action-user-deleted = User deleted
action-password-changed = Password changed
action-tenant-created = Company created
action-tenants-listed = Support looked up companies
action-users-listed = Support looked up users
action-settings-changed = Settings changed
action-client-created = Client credential created
action-client-deleted = Client credential deleted
action-restore_epoch-raised = Restored from a backup: all tokens void
action-forbidden = Not allowed for the role

## Settings of the company
settings-title = Settings
settings-changed = The setting is saved.
settings-administrators = Administrators only
settings-everyone = Everyone
settings-mfa = No setting turns MFA off.
settings-sso = Single sign-on (SSO)
label-issuer = Name in authenticator apps
hint-issuer = Apps show it next to the username. People who have set up their app keep the old name.
invalid-issuer = Enter a name of at most 200 characters, without line breaks.
label-reset_code_for = Who needs a reset code after a reset
hint-reset_code_for = The Administrator who resets hands the code over. Without it, the password alone is enough to set up a new authenticator app.
invalid-reset_code_for = Choose who needs a reset code.

## Lists
paging-previous = Previous page

## Exclusions
exclusions-title = Exclusions
exclusions-what = An excluded contact signs in with the password alone. Everyone else needs a code. Employees cannot be excluded.
exclusions-list = Excluded contacts
exclusions-none = No contact is excluded.
exclusions-contact = Contact
exclusions-contacts = Contacts
exclusions-id = Id
exclusions-since = Excluded on
exclusions-by = Excluded by
exclusions-action = Action
exclusions-exclude-title = Exclude contacts
exclusions-exclude-what = The contacts then sign in with the password alone. Their authenticator, their recovery token and their sessions end at once.
exclusions-exclude-limits = Employees cannot be excluded. A contact can be excluded only if their password has at least 15 characters.
exclusions-include-title = Include contacts again
exclusions-include-what = The contacts then need a code again: they set up an authenticator at their next sign-in. Their sessions end at once.
exclusions-found-none = There is no such contact.
exclusions-nobody = There is no contact who could be excluded.
exclusions-gone = This contact no longer exists.
exclusions-more = Show more contacts. What you have ticked here is lost.
exclusions-by-id = Or give the ids of contacts
label-contact_ids = Ids
hint-contact_ids = One id in a line, at most 1,000
invalid-contact_ids = Choose 1 to 1,000 contacts.
exclusions-line = Line { $line } is not an id. An id has 1 to 64 letters, digits, hyphens or underscores.
label-csv = CSV file
hint-csv = A file with a column named "id", at most 256 KiB
invalid-csv = The file is not CSV in UTF-8. Save it as "CSV UTF-8" and choose it again.
exclusions-no-column = The first line of the file does not name a column "id".
exclusions-row = In line { $line } of the file, the column "id" does not have an id.
exclusions-preview = Preview
exclusions-preview-what = The preview changes nothing. You confirm on the next page.
exclusions-preview-exclude = Preview: exclude contacts
exclusions-preview-include = Preview: include contacts again
exclusions-preview-notice = Nothing is changed yet. This would happen:
exclusions-preview-nothing = Nothing would change, so there is nothing to confirm.
exclusions-confirm-exclude = Exclude these contacts
exclusions-confirm-include = Include these contacts again
exclusions-interrupted = The change was interrupted, and some contacts may be done. Confirm again: it goes on where it stopped.
exclusions-done-title = Result
exclusions-completed = Done.
exclusions-running = This change is not complete. It runs at the moment, or it was interrupted. Load the page again in a minute.
exclusions-stopped = This change stopped before it was complete, because the Administrator who made it lost the role.
exclusions-outcome = Outcome
exclusions-no-results = There are no results yet.
exclusions-download = Download as CSV
exclusions-back = All exclusions
outcome-excluded = Excluded
outcome-included = Included again
outcome-unchanged = No change: it was so already
outcome-not_a_contact = Refused: employees cannot be excluded
outcome-not_found = Refused: there is no such contact
outcome-password_too_short = Refused: the password is too short, or its length is not known. Set a new password of at least 15 characters.
outcome-not_applied = Not done: the change stopped before

## Change the password
label-current_password = Current password
invalid-current_password = Enter your current password: at most 1,024 bytes.
label-new_password = New password
invalid-new_password = Choose a new password.
password-what = When the password changes, you are signed out everywhere else.
password-rule-employee = At least 8 characters. Common passwords are refused.
password-rule-contact = At least 15 characters. Common passwords are refused.
password-too-short = The new password is too short. It needs at least 8 characters.
password-too-short-contact = The new password is too short. It needs at least 15 characters.
password-too-long = The new password is too long. It may have at most 1,024 bytes.
password-common = The new password is one of the common ones, which are tried first. Choose another.
password-wrong = The current password is wrong. After five wrong entries you are signed out.
password-changed = Your password is changed. You are signed out everywhere else.
password-sso = You sign in through your company's identity provider, so you have no password here. Change it there.

## Support
support-title = Support: find a company
support-audited = Every look-up is recorded: the search for companies in the audit of support, the list of users in the audit of the company.
support-tenants = Companies
support-name = Name
support-id = Id
support-no-tenant = There is no such company.
support-users-title = Users of { $tenant }
support-rule = Support resets only a sole Administrator: one beside whom no other active Administrator has an active authenticator. An Administrator of the company resets everyone else.
support-nobody = There is no such user.
support-role = Role
support-mfa = Authenticator
support-reset = Reset by support
support-reset-do = Reset
support-by-administrator = By an Administrator of the company
support-by-operator = By another operator, as a user of support
support-inactive-why = Not possible: the user is inactive
support-all = All companies
support-reset-title = Reset the authenticator of an Administrator
support-reset-what = The user's authenticator, recovery token and sessions end at once. You get a reset code for them. They have 72 hours to set up a new authenticator.
support-reset-verify = First make sure that you talk to this person: call back on a number that you had before.
label-ticket = Ticket
hint-ticket = The number of the support ticket. Each ticket works once.
invalid-ticket = Enter the number of the ticket: at most 200 characters.
support-reset-submit = Reset
support-not-administrator = Support cannot reset this user: they are not an active Administrator of the company. An Administrator of the company can reset them.
support-another = Support cannot reset this user: another active Administrator of the company has an active authenticator and can reset them.
support-not-found = This company has no such user.
support-self = You cannot reset yourself. Ask another operator.
support-done-title = Reset code for { $user }
support-code-once = The code is shown only now. Give it to the user in person or by telephone, never by mail.
support-tell = Tell the user
support-tell-sign-in = Sign in with company, username and password.
support-tell-enrol = Enter the reset code, then set up an authenticator app.
support-tell-until = This works until { $time }.
support-lost = If the code is lost, the user needs another reset with a new ticket.
support-back = Back to the users

## SSO
sso-title = Single sign-on (SSO)
sso-no-address = SSO is not possible: this service has no public address. Ask those who run it to set one.
sso-none = Your company has no identity provider here. Everyone signs in with a password and a code.
sso-yes = Yes
sso-no = No
sso-entity-id = Entity id
sso-url = Sign-in address
sso-signed = Our requests are signed
sso-initiated = Sign-in may start at the identity provider
sso-provisioning = Creates users at their first sign-in
sso-link-attribute = Attribute with the username
sso-contexts = Authentication contexts that count as a step-up
sso-valid-until = Metadata is valid until
sso-changed = Last changed
sso-metadata-expires = The metadata has expired, or expires within 30 days. Fetch it from the identity provider and replace it below.
sso-certificate-expires = A certificate has expired, or expires within 30 days. Fetch the metadata from the identity provider again and replace it below.
sso-certificates = Certificates of the identity provider
sso-from = Valid from
sso-until = Valid until
sso-state = State
sso-expired = Expired
sso-expires-soon = Expires soon
sso-valid = Valid
sso-test = Test
sso-test-what = A test signs you in as the person that the identity provider names, in this browser. Use a private window to stay signed in here.
sso-test-start = Sign in with SSO
sso-refused = Was a sign-in refused? The audit says why.
sso-audit = To the audit
sso-ours = For your identity provider
sso-ours-what = Give your identity provider this metadata, or the two addresses.
sso-metadata = Metadata
sso-acs = Address for responses (ACS)
sso-signing = Certificate that signs our requests
sso-connect = Connect an identity provider
sso-replace = Replace the metadata
sso-replace-what = Everything else stays as it is. A new entity id ends all sessions that were opened by SSO.
label-metadata_file = Metadata file
hint-metadata_file = An XML file from your identity provider, at most 256 KiB
invalid-metadata_file = The file is not XML in UTF-8. Choose the metadata of your identity provider.
label-metadata_xml = Or paste the metadata
invalid-metadata_xml = This is not valid metadata of one identity provider.
sso-detail = What is wrong:
sso-more = All other settings, for example how users are created, are changed by the API: PUT /v1/admin/sso.
sso-remove-title = Remove the identity provider
sso-remove-which = This identity provider is removed:
sso-remove-what = All sessions that were opened by SSO end at once. Users of SSO cannot sign in until you connect an identity provider or give them a password.
sso-remove = Remove
sso-needed = The identity provider cannot be removed: every active Administrator signs in through it. Let one of them sign in with a password first.
sso-not-accepted = Your company's identity provider sent you here, but its answer was not accepted. Start again. If it happens again, ask an Administrator of your company: their audit says why.

## Forgotten password and links of mails
forgot-title = Forgot your password?
forgot-how = You get a mail with a link to choose a new password, if your e-mail address is known and confirmed.
forgot-submit = Send the mail
forgot-sent-title = Look into your mail
forgot-sent = If there is such a user with a confirmed e-mail address, a mail with a link is on its way. The link works once, and for 30 minutes. No mail? Ask an Administrator of your company.
choose-password-title = Choose a new password
choose-password-rules = At least 8 characters, or 15 if you are a customer. Passwords that many people use are refused.
choose-password-submit = Set the password
choose-password-next = Then sign in with the new password and a code of your authenticator app.
choose-password-done-title = Your password is set
choose-password-done = Sign in with the new password and a code of your authenticator app.
link-ended-title = This link does not work
link-ended = The link was used, has expired, or a newer one replaced it. Ask for a new mail.
verify-email-title = Confirm your e-mail address
verify-email-how = Press the button to confirm that this address is yours.
verify-email-submit = Confirm
verify-email-done-title = Your e-mail address is confirmed
verify-email-done = You can now get a mail if you forget your password.

## Own e-mail address
email-verified = Confirmed
email-unverified = Not confirmed
email-use = If you forget your password, you get a mail to this address.
email-why = Confirm the address, so that you can get a mail if you forget your password.
email-send = Send the mail
email-sent = A mail is on its way to { $address }. Open its link to confirm the address. The link works once, and for 30 minutes.
email-no-mails = This service sends no mails with links, so you cannot confirm the address.
email-wrong = Is it wrong? Ask an Administrator of your company to change it.
email-none = You have no e-mail address here. Ask an Administrator of your company to enter one.

## Mails
mail-greeting = Hello { $name },
mail-link-minutes = The link works once, and for 30 minutes.
mail-link-days = The link works once, and for 7 days.
mail-reset-subject = { $company }: set a new password
mail-reset-lead = somebody asked to set a new password for the user { $user } of { $company }. If it was you, open this link:
mail-reset-label = Set a new password
mail-reset-code = Your authenticator app stays as it is. The next sign-in asks for its code.
mail-reset-unexpected = If it was not you, ignore this mail. Nothing has changed.
mail-invitation-subject = { $company }: your new account
mail-invitation-lead = { $company } has an account for you. Your user name is { $user }. Open this link to choose a password:
mail-invitation-label = Choose a password
mail-invitation-app = At the first sign-in you set up an authenticator app on your phone.
mail-invitation-unexpected = If you did not expect this mail, ignore it.
mail-verification-subject = { $company }: verify your e-mail address
mail-verification-lead = the user { $user } of { $company } has this e-mail address. If that is you, open this link:
mail-verification-label = Verify the address
mail-verification-unexpected = If it is not you, ignore this mail.
mail-former-address-subject = { $company }: your e-mail address was changed
mail-former-address-lead = an Administrator of { $company } replaced this e-mail address of the user { $user } by another.
mail-former-address-unexpected = If you did not expect it, tell an Administrator of { $company } at once.

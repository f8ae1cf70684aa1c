//! The texts of notifications: the mails of a deployment, and what the local server shows instead of mails.
//!
//! A notification contains no secret and no link: users must not learn to follow links in mails that they did not ask for. Text that a user wrote
//! (a reason, a ticket) is kept on one line. Text that an unauthenticated client can choose is left out.

use std::fmt::Write as _;

use crate::{
    audit::{AuditAction, Notify, Row},
    cloud_event::CloudEvent,
};

/// The subject: what happened, in one sentence.
#[must_use]
pub fn subject(action: AuditAction) -> &'static str {
    match action {
        AuditAction::LoginDelayed => "Five wrong passwords in a row: sign-in is slowed down",
        AuditAction::LoginAttacked => "A hundred wrong passwords in a row",
        AuditAction::PasswordAttacked => "Five wrong passwords while changing the password: that session has ended",
        AuditAction::Verify => "The right password, then several wrong codes",
        AuditAction::FactorAttacked => "Many wrong codes over time",
        AuditAction::RecoveryUsed => "A recovery token was used to sign in",
        AuditAction::RecoveryIssued => "A new recovery token was made",
        AuditAction::FactorActivated => "An authenticator was enrolled",
        AuditAction::FactorDisabled => "The authenticator was disabled after a hundred failures in a row",
        AuditAction::MfaReset => "MFA was reset: enrol again at the next sign-in",
        AuditAction::ContactExcluded => "MFA was switched off: the password alone signs in",
        AuditAction::ContactIncluded => "MFA was switched on: enrol at the next sign-in",
        AuditAction::PasswordReset => "The password was set with a link from a mail",
        AuditAction::PasswordChanged => "The password was changed",
        AuditAction::IdpChanged => "The identity provider (IdP) for sign-in was configured",
        AuditAction::IdpRemoved => "The identity provider (IdP) for sign-in was removed",
        AuditAction::UserChanged => "An Administrator changed how this user signs in",
        other => other.as_str(),
    }
}

/// Labelled event details. The actor is omitted when they are the subject.
#[must_use]
pub fn details(row: &Row, user: &str, actor: Option<&str>) -> Vec<(&'static str, String)> {
    let mut details = vec![("User", user.to_owned())];
    if let Some(by) = row.actor.as_ref().filter(|by| Some(*by) != row.concerned()) {
        details.push(("by", actor.map_or_else(|| by.to_string(), str::to_owned)));
    }
    details.extend(row.reason.as_deref().map(|reason| ("reason", one_line(reason))));
    details.extend(row.ticket.as_deref().map(|ticket| ("ticket", one_line(ticket))));
    details
}

/// The text of a mail to the user concerned or to an Administrator.
#[must_use]
pub fn text(event: &CloudEvent, to: Notify, company: &str, user: &str, actor: Option<&str>) -> String {
    let mut text = format!("{}.\n\n", subject(event.data.action));
    for (name, value) in details(&event.data, user, actor) {
        let _ = writeln!(text, "  {name}: {value}");
    }
    let company = one_line(company);
    let _ = writeln!(text, "  when: {}\n  company: {company} ({})\n  event: {}\n", event.time, event.tenant, event.id);
    let _ = match to {
        Notify::User => writeln!(
            text,
            "If this was you, or you expected it, there is nothing to do. If not, tell an Administrator of {company} at \
             once, or the support team if you are the only one."
        ),
        Notify::Administrators => writeln!(
            text,
            "You receive this mail as an Administrator of {company}. Ask the user concerned; the audit shows what happened before \
             and after. If there is no explanation, reset their MFA, or ask the support team."
        ),
    };
    text.push_str("We never ask for a password, a code or a recovery token, and a notification has no links.\n");
    text
}

/// The text on one line: control characters and characters that change the text's direction are escaped.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\'' | '"' | '\\' => line.push(c),
            c => line.extend(c.escape_debug()),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::{AuditEvent, Outcome},
        env::Timestamp,
        id::{TenantId, UserId},
    };

    fn event(action: AuditAction, reason: &str) -> CloudEvent {
        let (ann, bob) = (UserId::parse("u-ann").unwrap(), UserId::parse("u-bob").unwrap());
        let event = AuditEvent::new(action, Outcome::Success, "r").by(&ann).about(&bob).because(reason);
        let row = Row::new("1800000000000-A-0".into(), Timestamp::from_secs(1_800_000_000), event);
        CloudEvent::new(TenantId::parse("acme").unwrap(), row)
    }

    #[test]
    fn mail_has_event_details_and_advice() {
        let reset = event(AuditAction::MfaReset, "can't find \"it\"");
        let want = "MFA was reset: enrol again at the next sign-in.\n\n  User: bob\n  by: ann\n  reason: can't find \"it\"\n  \
                    when: 2027-01-15T08:00:00Z\n  company: Acme (acme)\n  event: acme/1800000000000-A-0\n\nIf this was you, \
                    or you expected it, there is nothing to do. If not, tell an Administrator of Acme at once, or the support \
                    team if you are the only one.\nWe never ask for a password, a code or a recovery token, and a \
                    notification has no links.\n";
        assert_eq!(text(&reset, Notify::User, "Acme", "bob", Some("ann")), want);
        let mail = text(&reset, Notify::Administrators, "Acme", "bob", None);
        assert!(
            mail.contains("  by: u-ann\n") && mail.contains("You receive this mail as an Administrator of Acme."),
            "{mail}"
        );
    }

    #[test]
    fn control_characters_in_mail_are_escaped() {
        let mail =
            text(&event(AuditAction::MfaReset, "a\r\n  when: never\u{202e}b"), Notify::User, "A\u{2028}B", "bob", None);
        assert!(mail.contains(r"  reason: a\r\n  when: never\u{202e}b"), "{mail}");
        assert!(mail.contains(r"  company: A\u{2028}B (acme)"), "{mail}");
        assert_eq!(mail.lines().count(), 11);
    }

    #[test]
    fn own_action_omits_the_actor() {
        let mut own = event(AuditAction::PasswordChanged, "r");
        own.data.actor = own.data.target.clone();
        assert!(!text(&own, Notify::User, "Acme", "bob", Some("bob")).contains("by:"));
    }
}

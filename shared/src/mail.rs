//! What people are told of, in words: in the mails of a deployment, and where the local runner shows what would be mailed.
//!
//! No secret is in them, and no link: a mail with a link to sign in by is what phishing looks like. What somebody wrote (a
//! reason, a ticket) stands on one line; nothing that a stranger can write is in them.

use std::fmt::Write as _;

use crate::{
    audit::{Action, Notify, Row},
    cloud_event::CloudEvent,
};

/// What happened, in a sentence.
#[must_use]
pub fn subject(action: Action) -> &'static str {
    match action {
        Action::LoginDelayed => "Five wrong passwords in a row: sign-in is slowed down",
        Action::LoginAttacked => "A hundred wrong passwords in a row",
        Action::PasswordAttacked => "Five wrong passwords at a change of the password: that session has ended",
        Action::Verify => "The right password, then several wrong codes",
        Action::FactorAttacked => "Many wrong codes over time",
        Action::RecoveryUsed => "A recovery token was used to sign in",
        Action::RecoveryIssued => "A new recovery token was made",
        Action::FactorActivated => "An authenticator was enrolled",
        Action::FactorDisabled => "The authenticator was disabled after a hundred failures in a row",
        Action::MfaReset => "MFA was reset: enrol again at the next sign-in",
        Action::ContactExcluded => "MFA was switched off: the password alone signs in",
        Action::ContactIncluded => "MFA was switched on: enrol at the next sign-in",
        Action::PasswordChanged => "The password was changed",
        Action::IdpChanged => "Which IdP people sign in by was configured",
        Action::IdpRemoved => "The IdP that people signed in by was removed",
        Action::UserChanged => "The way to sign in was changed by an Administrator",
        other => other.as_str(),
    }
}

/// Whom, by whom and why, each with its name. Of the actor, only another than whom it concerns.
#[must_use]
pub fn particulars(row: &Row, person: &str, actor: Option<&str>) -> Vec<(&'static str, String)> {
    let mut particulars = vec![("User", person.to_owned())];
    if let Some(by) = row.actor.as_ref().filter(|by| Some(*by) != row.concerned()) {
        particulars.push(("by", actor.map_or_else(|| by.to_string(), str::to_owned)));
    }
    particulars.extend(row.reason.as_deref().map(|reason| ("reason", one_line(reason))));
    particulars.extend(row.ticket.as_deref().map(|ticket| ("ticket", one_line(ticket))));
    particulars
}

/// The text of a mail to the person concerned, or to an Administrator.
#[must_use]
pub fn text(event: &CloudEvent, to: Notify, company: &str, person: &str, actor: Option<&str>) -> String {
    let mut text = format!("{}.\n\n", subject(event.data.action));
    for (name, value) in particulars(&event.data, person, actor) {
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
            "You are told as an Administrator of {company}. Ask the person concerned; the audit has what happened before \
             and after. If nobody can explain it, reset their MFA, or ask the support team."
        ),
    };
    text.push_str("Nobody of ours asks for a password, a code or a recovery token, and our mails have no links.\n");
    text
}

/// What was written, on one line: control characters and what turns text around are spelled out.
fn one_line(text: &str) -> String {
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

    fn event(action: Action, reason: &str) -> CloudEvent {
        let (ann, bob) = (UserId::parse("u-ann").unwrap(), UserId::parse("u-bob").unwrap());
        let event = AuditEvent::new(action, Outcome::Success, "r").by(&ann).about(&bob).because(reason);
        let row = Row::new("1800000000000-A-0".into(), Timestamp::from_secs(1_800_000_000), event);
        CloudEvent::new(TenantId::parse("acme").unwrap(), row)
    }

    #[test]
    fn a_mail_says_what_when_by_whom_and_whom_to_ask() {
        let reset = event(Action::MfaReset, "can't find \"it\"");
        let want = "MFA was reset: enrol again at the next sign-in.\n\n  User: bob\n  by: ann\n  reason: can't find \"it\"\n  \
                    when: 2027-01-15T08:00:00Z\n  company: Acme (acme)\n  event: acme/1800000000000-A-0\n\nIf this was you, \
                    or you expected it, there is nothing to do. If not, tell an Administrator of Acme at once, or the support \
                    team if you are the only one.\nNobody of ours asks for a password, a code or a recovery token, and our \
                    mails have no links.\n";
        assert_eq!(text(&reset, Notify::User, "Acme", "bob", Some("ann")), want);
        let told = text(&reset, Notify::Administrators, "Acme", "bob", None);
        assert!(told.contains("  by: u-ann\n") && told.contains("You are told as an Administrator of Acme."), "{told}");
    }

    #[test]
    fn what_somebody_wrote_stands_on_one_line_the_right_way_round() {
        let told =
            text(&event(Action::MfaReset, "a\r\n  when: never\u{202e}b"), Notify::User, "A\u{2028}B", "bob", None);
        assert!(told.contains(r"  reason: a\r\n  when: never\u{202e}b"), "{told}");
        assert!(told.contains(r"  company: A\u{2028}B (acme)"), "{told}");
        assert_eq!(told.lines().count(), 11);
    }

    #[test]
    fn ones_own_doing_has_no_by() {
        let mut own = event(Action::PasswordChanged, "r");
        own.data.actor = own.data.target.clone();
        assert!(!text(&own, Notify::User, "Acme", "bob", Some("bob")).contains("by:"));
    }
}

//! The texts of the mails, in English and German. One template makes the plain text and one the HTML.

use askama::Template;
use vestibule::{
    domain::{MailPurpose, Profile},
    id::MessageId,
    mail::one_line,
    mail_order::{Language, MailOrder},
    sso::PublicUrl,
    store::mail::IssuedToken,
};

/// A mail to one address. It may hold a token, so it has no `Debug`.
pub struct Letter {
    /// The message that asked for it.
    pub id: MessageId,
    /// The address.
    pub to: String,
    /// The subject.
    pub subject: String,
    /// The plain text.
    pub text: String,
    /// The same as HTML.
    pub html: String,
}

/// A link and its label.
struct Link<'a> {
    label: &'a str,
    url: &'a str,
}

#[derive(Template)]
#[template(path = "letter.txt")]
struct Text<'a> {
    words: &'a Words,
    link: &'a Option<Link<'a>>,
    company: &'a str,
}

#[derive(Template)]
#[template(path = "letter.html")]
struct Html<'a> {
    language: &'static str,
    words: &'a Words,
    link: &'a Option<Link<'a>>,
    company: &'a str,
}

/// What a mail says.
struct Words {
    subject: String,
    greeting: String,
    /// Before the link.
    lead: String,
    /// The label of the link.
    label: &'static str,
    /// After the link.
    rest: Vec<String>,
}

impl Letter {
    /// The mail with the link of a token.
    pub(crate) fn with_token(order: &MailOrder, issued: IssuedToken, url: &PublicUrl) -> askama::Result<Self> {
        let company = one_line(&issued.company);
        let words = Words::of_token(order.language, issued.purpose, &company, &issued.username, &issued.display_name);
        let path = if issued.purpose.sets_password() { "password/reset" } else { "email/verify" };
        let url = format!("{}/{path}?token={}", url.as_str(), issued.token.into_text());
        let link = Some(Link { label: words.label, url: &url });
        Self::new(order, issued.address, &company, &words, &link)
    }

    /// The notice to a former address.
    pub(crate) fn to_former_address(
        order: &MailOrder,
        former: &str,
        company: &str,
        profile: &Profile,
    ) -> askama::Result<Self> {
        let company = one_line(company);
        let words = Words::of_former_address(order.language, &company, &profile.username, &profile.display_name);
        Self::new(order, former.to_owned(), &company, &words, &None)
    }

    fn new(
        order: &MailOrder,
        to: String,
        company: &str,
        words: &Words,
        link: &Option<Link<'_>>,
    ) -> askama::Result<Self> {
        let language = match order.language {
            Language::En => "en",
            Language::De => "de",
        };
        Ok(Self {
            id: order.id.clone(),
            to,
            subject: words.subject.clone(),
            text: Text { words, link, company }.render()?,
            html: Html { language, words, link, company }.render()?,
        })
    }
}

impl Words {
    fn of_token(language: Language, purpose: MailPurpose, company: &str, username: &str, display_name: &str) -> Self {
        let (user, name) = (one_line(username), one_line(display_name));
        match language {
            Language::En => Self::english(purpose, company, &user, &name),
            Language::De => Self::german(purpose, company, &user, &name),
        }
    }

    fn english(purpose: MailPurpose, company: &str, user: &str, name: &str) -> Self {
        let greeting = format!("Hello {name},");
        let once = |time: &str| format!("The link works once, and for {time}.");
        match purpose {
            MailPurpose::Reset => Self {
                subject: format!("{company}: set a new password"),
                greeting,
                lead: format!(
                    "somebody asked to set a new password for the user {user} of {company}. If it was you, open this link:"
                ),
                label: "Set a new password",
                rest: vec![
                    once("30 minutes"),
                    "Your authenticator app stays as it is. The next sign-in asks for its code.".to_owned(),
                    "If it was not you, ignore this mail. Nothing has changed.".to_owned(),
                ],
            },
            MailPurpose::Invitation => Self {
                subject: format!("{company}: your new account"),
                greeting,
                lead: format!(
                    "{company} has an account for you. Your user name is {user}. Open this link to choose a password:"
                ),
                label: "Choose a password",
                rest: vec![
                    once("7 days"),
                    "At the first sign-in you set up an authenticator app on your phone.".to_owned(),
                    "If you did not expect this mail, ignore it.".to_owned(),
                ],
            },
            MailPurpose::Verification => Self {
                subject: format!("{company}: verify your e-mail address"),
                greeting,
                lead: format!("the user {user} of {company} has this e-mail address. If that is you, open this link:"),
                label: "Verify the address",
                rest: vec![once("30 minutes"), "If it is not you, ignore this mail.".to_owned()],
            },
        }
    }

    fn german(purpose: MailPurpose, company: &str, user: &str, name: &str) -> Self {
        let greeting = format!("Guten Tag {name},");
        let once = |time: &str| format!("Der Link funktioniert einmal, und zwar {time} lang.");
        match purpose {
            MailPurpose::Reset => Self {
                subject: format!("{company}: neues Passwort setzen"),
                greeting,
                lead: format!(
                    "jemand möchte ein neues Passwort für {user} bei {company} setzen. Wenn Sie das sind, öffnen Sie diesen Link:"
                ),
                label: "Neues Passwort setzen",
                rest: vec![
                    once("30 Minuten"),
                    "Ihre Authenticator-App bleibt unverändert. Die nächste Anmeldung fragt nach ihrem Code."
                        .to_owned(),
                    "Wenn Sie das nicht waren, ignorieren Sie diese E-Mail. Es hat sich nichts geändert.".to_owned(),
                ],
            },
            MailPurpose::Invitation => Self {
                subject: format!("{company}: Ihr neues Konto"),
                greeting,
                lead: format!(
                    "{company} hat ein Konto für Sie angelegt. Ihr Benutzername ist {user}. Öffnen Sie diesen Link, um ein Passwort zu wählen:"
                ),
                label: "Passwort wählen",
                rest: vec![
                    once("7 Tage"),
                    "Bei der ersten Anmeldung richten Sie eine Authenticator-App auf Ihrem Telefon ein.".to_owned(),
                    "Wenn Sie diese E-Mail nicht erwartet haben, ignorieren Sie sie.".to_owned(),
                ],
            },
            MailPurpose::Verification => Self {
                subject: format!("{company}: E-Mail-Adresse bestätigen"),
                greeting,
                lead: format!(
                    "{user} bei {company} hat diese E-Mail-Adresse angegeben. Wenn Sie das sind, öffnen Sie diesen Link:"
                ),
                label: "Adresse bestätigen",
                rest: vec![once("30 Minuten"), "Wenn Sie das nicht sind, ignorieren Sie diese E-Mail.".to_owned()],
            },
        }
    }

    fn of_former_address(language: Language, company: &str, username: &str, display_name: &str) -> Self {
        let (user, name) = (one_line(username), one_line(display_name));
        match language {
            Language::En => Self {
                subject: format!("{company}: your e-mail address was changed"),
                greeting: format!("Hello {name},"),
                lead: format!(
                    "an Administrator of {company} replaced this e-mail address of the user {user} by another."
                ),
                label: "",
                rest: vec![format!("If you did not expect it, tell an Administrator of {company} at once.")],
            },
            Language::De => Self {
                subject: format!("{company}: Ihre E-Mail-Adresse wurde geändert"),
                greeting: format!("Guten Tag {name},"),
                lead: format!(
                    "die Administration von {company} hat diese E-Mail-Adresse von {user} durch eine andere ersetzt."
                ),
                label: "",
                rest: vec![format!(
                    "Wenn Sie das nicht erwartet haben, melden Sie es sofort der Administration von {company}."
                )],
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(language: Language, purpose: MailPurpose, company: &str, name: &str) -> Letter {
        let id = MessageId::parse("m").unwrap();
        let mail = vestibule::mail_order::OrderedMail::Reset {
            tenant: vestibule::id::TenantId::parse("acme").unwrap(),
            login: "l".to_owned(),
            network: "10.0.0".to_owned(),
        };
        let order = MailOrder { id, request_id: "r".to_owned(), language, mail };
        let words = Words::of_token(language, purpose, company, "bob", name);
        let link = Some(Link { label: words.label, url: "https://login.example.com/password/reset?token=vp_A" });
        Letter::new(&order, "bob@acme.example".to_owned(), company, &words, &link).unwrap()
    }

    #[test]
    fn mail_has_link_in_text_and_html() {
        let letter = letter(Language::En, MailPurpose::Reset, "Acme", "Bob");
        let want = "Hello Bob,\n\nsomebody asked to set a new password for the user bob of Acme. If it was you, open this link:\n\n\
                    https://login.example.com/password/reset?token=vp_A\n\nThe link works once, and for 30 minutes.\n\nYour \
                    authenticator app stays as it is. The next sign-in asks for its code.\n\nIf it was not you, ignore this \
                    mail. Nothing has changed.\n\nAcme\n";
        assert_eq!(letter.text, want);
        assert!(
            letter.html.contains("href=\"https://login.example.com/password/reset?token=vp_A\""),
            "{}",
            letter.html
        );
        assert!(letter.html.contains("lang=\"en\""));
    }

    #[test]
    fn names_are_escaped_in_html_and_kept_on_one_line() {
        let name = "<b>Bob</b>\r\nBcc: x@y.example";
        let letter = letter(Language::De, MailPurpose::Invitation, "A & B", name);
        assert!(!letter.html.contains("<b>") && !letter.html.contains("A & B"), "{}", letter.html);
        assert!(letter.text.contains(r"Guten Tag <b>Bob</b>\r\nBcc: x@y.example,"), "{}", letter.text);
        assert_eq!(letter.subject, "A & B: Ihr neues Konto");
    }

    #[test]
    fn every_mail_has_every_language() {
        for purpose in [MailPurpose::Reset, MailPurpose::Invitation, MailPurpose::Verification] {
            let [english, german] =
                [Language::En, Language::De].map(|language| letter(language, purpose, "Acme", "Bob"));
            assert!(english.subject != german.subject && english.text != german.text);
            assert!(german.html.contains("lang=\"de\""));
        }
    }
}

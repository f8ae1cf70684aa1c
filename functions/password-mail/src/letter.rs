//! The mails, from the texts of the catalogues. One template makes the plain text and one the HTML.

use std::borrow::Cow;

use askama::Template;
use vestibule::{
    domain::{MailPurpose, Profile},
    id::MessageId,
    mail::one_line,
    mail_order::MailOrder,
    sso::PublicUrl,
    store::mail::IssuedToken,
    text::Text,
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
    label: Cow<'static, str>,
    url: &'a str,
}

#[derive(Template)]
#[template(path = "letter.txt")]
struct Plain<'a> {
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
    /// After the link.
    rest: Vec<String>,
}

/// What a mail is about. Its texts in the catalogue are `mail-NAME-subject`, `mail-NAME-lead` and, with a link,
/// `mail-NAME-label`.
struct Kind {
    name: &'static str,
    /// The texts after the link.
    rest: &'static [&'static str],
}

impl Kind {
    const FORMER_ADDRESS: Self = Self { name: "former-address", rest: &["mail-former-address-unexpected"] };

    const fn of(purpose: MailPurpose) -> Self {
        match purpose {
            MailPurpose::Reset => {
                Self { name: "reset", rest: &["mail-link-minutes", "mail-reset-code", "mail-reset-unexpected"] }
            }
            MailPurpose::Invitation => Self {
                name: "invitation",
                rest: &["mail-link-days", "mail-invitation-app", "mail-invitation-unexpected"],
            },
            MailPurpose::Verification => {
                Self { name: "verification", rest: &["mail-link-minutes", "mail-verification-unexpected"] }
            }
        }
    }

    fn words(&self, text: Text, company: &str, username: &str, display_name: &str) -> Words {
        let (user, name) = (one_line(username), one_line(display_name));
        let variables = [("company", company), ("user", &*user), ("name", &*name)];
        let fill = |id: &str| text.fill(id, &variables);
        Words {
            subject: fill(&format!("mail-{}-subject", self.name)),
            greeting: fill("mail-greeting"),
            lead: fill(&format!("mail-{}-lead", self.name)),
            rest: self.rest.iter().map(|id| fill(id)).collect(),
        }
    }

    fn link<'a>(&self, text: Text, url: &'a str) -> Link<'a> {
        Link { label: text.get(&format!("mail-{}-label", self.name)), url }
    }
}

impl Letter {
    /// The mail with the link of a token.
    pub(crate) fn with_token(order: &MailOrder, issued: IssuedToken, url: &PublicUrl) -> askama::Result<Self> {
        let (text, kind, company) = (Text::new(order.language), Kind::of(issued.purpose), one_line(&issued.company));
        let words = kind.words(text, &company, &issued.username, &issued.display_name);
        let path = if issued.purpose.sets_password() { "password/reset" } else { "email/verify" };
        let url = format!("{}/{path}?token={}", url.as_str(), issued.token.into_text());
        Self::new(order, issued.address, &company, &words, &Some(kind.link(text, &url)))
    }

    /// The notice to a former address.
    pub(crate) fn to_former_address(
        order: &MailOrder,
        former: &str,
        company: &str,
        profile: &Profile,
    ) -> askama::Result<Self> {
        let (text, company) = (Text::new(order.language), one_line(company));
        let words = Kind::FORMER_ADDRESS.words(text, &company, &profile.username, &profile.display_name);
        Self::new(order, former.to_owned(), &company, &words, &None)
    }

    fn new(
        order: &MailOrder,
        to: String,
        company: &str,
        words: &Words,
        link: &Option<Link<'_>>,
    ) -> askama::Result<Self> {
        Ok(Self {
            id: order.id.clone(),
            to,
            subject: words.subject.clone(),
            text: Plain { words, link, company }.render()?,
            html: Html { language: order.language.code(), words, link, company }.render()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use vestibule::language::Language;

    use super::*;

    fn letter(language: Language, purpose: MailPurpose, company: &str, name: &str) -> Letter {
        let id = MessageId::parse("m").unwrap();
        let mail = vestibule::mail_order::OrderedMail::Reset {
            tenant: vestibule::id::TenantId::parse("acme").unwrap(),
            login: "l".to_owned(),
            network: "10.0.0".to_owned(),
        };
        let order = MailOrder { id, request_id: "r".to_owned(), language, mail };
        let (text, kind) = (Text::new(language), Kind::of(purpose));
        let words = kind.words(text, company, "bob", name);
        let link = Some(kind.link(text, "https://login.example.com/password/reset?token=vp_A"));
        Letter::new(&order, "bob@acme.example".to_owned(), company, &words, &link).unwrap()
    }

    #[test]
    fn mail_has_link_in_text_and_html() {
        let letter = letter(Language::English, MailPurpose::Reset, "Acme", "Bob");
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
        let letter = letter(Language::German, MailPurpose::Invitation, "A & B", name);
        assert!(!letter.html.contains("<b>") && !letter.html.contains("A & B"), "{}", letter.html);
        assert!(letter.text.contains(r"Guten Tag <b>Bob</b>\r\nBcc: x@y.example,"), "{}", letter.text);
        assert_eq!(letter.subject, "A & B: Ihr neues Konto");
    }

    #[test]
    fn every_mail_has_every_language() {
        for purpose in [MailPurpose::Reset, MailPurpose::Invitation, MailPurpose::Verification] {
            let [english, german] = Language::ALL.map(|language| letter(language, purpose, "Acme", "Bob"));
            assert!(english.subject != german.subject && english.text != german.text);
            assert!(german.html.contains("lang=\"de\""));
            assert!(!(english.html + &german.html).contains("mail-"), "a text is missing");
        }
    }
}

//! Response and field types that several flows use.

use email_address::{EmailAddress, Options};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    env::Timestamp,
    id::{MAX_FOLDED, UserKey, fold, is_display_control},
    policy,
    recovery::ResetCode,
    secret::NewToken,
    store::{
        client::NewClient,
        item::{Amr, AuthType, FactorState, Kind, Profile, Role, Session, User},
        reset::ResetUser,
    },
};

macro_rules! names {
    ($(#[$doc:meta])* $dto:ident for $item:ident { $($name:ident),* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        #[allow(missing_docs)]
        pub enum $dto { $($name,)* }

        impl From<$item> for $dto {
            fn from(item: $item) -> Self {
                match item { $($item::$name => Self::$name,)* }
            }
        }

        impl From<$dto> for $item {
            fn from(dto: $dto) -> Self {
                match dto { $($dto::$name => Self::$name,)* }
            }
        }
    };
}

names! {
    /// Whether a user works for the tenant (`employee`) or for one of its customers (`contact`).
    KindDto for Kind { Employee, Contact }
}
names! {
    /// What a user may do: manage the tenant (`administrator`), use it as an employee (`standard`) or as a contact (`portal`),
    /// or serve all tenants (`operator`).
    RoleDto for Role { Administrator, Standard, Portal, Operator }
}
names! {
    /// How a user signs in: with a password here (`local`) or through the tenant's identity provider (`saml_sso`).
    AuthTypeDto for AuthType { Local, SamlSso }
}
names! {
    /// The state of a user's authenticator: not enrolled (`none`), enrolled (`active`), or disabled after too many wrong codes
    /// (`disabled`).
    MfaDto for FactorState { None, Active, Disabled }
}

/// How a user proved who they are (RFC 8176): with a password (`pwd`), a code of the authenticator (`otp`), a recovery token
/// (`recovery`) or the tenant's identity provider (`sso`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum AmrDto {
    Pwd,
    Otp,
    Recovery,
    Sso,
}

/// The authentication methods of a session.
#[must_use]
pub fn amr(amr: Amr) -> Vec<AmrDto> {
    match amr {
        Amr::Password => vec![AmrDto::Pwd],
        Amr::Otp => vec![AmrDto::Pwd, AmrDto::Otp],
        Amr::Recovery => vec![AmrDto::Pwd, AmrDto::Recovery],
        Amr::Sso => vec![AmrDto::Sso],
        Amr::SsoOtp => vec![AmrDto::Sso, AmrDto::Otp],
    }
}

/// A new session.
#[derive(Serialize, ToSchema)]
pub struct SessionDto {
    /// The session token (`vs_…`). Send it as `Authorization: Bearer`.
    #[schema(example = "vs_Qm3fY8tLw0Kz6RjXc1NbVg")]
    token: String,
    /// When the session ends at the latest: 12 hours after the sign-in, or 8 for a contact who is excluded from MFA.
    #[schema(value_type = String, format = DateTime, example = "2026-01-15T21:30:00Z")]
    expires_at: Timestamp,
    /// The session ends after this many seconds without use.
    #[schema(example = 1800)]
    idle_timeout_seconds: u64,
    /// How the user signed in.
    #[schema(example = json!(["pwd", "otp"]))]
    amr: Vec<AmrDto>,
    /// When the user last proved who they are: at the sign-in, or at the last step-up.
    #[schema(value_type = String, format = DateTime)]
    auth_time: Timestamp,
    /// A device token (`vd_…`), valid for 90 days. Send it with the user's next sign-ins from this device.
    #[serde(skip_serializing_if = "Option::is_none")]
    device_token: Option<String>,
}

impl SessionDto {
    /// The token, for a browser's cookie.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The device token, for a browser's cookie.
    pub(super) fn device_token(&self) -> Option<&str> {
        self.device_token.as_deref()
    }

    /// When the session ends at the latest.
    pub(super) fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// The response that delivers the token of a session.
    #[must_use]
    pub fn new(token: NewToken, session: &Session, device: Option<NewToken>) -> Self {
        Self {
            token: token.into_text(),
            expires_at: session.ends,
            idle_timeout_seconds: policy::SESSION_IDLE.as_secs(),
            amr: amr(session.amr),
            auth_time: session.authenticated(),
            device_token: device.map(NewToken::into_text),
        }
    }
}

/// A new enrolment token.
#[derive(Serialize, ToSchema)]
pub struct EnrolmentDto {
    /// The enrolment token (`ve_…`). It authorizes only the enrolment operations.
    #[schema(example = "ve_4TgH7mPzQx2WnLc9RsKd0v")]
    token: String,
    /// When the token expires: 10 minutes after it was issued.
    #[schema(value_type = String, format = DateTime, example = "2026-01-15T09:40:00Z")]
    expires_at: Timestamp,
}

impl EnrolmentDto {
    /// The token, for a browser's cookie.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// When the token expires.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// The response that delivers the token.
    #[must_use]
    pub fn new(token: NewToken, expires_at: Timestamp) -> Self {
        Self { token: token.into_text(), expires_at }
    }
}

/// A user.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({"mfa": "active"}))]
pub struct UserDto {
    /// The user's id. It is unique within the tenant.
    #[schema(example = "u-ann")]
    pub id: String,
    /// The id of the user's tenant.
    #[schema(example = "acme")]
    pub tenant: String,
    /// The user name, as it was entered.
    #[schema(example = "ann")]
    pub username: String,
    /// The name that is shown to people.
    #[schema(example = "Ann Lee")]
    pub display_name: String,
    /// Whether the user is an employee or a contact.
    pub kind: KindDto,
    /// The user's role.
    pub role: RoleDto,
    /// How the user signs in.
    pub auth_type: AuthTypeDto,
    /// Whether the user may sign in.
    #[schema(example = true)]
    pub active: bool,
    /// The state of the user's authenticator.
    pub mfa: MfaDto,
    /// Whether the user is a contact who is excluded from MFA.
    pub excluded: bool,
    /// The NameID that the tenant's identity provider sends for this user, if it was set and is not the user name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sso_name_id: Option<String>,
    /// The e-mail address. Only in answers of the directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "ann@acme.example")]
    pub email: Option<String>,
    /// Whether the user has proved that the e-mail address is theirs. Only in answers of the directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_verified: Option<bool>,
    /// When the user last got a session, if ever. Only in answers of the directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_sign_in_at: Option<Timestamp>,
}

impl UserDto {
    /// The user as the store has them.
    #[must_use]
    pub fn new(key: &UserKey, user: &User, profile: &Profile) -> Self {
        Self {
            id: key.user().as_str().to_owned(),
            tenant: key.tenant().as_str().to_owned(),
            username: profile.username.clone(),
            display_name: profile.display_name.clone(),
            kind: user.kind.into(),
            role: user.role.into(),
            auth_type: user.auth_type.into(),
            active: user.active,
            mfa: user.factor.state().into(),
            excluded: user.excluded.is_some(),
            sso_name_id: profile.name_id.clone(),
            email: None,
            email_verified: None,
            last_sign_in_at: None,
        }
    }

    /// The user as the directory shows them to Administrators.
    #[must_use]
    pub fn in_directory(key: &UserKey, user: &User, profile: &Profile) -> Self {
        Self {
            email: profile.email.clone(),
            email_verified: Some(user.email_verified),
            last_sign_in_at: user.last_sign_in,
            ..Self::new(key, user, profile)
        }
    }
}

/// A user whose MFA was reset.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"user": {"mfa": "none"}}))]
pub struct ResetDto {
    /// The user after the reset.
    pub user: UserDto,
    /// Until when the user can enrol a new authenticator. After that they need another reset.
    #[schema(value_type = String, format = DateTime, example = "2026-01-18T09:30:00Z")]
    pub enrol_by: Timestamp,
    /// The code that the user needs to enrol, if the tenant's settings require one. Give it to them in person or by
    /// telephone. It is in this response only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "K7Q2M-X9TFA")]
    pub reset_code: Option<String>,
}

impl ResetDto {
    /// The response to a reset; it has the reset code if enrolment needs it.
    #[must_use]
    pub fn new(done: &ResetUser, code: &ResetCode) -> Self {
        Self {
            user: UserDto::new(&done.key, &done.user, &done.profile),
            enrol_by: done.enrol_by,
            reset_code: done.user.reset_code_required.then(|| code.display()),
        }
    }
}

/// A new client credential.
#[derive(Serialize, ToSchema)]
pub struct NewClientDto {
    /// The id of the credential: the user name of HTTP Basic.
    #[schema(example = "c-5Wq2LmXz")]
    client_id: String,
    /// The secret: the password of HTTP Basic. It is in this response only.
    #[schema(example = "3sVd8kPq1LzXw7TnYb5RcJ0mHf2GuA9e")]
    client_secret: String,
}

impl NewClientDto {
    /// The response that delivers the secret.
    #[must_use]
    pub fn new(new: &NewClient) -> Self {
        Self { client_id: new.client.id.as_str().to_owned(), client_secret: new.secret.to_string() }
    }
}

/// A user name: 1 to 128 characters, without control characters, bidirectional controls and surrounding spaces. Its canonical
/// form (NFKC, case folded) has at most 959 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, min_length = 1, max_length = 128)]
pub struct Username(String);

impl TryFrom<String> for Username {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bare = !text.is_empty() && text.trim() == text && !text.contains(is_display_control);
        if !bare || text.chars().count() > 128 {
            return Err(
                "must be 1 to 128 characters, without control characters, bidirectional controls and surrounding spaces",
            );
        }
        if fold(&text).len() > MAX_FOLDED {
            return Err("must have at most 959 bytes in its canonical form (NFKC, case folded)");
        }
        Ok(Self(text))
    }
}

/// An e-mail address: `name@example.com`, at most 254 ASCII characters, without a display name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, format = "email", max_length = 254, example = "ann@example.com")]
pub struct Email(String);

impl TryFrom<String> for Email {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let options = Options::default().with_required_tld().without_domain_literal().without_display_text();
        let plain = text.len() <= 254 && text.bytes().all(|byte| byte.is_ascii_graphic());
        if plain && EmailAddress::parse_with_options(&text, options).is_ok() {
            Ok(Self(text))
        } else {
            Err("must be an e-mail address like name@example.com, of at most 254 ASCII characters")
        }
    }
}

impl std::ops::Deref for Email {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<Email> for String {
    fn from(email: Email) -> Self {
        email.0
    }
}

/// The prefix of a name: at most 128 characters, and 959 bytes in canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, max_length = 128)]
pub struct NameStart(String);

impl TryFrom<String> for NameStart {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = text.chars().count() <= 128 && fold(&text).len() <= MAX_FOLDED;
        if fits {
            Ok(Self(text))
        } else {
            Err("must be at most 128 characters, and 959 bytes in canonical form (NFKC, case folded)")
        }
    }
}

impl From<NameStart> for String {
    fn from(start: NameStart) -> Self {
        start.0
    }
}

impl std::ops::Deref for Username {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn username_is_bare_and_short() {
        let accepted = |text: &str| Username::try_from(text.to_owned()).is_ok();
        assert!(accepted("a") && accepted("Ann Lee") && accepted(&"é".repeat(128)));
        // U+FDFA becomes 18 characters of 33 bytes.
        let (long, folded) = ("a".repeat(129), "\u{fdfa}".repeat(30));
        for bad in ["", " a", "a ", "a\nb", "a\u{202e}b", &long, &folded] {
            assert!(!accepted(bad), "{bad:?}");
        }
    }

    #[test]
    fn email_is_a_plain_ascii_address() {
        let accepted = |text: &str| Email::try_from(text.to_owned()).is_ok();
        let of = |length: usize| {
            let label = "d".repeat(60);
            let domain = format!("{label}.{label}.{label}.example");
            format!("{}@{domain}", "a".repeat(length - domain.len() - 1))
        };
        assert!(accepted("ann@example.com") && accepted(&of(254)));
        let long = of(255);
        for bad in ["", "ann", "ann@example", "ann@[127.0.0.1]", "Ann <ann@example.com>", "änn@example.com", &long] {
            assert!(!accepted(bad), "{bad}");
        }
    }

    #[test]
    fn start_of_a_name_is_short() {
        let accepted = |text: &str| NameStart::try_from(text.to_owned()).is_ok();
        assert!(accepted("") && accepted(&"a".repeat(128)));
        assert!(!accepted(&"a".repeat(129)) && !accepted(&"\u{fdfa}".repeat(30)));
    }
}

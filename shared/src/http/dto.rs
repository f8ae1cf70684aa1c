//! Answers that several flows give.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    env::Timestamp,
    id::UserKey,
    policy,
    recovery::ResetCode,
    secret::NewToken,
    store::{
        client::NewClient,
        item::{Amr, AuthType, FactorState, Kind, Profile, Role, Session, User},
        reset::Done,
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
    /// Whether somebody works for the tenant or is a person of one of its clients.
    KindDto for Kind { Employee, Contact }
}
names! {
    /// What somebody may do.
    RoleDto for Role { Administrator, Standard, Portal, Operator }
}
names! {
    /// Which door somebody signs in by.
    AuthTypeDto for AuthType { Local, SamlSso }
}
names! {
    /// The state of somebody's authenticator.
    MfaDto for FactorState { None, Active, Disabled }
}

/// A way of proving who one is (RFC 8176 where it has a name for it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum AmrDto {
    Pwd,
    Otp,
    Recovery,
    Sso,
}

/// How a session was paid for.
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

/// A session just made.
#[derive(Serialize, ToSchema)]
pub struct SessionDto {
    token: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    idle_timeout_seconds: u64,
    amr: Vec<AmrDto>,
    #[schema(value_type = String, format = DateTime)]
    auth_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_token: Option<String>,
}

impl SessionDto {
    /// The token, for a browser's cookie.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Hands out the token of a session.
    #[must_use]
    pub fn new(token: NewToken, session: &Session, device: Option<NewToken>) -> Self {
        Self {
            token: token.into_text(),
            expires_at: Timestamp::from_secs(session.ends),
            idle_timeout_seconds: policy::SESSION_IDLE.as_secs(),
            amr: amr(session.amr),
            auth_time: session.authenticated(),
            device_token: device.map(NewToken::into_text),
        }
    }
}

/// An enrolment token just made.
#[derive(Serialize, ToSchema)]
pub struct EnrolmentDto {
    token: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl EnrolmentDto {
    /// The token, for a browser's cookie.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Hands out the token.
    #[must_use]
    pub fn new(token: NewToken, expires_at: Timestamp) -> Self {
        Self { token: token.into_text(), expires_at }
    }
}

/// A person.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct UserDto {
    /// Their id within the tenant.
    pub id: String,
    /// Their tenant.
    pub tenant: String,
    /// The login name as it was given.
    pub username: String,
    /// The name that is shown.
    pub display_name: String,
    /// Employee or contact.
    pub kind: KindDto,
    /// Role.
    pub role: RoleDto,
    /// Which door.
    pub auth_type: AuthTypeDto,
    /// May sign in.
    pub active: bool,
    /// The authenticator.
    pub mfa: MfaDto,
    /// Excluded from MFA.
    pub excluded: bool,
    /// What the tenant's IdP calls them, where that was linked and is not the login name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sso_name_id: Option<String>,
}

impl UserDto {
    /// A person as the store has them.
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
            mfa: user.factor.into(),
            excluded: user.excluded.is_some(),
            sso_name_id: profile.name_id.clone(),
        }
    }
}

/// Somebody whose MFA was reset.
#[derive(Serialize, ToSchema)]
pub struct ResetDto {
    user: UserDto,
    /// Enrolment is possible until then.
    #[schema(value_type = String, format = DateTime)]
    enrol_by: Timestamp,
    /// To be handed over out of band; it is in this response and in no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    reset_code: Option<String>,
}

impl ResetDto {
    /// Hands out the reset code, where enrolment asks for one.
    #[must_use]
    pub fn new(done: &Done, code: &ResetCode) -> Self {
        Self {
            user: UserDto::new(&done.key, &done.user, &done.profile),
            enrol_by: done.enrol_by,
            reset_code: done.code.then(|| code.display()),
        }
    }
}

/// A client credential just made.
#[derive(Serialize, ToSchema)]
pub struct NewClientDto {
    client_id: String,
    /// It is in this response and in no other.
    client_secret: String,
}

impl NewClientDto {
    /// Hands out the secret.
    #[must_use]
    pub fn new(new: &NewClient) -> Self {
        Self { client_id: new.client.id.as_str().to_owned(), client_secret: new.secret.to_string() }
    }
}

/// A login name to be: 1 to 128 characters without surrounding spaces, none of them a control character.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, min_length = 1, max_length = 128)]
pub struct Username(String);

impl TryFrom<String> for Username {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bare = !text.is_empty() && text.trim() == text && !text.contains(char::is_control);
        if bare && text.chars().count() <= 128 { Ok(Self(text)) } else { Err("no username") }
    }
}

impl std::ops::Deref for Username {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

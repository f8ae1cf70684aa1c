//! How the domain's types are stored: the attribute names of their items (docs/data-model.md). The names are short, because the
//! cost of a write grows with each kilobyte of its item.

use std::collections::HashMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    domain::{
        Amr, AuthType, Authenticator, ChallengeState, CurrentIdp, Device, Exclusion, Factor, FactorState, ItemVersion,
        Kind, LoginTokenEntry, MailToken, PasswordVersion, PendingEnrolment, ResetCodeEntry, ResetCodeFor, Role,
        SecurityVersion, Session, StoredRecoveryToken, TimeStep, User,
    },
    env::Timestamp,
    id::{BatchId, EntryId},
    secret::{CodeDigest, Nonce, SealedSecret, TokenVerifier},
};

/// Stores a type as a record: the same fields, with the names of attributes. The text is the type's name again, for serde.
macro_rules! record {
    ($name:ident $text:literal as $record:ident { $($(#[$meta:meta])* $field:ident: $type:ty,)* }) => {
        #[derive(Serialize, Deserialize)]
        #[serde(remote = $text)]
        struct $record {
            $($(#[$meta])* $field: $type,)*
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $record::deserialize(deserializer)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $record::serialize(self, serializer)
            }
        }
    };
}

pub(super) mod times;

use times::{millis, secs, secs_or_zero};

/// Stores an enum as one letter.
macro_rules! letters {
    ($($name:ident { $($variant:ident $letter:literal),* })*) => { $(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(match self { $(Self::$variant => $letter),* })
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                match String::deserialize(deserializer)?.as_str() {
                    $($letter => Ok(Self::$variant),)*
                    _ => Err(D::Error::custom(concat!("unknown ", stringify!($name)))),
                }
            }
        }
    )* };
}
letters! {
    Kind { Employee "e", Contact "c" }
    Role { Administrator "a", Standard "s", Portal "p", Operator "o" }
    AuthType { Local "l", SamlSso "s" }
    FactorState { None "n", Active "a", Disabled "d" }
    ResetCodeFor { Administrators "a", Everyone "e" }
}

mod mail_log;
mod mail_token;
mod tenant;

/// Stores how a session was authenticated as a number.
impl Serialize for Amr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(match self {
            Self::Password => 1,
            Self::Otp => 2,
            Self::Recovery => 3,
            Self::Sso => 4,
            Self::SsoOtp => 5,
        })
    }
}

impl<'de> Deserialize<'de> for Amr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match i64::deserialize(deserializer)? {
            1 => Ok(Self::Password),
            2 => Ok(Self::Otp),
            3 => Ok(Self::Recovery),
            4 => Ok(Self::Sso),
            5 => Ok(Self::SsoOtp),
            _ => Err(D::Error::custom("unknown Amr")),
        }
    }
}

/// The number of attempts that says that a challenge is spent. No count reaches it.
const SPENT: i64 = 1_000;

/// Stores the state of a challenge as its number of attempts, which a write raises without reading it.
impl Serialize for ChallengeState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(match *self {
            Self::Open { attempts } => attempts,
            Self::Spent => SPENT,
        })
    }
}

impl<'de> Deserialize<'de> for ChallengeState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let attempts = i64::deserialize(deserializer)?;
        Ok(if attempts >= SPENT { Self::Spent } else { Self::Open { attempts } })
    }
}

record! { LoginTokenEntry "LoginTokenEntry" as LoginTokenEntryRecord {
    #[serde(rename = "g")]
    verifier: TokenVerifier,
    #[serde(rename = "x", with = "millis")]
    ends: Timestamp,
    #[serde(rename = "n")]
    state: ChallengeState,
    #[serde(rename = "e")]
    security_version: SecurityVersion,
    #[serde(rename = "w")]
    network: String,
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    device: Option<EntryId>,
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    idp_generation: Option<Nonce>,
} }

record! { Session "Session" as SessionRecord {
    #[serde(rename = "g")]
    verifier: TokenVerifier,
    #[serde(rename = "c", with = "millis")]
    created: Timestamp,
    #[serde(rename = "a")]
    attempt: Nonce,
    #[serde(rename = "x", with = "secs")]
    ends: Timestamp,
    #[serde(rename = "l", with = "secs")]
    seen: Timestamp,
    #[serde(rename = "u", with = "secs_or_zero")]
    step_up: Option<Timestamp>,
    #[serde(rename = "m")]
    amr: Amr,
    #[serde(rename = "e")]
    security_version: SecurityVersion,
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    idp_generation: Option<Nonce>,
    #[serde(rename = "p", default, skip_serializing_if = "is_zero")]
    password_attempts: i64,
    #[serde(rename = "pa", default, skip_serializing_if = "Option::is_none")]
    password_attempt: Option<Nonce>,
} }

record! { Device "Device" as DeviceRecord {
    #[serde(rename = "g")]
    verifier: TokenVerifier,
    #[serde(rename = "x", with = "secs")]
    ends: Timestamp,
    #[serde(rename = "n")]
    attempts: i64,
    #[serde(rename = "q", with = "millis")]
    last: Timestamp,
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    attempt: Option<Nonce>,
} }

record! { PendingEnrolment "PendingEnrolment" as PendingEnrolmentRecord {
    #[serde(rename = "fid")]
    factor: Nonce,
    #[serde(rename = "sec")]
    secret: SealedSecret,
    #[serde(rename = "by")]
    started_by: EntryId,
    #[serde(rename = "x", with = "millis")]
    ends: Timestamp,
    #[serde(rename = "n")]
    attempts: i64,
    #[serde(rename = "rc", default, skip_serializing_if = "Option::is_none")]
    reset_code: Option<CodeDigest>,
    #[serde(rename = "was", default, skip_serializing_if = "Option::is_none")]
    factor_at_start: Option<Nonce>,
} }

record! { ResetCodeEntry "ResetCodeEntry" as ResetCodeEntryRecord {
    #[serde(rename = "h")]
    digest: CodeDigest,
    #[serde(rename = "x", with = "millis")]
    ends: Timestamp,
    #[serde(rename = "n")]
    attempts: i64,
} }

record! { CurrentIdp "CurrentIdp" as CurrentIdpRecord {
    #[serde(rename = "e")]
    entity_id: String,
    #[serde(rename = "gn", default)]
    generation: Option<Nonce>,
} }

/// Most sessions never change a password: a count of zero is not stored.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &i64) -> bool {
    *count == 0
}

// A contact's exclusion, within a user's item.
record! { Exclusion "Exclusion" as ExclusionRecord {
    #[serde(rename = "b")]
    batch: BatchId,
    #[serde(rename = "t", with = "millis")]
    at: Timestamp,
} }

// A user's item (`U`).
record! { User "User" as UserRecord {
    // Every write raises it (`store::write`), so it is only read.
    #[serde(rename = "v", default, skip_serializing)]
    version: ItemVersion,
    #[serde(rename = "k")]
    kind: Kind,
    #[serde(rename = "r")]
    role: Role,
    #[serde(rename = "rg", default, skip_serializing_if = "std::ops::Not::not")]
    role_by_groups: bool,
    #[serde(rename = "at")]
    auth_type: AuthType,
    #[serde(rename = "ac")]
    active: bool,
    #[serde(rename = "born")]
    incarnation: Nonce,
    #[serde(rename = "ep")]
    security_version: SecurityVersion,
    #[serde(rename = "pv")]
    password_version: PasswordVersion,
    #[serde(rename = "pl", default, skip_serializing_if = "std::ops::Not::not")]
    password_fits_contact: bool,
    #[serde(rename = "ev", default, skip_serializing_if = "std::ops::Not::not")]
    email_verified: bool,
    #[serde(rename = "mt", default, skip_serializing_if = "HashMap::is_empty")]
    mail_tokens: HashMap<EntryId, MailToken>,
    #[serde(rename = "lh")]
    login_digest: String,
    #[serde(flatten)]
    factor: Factor,
    #[serde(rename = "f", default, with = "millis")]
    recent_attempts: HashMap<String, Timestamp>,
    #[serde(rename = "row")]
    consecutive_failures: i64,
    #[serde(rename = "life")]
    total_failures: i64,
    #[serde(rename = "c", default)]
    challenges: HashMap<EntryId, LoginTokenEntry>,
    #[serde(rename = "e", default)]
    enrolments: HashMap<EntryId, LoginTokenEntry>,
    #[serde(rename = "s", default)]
    sessions: HashMap<EntryId, Session>,
    #[serde(rename = "d", default)]
    devices: HashMap<EntryId, Device>,
    #[serde(rename = "pe", default, skip_serializing_if = "Option::is_none")]
    pending: Option<PendingEnrolment>,
    #[serde(rename = "rc", default, skip_serializing_if = "Option::is_none")]
    reset_code: Option<ResetCodeEntry>,
    #[serde(rename = "rq", default, skip_serializing_if = "std::ops::Not::not")]
    reset_code_required: bool,
    #[serde(rename = "eb", default, skip_serializing_if = "Option::is_none", with = "secs")]
    enrol_by: Option<Timestamp>,
    #[serde(rename = "ex", default, skip_serializing_if = "Option::is_none")]
    excluded: Option<Exclusion>,
    #[serde(rename = "nw", default, with = "millis")]
    networks: HashMap<String, Vec<Timestamp>>,
    #[serde(rename = "rb", default, with = "millis")]
    resets: Vec<Timestamp>,
    #[serde(with = "secs")]
    seen: Timestamp,
    #[serde(rename = "in", default, skip_serializing_if = "Option::is_none", with = "secs")]
    last_sign_in: Option<Timestamp>,
} }

/// The attributes of a factor, within a user's item.
#[derive(Serialize, Deserialize)]
struct FactorRecord {
    #[serde(rename = "fs")]
    state: FactorState,
    #[serde(rename = "fid", default, skip_serializing_if = "Option::is_none")]
    id: Option<Nonce>,
    #[serde(rename = "sec", default, skip_serializing_if = "Option::is_none")]
    secret: Option<SealedSecret>,
    #[serde(rename = "ls", default, skip_serializing_if = "Option::is_none")]
    last_step: Option<TimeStep>,
    #[serde(rename = "fat", default, skip_serializing_if = "Option::is_none", with = "secs")]
    enrolled_at: Option<Timestamp>,
    #[serde(rename = "rk", default, skip_serializing_if = "Option::is_none")]
    recovery_digest: Option<CodeDigest>,
    #[serde(rename = "rkt", default, skip_serializing_if = "Option::is_none", with = "secs")]
    recovery_issued_at: Option<Timestamp>,
}

impl FactorRecord {
    /// The factor. The error says which attribute is missing, or that there are attributes of a factor but no factor.
    fn factor(self) -> Result<Factor, &'static str> {
        if self.state == FactorState::None {
            return if self.has_attributes() {
                Err("attributes of a factor without a factor")
            } else {
                Ok(Factor::None)
            };
        }
        let authenticator = Authenticator {
            id: self.id.ok_or("a factor without its id")?,
            secret: self.secret.ok_or("a factor without its secret")?,
            last_step: self.last_step.ok_or("a factor without its last step")?,
            enrolled_at: self.enrolled_at.ok_or("a factor without its time")?,
            recovery_token: match (self.recovery_digest, self.recovery_issued_at) {
                (Some(digest), Some(issued_at)) => Some(StoredRecoveryToken { digest, issued_at }),
                (None, None) => None,
                _ => return Err("a recovery token without its digest or its time"),
            },
        };
        let active = self.state == FactorState::Active;
        Ok(if active { Factor::Active(authenticator) } else { Factor::Disabled(authenticator) })
    }

    fn has_attributes(&self) -> bool {
        self.id.is_some()
            || self.secret.is_some()
            || self.last_step.is_some()
            || self.enrolled_at.is_some()
            || self.recovery_digest.is_some()
            || self.recovery_issued_at.is_some()
    }
}

impl<'de> Deserialize<'de> for Factor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        FactorRecord::deserialize(deserializer)?.factor().map_err(D::Error::custom)
    }
}

impl Serialize for Factor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let authenticator = match self.clone() {
            Self::None => None,
            Self::Active(authenticator) | Self::Disabled(authenticator) => Some(authenticator),
        };
        let (id, last_step) = authenticator.as_ref().map(|it| (it.id, it.last_step)).unzip();
        let enrolled_at = authenticator.as_ref().map(|it| it.enrolled_at);
        let (secret, recovery) = authenticator.map(|it| (it.secret, it.recovery_token)).unzip();
        let recovery = recovery.flatten().map(|token| (token.digest, token.issued_at));
        let (recovery_digest, recovery_issued_at) = recovery.unzip();
        let state = self.state();
        FactorRecord { state, id, secret, last_step, enrolled_at, recovery_digest, recovery_issued_at }
            .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{
        fixture::{FACTOR_ATTRIBUTES, ann},
        item,
        write::{num, text},
    };

    #[test]
    fn state_of_a_challenge_is_stored_as_a_number_of_attempts() {
        for (state, number) in [
            (ChallengeState::NEW, 0),
            (ChallengeState::Open { attempts: 5 }, 5),
            (ChallengeState::Open { attempts: 999 }, 999),
            (ChallengeState::Spent, 1_000),
        ] {
            assert_eq!(item::value(&state).unwrap(), num(number));
            let read: ChallengeState = serde_dynamo::from_attribute_value(num(number)).unwrap();
            assert_eq!(read, state);
        }
    }

    /// All of the attributes or none: otherwise it is unclear whether the user has a factor, so the item is refused.
    #[tokio::test]
    async fn factor_state_agrees_with_the_factor_attributes() {
        let (ann, _) = ann(0).await;
        let enrolled = ann.item(&ann.key).await;
        for name in FACTOR_ATTRIBUTES {
            let mut incomplete = enrolled.clone();
            incomplete.remove(name).unwrap();
            assert!(item::read::<User>(incomplete).is_err(), "active without {name}");
            let mut leftover = enrolled.clone();
            leftover.insert("fs".to_owned(), text("n"));
            leftover.retain(|kept, _| kept == name || !FACTOR_ATTRIBUTES.contains(&kept.as_str()));
            assert!(item::read::<User>(leftover.clone()).is_err(), "no factor, but {name}");
            leftover.remove(name).unwrap();
            assert!(item::read::<User>(leftover).unwrap().factor == Factor::None);
        }
    }
}

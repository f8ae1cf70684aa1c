//! A function opens before its first request: it checks its table, keys and clock, which also makes the connections
//! that requests will use. If something is wrong, the function stays up and answers 503 to every request. One log line
//! lists all errors. A later request checks again.

use std::{sync::Arc, time::Duration};

use axum::Router;
use tokio::{join, sync::Mutex};

use super::{
    Aws, ConfigErrors, Gateway,
    keys::{KeySources, Sealing},
};
use crate::{
    audit::AuditRetention,
    env::{Clock, SystemEntropy, Timestamp},
    http::{App, Code, Problem, Routes, always, serve},
    kms::KmsSealer,
    mail_order::MailQueue,
    metrics::Metrics,
    password::{PasswordParams, Passwords},
    secret::{CodeKey, NameKey, Sealer},
    sso::PublicUrl,
    store::{
        Store,
        dynamo::{DynamoTable, StoreCheck},
        setup::Identity,
    },
};

/// How long the identity of the store is cached. A function may serve for this long after a restore epoch was raised.
const IDENTITY_CACHED: Duration = Duration::from_secs(30);

/// How long a function that is not open waits before it checks again.
const CHECK_AGAIN: Duration = Duration::from_secs(1);

/// Maximum difference between this clock and DynamoDB's: one time step of TOTP codes.
const MAX_CLOCK_OFFSET: Duration = Duration::from_secs(30);

/// What a flow needs besides its table. It gets nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequiredKeys {
    pub(super) sealing: bool,
    pub(super) names: bool,
    pub(super) codes: bool,
    pub(super) mail_queue: bool,
}

impl RequiredKeys {
    /// No key at all.
    pub const NOTHING: Self = Self { sealing: false, names: false, codes: false, mail_queue: false };
    /// The key under which login names, NameIDs and tickets are digested, and SAML signing keys and lists of users sealed.
    pub const NAMES: Self = Self { names: true, ..Self::NOTHING };
    /// The key under which recovery tokens and reset codes are digested.
    pub const CODES: Self = Self { codes: true, ..Self::NOTHING };
    /// The keys that seal authenticators' secrets.
    pub const SEALING: Self = Self { sealing: true, ..Self::NOTHING };

    /// The queue of mails, if configured. Without it no mail with a link can be asked for.
    pub const MAIL_QUEUE: Self = Self { mail_queue: true, ..Self::NOTHING };

    /// The union of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            sealing: self.sealing || other.sealing,
            names: self.names || other.names,
            codes: self.codes || other.codes,
            mail_queue: self.mail_queue || other.mail_queue,
        }
    }
}

/// A flow with its endpoints and its configuration.
pub struct Function {
    routes: Routes,
    needs: RequiredKeys,
    variable: Variables,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

/// Environment variables. They are read when the function opens, and again each time it checks.
type Variables = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The configuration of a function, and the errors in it.
struct Environment {
    aws: Aws,
    table: DynamoTable,
    /// The ARN of the table's stream.
    stream: String,
    key_sources: KeySources,
    public_url: Option<PublicUrl>,
    mails: Option<Arc<dyn MailQueue>>,
    audit_retention: AuditRetention,
    faults: ConfigErrors,
}

/// Whether the function serves requests.
enum State {
    /// Something is wrong, or nothing was checked yet; the time of the last check.
    NotStarted(Option<Timestamp>),
    /// Open; `checked` is when the store's identity was last read.
    Running { router: Router, store: Store, identity: Identity, checked: Timestamp },
}

impl Function {
    /// A function configured by environment variables.
    pub fn new(
        routes: Routes,
        needs: RequiredKeys,
        variable: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        Arc::new(Self {
            routes,
            needs,
            variable: Box::new(variable),
            clock,
            state: Mutex::new(State::NotStarted(None)),
        })
    }

    pub(super) fn metrics(&self) -> Metrics {
        Metrics::read(&self.variable)
    }

    /// The gateway settings. While the variables are invalid nothing is served, so the default is good enough.
    pub(super) fn gateway(&self) -> Gateway {
        Gateway::read(&self.variable).unwrap_or_default()
    }

    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// The router of the flow; while something is wrong, a router that answers 503.
    pub(super) async fn router(&self) -> Router {
        let now = self.clock.now();
        let mut state = self.state.lock().await;
        match &mut *state {
            State::Running { router, checked, .. } if now < *checked + IDENTITY_CACHED => return router.clone(),
            State::Running { router, store, identity, checked } => match store.identity().await {
                Ok(Some(found)) if found == *identity => {
                    *checked = now;
                    return router.clone();
                }
                // The restore epoch or the store changed: check everything again.
                Ok(_) => {}
                // Deny this request. The table may respond to the next one.
                Err(_) => return self.unavailable(),
            },
            State::NotStarted(Some(checked)) if now < *checked + CHECK_AGAIN => return self.unavailable(),
            State::NotStarted(_) => {}
        }
        match self.open().await {
            Ok((app, identity)) => {
                let (store, router) = (app.store.clone(), serve(self.routes.clone(), app));
                *state = State::Running { router: router.clone(), store, identity, checked: self.clock.now() };
                router
            }
            Err(faults) => {
                tracing::error!(%faults, "nothing is served until the configuration is fixed");
                *state = State::NotStarted(Some(self.clock.now()));
                self.unavailable()
            }
        }
    }

    fn unavailable(&self) -> Router {
        always(Problem::new(Code::Unavailable), Arc::clone(&self.clock), Arc::new(SystemEntropy))
    }

    /// Opens the function for operator commands, and returns the ARN of the table's stream. It also accepts a table
    /// without a store, and a restored table. Only this function asks DynamoDB to describe the table.
    ///
    /// # Errors
    /// All errors found.
    pub async fn open_to_operators(&self) -> Result<(App, String), ConfigErrors> {
        let Environment { aws, table, stream, key_sources, public_url, mails: _, audit_retention, mut faults } =
            self.configuration()?;
        let (wrong, checked, keys) =
            join!(table.describe(&stream), table.check_store(), key_sources.keys(&aws, self.needs));
        // An error of the table also explains why it does not respond.
        faults.0.extend(if wrong.is_empty() { checked.faults } else { wrong });
        let keys = faults.take_all(keys);
        let (Some(keys), true) = (keys, faults.0.is_empty()) else { return Err(faults) };
        let store = Store::new(Arc::new(table))
            .with_audit_retention(audit_retention)
            .at(checked.identity.map(|it| it.restore).unwrap_or_default());
        Ok((self.app(store, None, (keys.names, keys.codes), public_url, None, faults)?, stream))
    }

    /// Checks everything, even after an error.
    async fn open(&self) -> Result<(Arc<App>, Identity), ConfigErrors> {
        let Environment { aws, table, stream, key_sources, public_url, mails, audit_retention, mut faults } =
            self.configuration()?;
        faults.take_all(Gateway::read(&self.variable));
        let (identity, keys) = join!(self.checked_identity(&table, &stream), key_sources.keys(&aws, self.needs));
        let (identity, keys) = (faults.take_all(identity), faults.take_all(keys));
        let (Some(identity), Some(keys)) = (identity, keys) else { return Err(faults) };
        let store = Store::new(Arc::new(table)).at(identity.restore).with_audit_retention(audit_retention);
        let sealer = match keys.sealing {
            Some(Sealing::Ring(ring)) => Some(Arc::new(ring) as Arc<dyn Sealer>),
            Some(Sealing::Kms(client, id)) => {
                let sealer = KmsSealer::new(client, id, store.clone(), Arc::clone(&self.clock));
                faults.take(sealer.warm().await.map_err(|error| format!("VESTIBULE_SEALING_KEY: {error}")));
                Some(Arc::new(sealer) as _)
            }
            None => None,
        };
        Ok((Arc::new(self.app(store, sealer, (keys.names, keys.codes), public_url, mails, faults)?), identity))
    }

    /// Reads the configuration. A missing value is recorded, and the other values are still checked.
    fn configuration(&self) -> Result<Environment, ConfigErrors> {
        let mut faults = ConfigErrors::default();
        let aws = Aws::read(&self.variable, &mut faults);
        let table = faults.require(&self.variable, "VESTIBULE_TABLE", "the DynamoDB table");
        let stream = "the ARN of the table's stream, which tells a restored table from the store's";
        let stream = faults.require(&self.variable, "VESTIBULE_TABLE_STREAM", stream);
        let key_sources = KeySources::read(&self.variable, self.needs, &mut faults);
        let public_url = self.public_url(&mut faults);
        let audit_retention = faults.audit_retention(&self.variable);
        let (Some(aws), Some(table), Some(stream)) = (aws, table, stream) else { return Err(faults) };
        let table = aws.table(table, (self.variable)("VESTIBULE_DYNAMODB_ENDPOINT"));
        let mails = if self.needs.mail_queue { self.mail_queue(&aws, &mut faults) } else { None };
        Ok(Environment { aws, table, stream, key_sources, public_url, mails, audit_retention, faults })
    }

    /// The queue of mails, if configured. Only flows that need it are compiled with SQS.
    fn mail_queue(&self, aws: &Aws, faults: &mut ConfigErrors) -> Option<Arc<dyn MailQueue>> {
        let url = (self.variable)("VESTIBULE_MAIL_QUEUE").filter(|url| !url.is_empty())?;
        faults.take(sqs_queue(aws, url, (self.variable)("VESTIBULE_SQS_ENDPOINT")))
    }

    /// The public address of the service, if configured. Pages compare the origin of a form with it. Without it there is no
    /// sign-in by an IdP, and its paths answer 404.
    fn public_url(&self, faults: &mut ConfigErrors) -> Option<PublicUrl> {
        let text = (self.variable)("VESTIBULE_PUBLIC_URL").filter(|text| !text.is_empty())?;
        faults.take(
            PublicUrl::parse(&text).map_err(|expected| format!("VESTIBULE_PUBLIC_URL {text}: it must be {expected}")),
        )
    }

    /// The state for handlers and commands, if there is no error.
    fn app(
        &self,
        store: Store,
        sealer: Option<Arc<dyn Sealer>>,
        (names, codes): (Option<NameKey>, Option<CodeKey>),
        public_url: Option<PublicUrl>,
        mails: Option<Arc<dyn MailQueue>>,
        mut faults: ConfigErrors,
    ) -> Result<App, ConfigErrors> {
        // Lambda runs one request at a time in each instance.
        let passwords = Passwords::new(PasswordParams::default(), 1, 1, &SystemEntropy);
        match faults.take(passwords.map_err(|error| error.to_string())) {
            Some(passwords) if faults.0.is_empty() => {
                let (clock, entropy) = (Arc::clone(&self.clock), Arc::new(SystemEntropy));
                let (names, codes, passwords) = (names.map(Arc::new), codes.map(Arc::new), Arc::new(passwords));
                Ok(App { store, clock, entropy, sealer, names, codes, passwords, public_url, mails })
            }
            _ => Err(faults),
        }
    }

    /// Reads the store's identity. Checks the clock, and that the table is the one that the identity names.
    async fn checked_identity(&self, table: &DynamoTable, stream: &str) -> Result<Identity, ConfigErrors> {
        let StoreCheck { identity, service_time, mut faults } = table.check_store().await;
        let off = service_time.map(|time| Duration::from_millis(time.millis().abs_diff(self.clock.now().millis())));
        if let Some(off) = off.filter(|off| *off > MAX_CLOCK_OFFSET) {
            faults.push(format!("the clock is {} seconds off that of DynamoDB", off.as_secs()));
        }
        let one = |fault: &str| Err(ConfigErrors(vec![fault.to_owned()]));
        match identity {
            _ if !faults.is_empty() => Err(ConfigErrors(faults)),
            Some(identity) if identity.stream.as_deref().is_some_and(|of_store| of_store != stream) => {
                one("the table was restored from a backup: raise the restore epoch first (docs/deploy.md)")
            }
            Some(identity) => Ok(identity),
            None => one("the table is no store yet: invoke the function of the operators first (docs/deploy.md)"),
        }
    }
}

#[cfg(feature = "sqs")]
#[allow(clippy::unnecessary_wraps, reason = "without the feature it is an error")]
fn sqs_queue(aws: &Aws, url: String, endpoint: Option<String>) -> Result<Arc<dyn MailQueue>, String> {
    Ok(Arc::new(crate::sqs::SqsQueue::new(aws, url, endpoint)))
}

#[cfg(not(feature = "sqs"))]
fn sqs_queue(_: &Aws, _: String, _: Option<String>) -> Result<Arc<dyn MailQueue>, String> {
    Err("this function was compiled without a queue of mails".to_owned())
}

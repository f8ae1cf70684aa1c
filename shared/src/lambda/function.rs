//! A function opens before it takes its first request: its table, its keys and its clock are looked at, and with that the
//! connections are made that requests will use. While something is wrong it stays up and answers 503 to whatever is asked; one
//! line in its log names every fault, and it looks again at a later request.

use std::{sync::Arc, time::Duration};

use axum::Router;
use tokio::{join, sync::Mutex};

use super::{
    Aws, ConfigErrors, Gateway,
    keys::{Places, Sealing},
};
use crate::{
    audit::{AuditRetention, BadRetention},
    env::{Clock, SystemEntropy, Timestamp},
    http::{App, Code, Problem, Routes, always, serve},
    kms::KmsSealer,
    metrics::Metrics,
    password::{PasswordParams, Passwords},
    secret::{CodeKey, NameKey, Sealer},
    sso::PublicUrl,
    store::{
        Store,
        dynamo::{DynamoTable, Look},
        setup::Identity,
    },
};

/// How long what was seen of the store's identity is relied on: so long a function may serve after a restore epoch was
/// raised.
const RELIED_ON: Duration = Duration::from_secs(30);

/// How soon a function that is shut looks again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How far the clock may be off DynamoDB's: one step of an authenticator's codes.
const CLOCK_OFF: Duration = Duration::from_secs(30);

/// What a flow needs beside its table. It is given nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequiredKeys {
    pub(super) sealing: bool,
    pub(super) names: bool,
    pub(super) codes: bool,
    pub(super) public_url: bool,
}

impl RequiredKeys {
    /// No key at all.
    pub const NOTHING: Self = Self { sealing: false, names: false, codes: false, public_url: false };
    /// The key under which login names and tickets are digested.
    pub const NAMES: Self = Self { names: true, ..Self::NOTHING };
    /// The key under which recovery tokens and reset codes are digested.
    pub const CODES: Self = Self { codes: true, ..Self::NOTHING };
    /// The keys that seal authenticators' secrets.
    pub const SEALING: Self = Self { sealing: true, ..Self::NOTHING };
    /// Where people reach the service, if it is said: without it there is no sign-in by an IdP, and its paths answer 404.
    pub const PUBLIC_URL: Self = Self { public_url: true, ..Self::NOTHING };

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            sealing: self.sealing || other.sealing,
            names: self.names || other.names,
            codes: self.codes || other.codes,
            public_url: self.public_url || other.public_url,
        }
    }
}

/// A flow with what it has of its own: its endpoints, and where its table and its keys are.
pub struct Function {
    routes: Routes,
    needs: RequiredKeys,
    variable: Variables,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

/// The environment: read once when a function opens, and again when it looks again.
type Variables = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What a function finds around it, and what of that is wrong.
struct Environment {
    aws: Aws,
    table: DynamoTable,
    /// The ARN of the table's stream.
    stream: String,
    places: Places,
    public_url: Option<PublicUrl>,
    audit_retention: AuditRetention,
    faults: ConfigErrors,
}

/// Whether requests are served.
enum State {
    /// Something is wrong; when it was looked at.
    NotStarted(Option<Timestamp>),
    /// All was right.
    Running { router: Router, store: Store, identity: Identity, looked: Timestamp },
}

impl Function {
    /// Configured by the variables.
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

    /// What is before the function. While its variables do not read nothing is served, so the default is as good as any.
    pub(super) fn gateway(&self) -> Gateway {
        Gateway::read(&self.variable).unwrap_or_default()
    }

    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// The endpoints; or, while something is wrong, what answers 503.
    pub(super) async fn router(&self) -> Router {
        let now = self.clock.now();
        let mut state = self.state.lock().await;
        match &mut *state {
            State::Running { router, looked, .. } if now < *looked + RELIED_ON => return router.clone(),
            State::Running { router, store, identity, looked } => match store.identity().await {
                Ok(Some(found)) if found == *identity => {
                    *looked = now;
                    return router.clone();
                }
                // Another restore epoch, or another store: everything is looked at anew.
                Ok(_) => {}
                // Denied. A table that does not answer now may do so for the next request.
                Err(_) => return self.shut(),
            },
            State::NotStarted(Some(looked)) if now < *looked + LOOK_AGAIN => return self.shut(),
            State::NotStarted(_) => {}
        }
        match self.open().await {
            Ok((app, identity)) => {
                let (store, router) = (app.store.clone(), serve(self.routes.clone(), app));
                *state = State::Running { router: router.clone(), store, identity, looked: self.clock.now() };
                router
            }
            Err(faults) => {
                tracing::error!(%faults, "nothing is served before this is mended");
                *state = State::NotStarted(Some(self.clock.now()));
                self.shut()
            }
        }
    }

    fn shut(&self) -> Router {
        always(Problem::new(Code::Unavailable), Arc::clone(&self.clock), Arc::new(SystemEntropy))
    }

    /// What the commands of the operators work with, and the ARN of the table's stream: open to a table that is no store
    /// yet, and to one that was restored. Only here DynamoDB is asked what the table is.
    ///
    /// # Errors
    /// Every fault.
    pub async fn open_to_operators(&self) -> Result<(App, String), ConfigErrors> {
        let Environment { aws, table, stream, places, public_url, audit_retention, mut faults } =
            self.surroundings()?;
        let (wrong, look, keys) = join!(table.describe(&stream), table.look(), places.keys(&aws, self.needs));
        // What is wrong with the table is why it does not answer, too.
        faults.0.extend(if wrong.is_empty() { look.faults } else { wrong });
        let keys = faults.take_all(keys);
        let (Some(keys), true) = (keys, faults.0.is_empty()) else { return Err(faults) };
        let store = Store::new(Arc::new(table))
            .keeping_audit(audit_retention)
            .at(look.identity.map(|it| it.restore).unwrap_or_default());
        Ok((self.app(store, None, (keys.names, keys.codes), public_url, faults)?, stream))
    }

    /// Looks at everything, whatever else is wrong.
    async fn open(&self) -> Result<(Arc<App>, Identity), ConfigErrors> {
        let Environment { aws, table, stream, places, public_url, audit_retention, mut faults } =
            self.surroundings()?;
        faults.take_all(Gateway::read(&self.variable));
        let (identity, keys) = join!(self.looked_at(&table, &stream), places.keys(&aws, self.needs));
        let (identity, keys) = (faults.take_all(identity), faults.take_all(keys));
        let (Some(identity), Some(keys)) = (identity, keys) else { return Err(faults) };
        let store = Store::new(Arc::new(table)).at(identity.restore).keeping_audit(audit_retention);
        let sealer = match keys.sealing {
            Some(Sealing::Ring(ring)) => Some(Arc::new(ring) as Arc<dyn Sealer>),
            Some(Sealing::Kms(client, id)) => {
                let sealer = KmsSealer::new(client, id, store.clone(), Arc::clone(&self.clock));
                faults.take(sealer.warm().await.map_err(|error| format!("VESTIBULE_SEALING_KEY: {error}")));
                Some(Arc::new(sealer) as _)
            }
            None => None,
        };
        Ok((Arc::new(self.app(store, sealer, (keys.names, keys.codes), public_url, faults)?), identity))
    }

    /// Where the table and the keys are; and what of that is not said, which is no reason not to look at the rest.
    fn surroundings(&self) -> Result<Environment, ConfigErrors> {
        let mut faults = ConfigErrors::default();
        let aws = Aws::read(&self.variable, &mut faults);
        let table = faults.wanted(&self.variable, "VESTIBULE_TABLE", "the DynamoDB table");
        let stream = "the ARN of the table's stream, which tells a restored table from the store's";
        let stream = faults.wanted(&self.variable, "VESTIBULE_TABLE_STREAM", stream);
        let places = Places::read(&self.variable, self.needs, &mut faults);
        let public_url = if self.needs.public_url { self.public_url(&mut faults) } else { None };
        let audit_retention = self.audit_retention(&mut faults);
        let (Some(aws), Some(table), Some(stream)) = (aws, table, stream) else { return Err(faults) };
        let table = aws.table(table, (self.variable)("VESTIBULE_DYNAMODB_ENDPOINT"));
        Ok(Environment { aws, table, stream, places, public_url, audit_retention, faults })
    }

    /// How long audit rows are kept, where that is said.
    fn audit_retention(&self, faults: &mut ConfigErrors) -> AuditRetention {
        let said = (self.variable)("VESTIBULE_AUDIT_RETENTION_DAYS").filter(|days| !days.is_empty());
        let read = |days: String| {
            days.parse().map_err(|wanted: BadRetention| format!("VESTIBULE_AUDIT_RETENTION_DAYS {days}: {wanted}"))
        };
        said.and_then(|days| faults.take(read(days))).unwrap_or_default()
    }

    fn public_url(&self, faults: &mut ConfigErrors) -> Option<PublicUrl> {
        let text = (self.variable)("VESTIBULE_PUBLIC_URL").filter(|text| !text.is_empty())?;
        faults.take(
            PublicUrl::parse(&text).map_err(|wanted| format!("VESTIBULE_PUBLIC_URL {text}: it has to be {wanted}")),
        )
    }

    /// What endpoints and commands work with, if there is no fault.
    fn app(
        &self,
        store: Store,
        sealer: Option<Arc<dyn Sealer>>,
        (names, codes): (Option<NameKey>, Option<CodeKey>),
        public_url: Option<PublicUrl>,
        mut faults: ConfigErrors,
    ) -> Result<App, ConfigErrors> {
        // A function serves one request at a time.
        let passwords = Passwords::new(PasswordParams::default(), 1, 1, &SystemEntropy);
        match faults.take(passwords.map_err(|error| error.to_string())) {
            Some(passwords) if faults.0.is_empty() => {
                let (clock, entropy) = (Arc::clone(&self.clock), Arc::new(SystemEntropy));
                let (names, codes, passwords) = (names.map(Arc::new), codes.map(Arc::new), Arc::new(passwords));
                Ok(App { store, clock, entropy, sealer, names, codes, passwords, public_url })
            }
            _ => Err(faults),
        }
    }

    /// The identity of the store, in a table that is the one that the store says it is in.
    async fn looked_at(&self, table: &DynamoTable, stream: &str) -> Result<Identity, ConfigErrors> {
        let Look { identity, service_time, mut faults } = table.look().await;
        let off = service_time.map(|time| Duration::from_millis(time.millis().abs_diff(self.clock.now().millis())));
        if let Some(off) = off.filter(|off| *off > CLOCK_OFF) {
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

//! `audit`: the events of the tenant.

use std::{collections::HashMap, time::Duration};

use serde_json::Value;
use tokio::time::sleep;
use vestibule::env::Timestamp;

use crate::{
    Failure,
    admin::Admin,
    args::admin::{Audit, AuditList, Events, Follow, UserArgument},
    client::text,
    output::Listing,
};

const PATH: &str = "/v1/admin/audit";

/// The columns of `audit list` and `audit follow`.
const LISTED: [&str; 6] = ["at", "action", "outcome", "actor", "target", "reason"];

/// The columns of `audit export`: the fields of the API.
const EXPORTED: [&str; 18] = [
    "id",
    "at",
    "action",
    "outcome",
    "actor",
    "target",
    "request_id",
    "actor_tenant",
    "reason",
    "ticket",
    "batch_id",
    "client_id",
    "changed",
    "user_agent",
    "name_id",
    "name_id_format",
    "algorithm",
    "notified",
];

/// How much later than its time an event can appear: it has the time at which its request began.
const LATE: Duration = Duration::from_secs(60);

/// Runs a command of this group.
///
/// # Errors
/// A message that says which step failed, and why.
pub async fn run(command: &Audit) -> Result<(), Failure> {
    match command {
        Audit::List(AuditList { events, limit }) => list(events, Listing::new(&LISTED, events.format), *limit).await,
        Audit::Export(events) => list(events, Listing::csv(&EXPORTED, events.format), usize::MAX).await,
        Audit::Follow(options) => follow(options).await,
    }
}

async fn list(events: &Events, mut listing: Listing, limit: usize) -> Result<(), Failure> {
    let mut admin = Admin::open()?;
    let mut query = user(&mut admin, events.user.as_deref(), events.id).await?;
    let times = [("from", events.from), ("to", events.to)];
    query.extend(times.into_iter().filter_map(|(name, time)| Some((name, time?.to_string()))));
    let mut left = limit;
    if left > 0 {
        admin
            .list(PATH, &query, |event| {
                listing.row(&event)?;
                left -= 1;
                Ok(left > 0)
            })
            .await?;
    }
    listing.end()
}

/// The field of the query that selects the events of a user.
async fn user(admin: &mut Admin, user: Option<&str>, id: bool) -> Result<Vec<(&'static str, String)>, Failure> {
    let Some(user) = user else { return Ok(Vec::new()) };
    // An id can be of a user who was deleted.
    let id = if id { user.to_owned() } else { admin.user_id(&UserArgument { user: user.to_owned(), id }).await? };
    Ok(vec![("user_id", id)])
}

/// Prints events as they appear. Only the times of the server count.
async fn follow(options: &Follow) -> Result<(), Failure> {
    let mut admin = Admin::open()?;
    let query = user(&mut admin, options.user.as_deref(), options.id).await?;
    let mut listing = Listing::new(&LISTED, options.format);
    let mut seen = Seen::default();
    admin.list(PATH, &query, |event| seen.add_earlier(&event)).await?;
    listing.begin()?;
    loop {
        sleep(Duration::from_secs(options.interval)).await;
        let mut query = query.clone();
        query.extend(seen.from().map(|from| ("from", from.to_string())));
        let mut new = Vec::new();
        admin
            .list(PATH, &query, |event| {
                if seen.is_new(&event)? {
                    new.push(event);
                }
                Ok(true)
            })
            .await?;
        for event in new.iter().rev() {
            listing.row(event)?;
            seen.add(event)?;
        }
        seen.forget();
    }
}

/// The events that were printed, as far back as one can still appear.
#[derive(Default)]
struct Seen {
    latest: Option<Timestamp>,
    events: HashMap<String, Timestamp>,
}

impl Seen {
    /// The time from which events can still appear.
    fn from(&self) -> Option<Timestamp> {
        self.latest.map(|latest| latest - LATE)
    }

    /// Adds an event from before the start. They come newest first. Returns whether the one before it is needed, too.
    fn add_earlier(&mut self, event: &Value) -> Result<bool, Failure> {
        let needed = self.is_new(event)?;
        self.add(event)?;
        Ok(needed)
    }

    fn is_new(&self, event: &Value) -> Result<bool, Failure> {
        let (id, at) = key(event)?;
        Ok(!self.events.contains_key(&id) && self.from().is_none_or(|from| at >= from))
    }

    fn add(&mut self, event: &Value) -> Result<(), Failure> {
        let (id, at) = key(event)?;
        self.events.insert(id, at);
        self.latest = self.latest.max(Some(at));
        Ok(())
    }

    fn forget(&mut self) {
        if let Some(from) = self.from() {
            self.events.retain(|_, at| *at >= from);
        }
    }
}

/// Id and time of an event.
fn key(event: &Value) -> Result<(String, Timestamp), Failure> {
    let at = Timestamp::parse(&text(&event["at"])?).ok_or("unexpected response: an event has no time")?;
    Ok((text(&event["id"])?.to_string(), at))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(id: &str, second: i64) -> Value {
        json!({"id": id, "at": Timestamp::from_secs(1_000 + second).to_string()})
    }

    #[test]
    fn start_reads_no_more_events_than_can_appear_again() {
        let mut seen = Seen::default();
        let read = [event("c", 100), event("b", 40), event("a", 39)].map(|event| seen.add_earlier(&event).unwrap());
        assert_eq!(read, [true, true, false]);
        assert!(!seen.is_new(&event("b", 40)).unwrap());
    }

    #[test]
    fn each_event_is_new_once_even_if_it_appears_late() {
        let mut seen = Seen::default();
        assert!(seen.is_new(&event("a", 0)).unwrap());
        seen.add(&event("a", 100)).unwrap();
        assert!(!seen.is_new(&event("a", 100)).unwrap());
        assert!(seen.is_new(&event("late", 50)).unwrap());
        assert!(!seen.is_new(&event("too-late", 39)).unwrap(), "it was there before");
        seen.add(&event("late", 50)).unwrap();
        seen.add(&event("b", 200)).unwrap();
        seen.forget();
        assert_eq!(seen.events.len(), 1);
        assert_eq!(seen.from(), Some(Timestamp::from_secs(1_140)));
        assert!(seen.is_new(&json!({"id": "c"})).is_err());
    }
}

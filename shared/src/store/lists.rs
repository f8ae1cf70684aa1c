//! Lists page by page: users, excluded contacts, tenants and the audit. No decision is based on a list.

use std::collections::VecDeque;

use data_encoding::BASE64URL_NOPAD;
use futures_util::future::try_join_all;

use super::{
    Store, StoreError, item,
    item::{ExclusionRow, FactorState, Kind, Profile, TenantPolicy, User},
    keys,
    table::Query,
    write::{Item, Value},
};
use crate::{
    audit::{AuditEvent, SHARDS},
    env::Timestamp,
    id::{TenantId, UserId, UserKey, fold},
};

/// The position where the next page of a list begins. It is opaque to callers and valid for one kind of list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(String);

/// The kinds of lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// Users.
    Users,
    /// Excluded contacts.
    Exclusions,
    /// The audit.
    Audit,
    /// Tenants.
    Tenants,
}

impl List {
    fn tag(self) -> &'static str {
        match self {
            Self::Users => "p:",
            Self::Exclusions => "x:",
            Self::Audit => "a:",
            Self::Tenants => "t:",
        }
    }
}

impl Cursor {
    /// Parses a text made by [`Self::text`]. `None` for any other text.
    #[must_use]
    pub fn parse(list: List, text: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        let sort = String::from_utf8(bytes).ok()?.strip_prefix(list.tag())?.to_owned();
        (list != List::Audit || row_time(&sort).is_some()).then_some(Self(sort))
    }

    /// The cursor as the API returns it.
    #[must_use]
    pub fn text(&self, list: List) -> String {
        BASE64URL_NOPAD.encode(format!("{}{}", list.tag(), self.0).as_bytes())
    }
}

/// A page of a list.
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor>,
}

/// Which users to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserFilter {
    /// Employees or contacts.
    pub kind: Option<Kind>,
    /// The state of their factor.
    pub mfa: Option<FactorState>,
    /// Excluded or not.
    pub excluded: Option<bool>,
    /// Prefix of the username or display name. Case is ignored.
    pub start: Option<String>,
}

/// Which audit rows to list.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Rows with this user as actor or target.
    pub user: Option<UserId>,
    /// From this time on.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub to: Option<Timestamp>,
}

/// An audit row.
pub struct AuditRow {
    /// The id of the row.
    pub id: String,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub event: AuditEvent,
}

impl Store {
    /// Lists users in the order of their usernames, with their current state. The state is read from each user's own
    /// item.
    ///
    /// # Errors
    /// [`StoreError`]: the store failed, or an item is corrupt.
    pub async fn list_users(
        &self,
        tenant: &TenantId,
        filter: &UserFilter,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<(UserKey, User, Profile)>, StoreError> {
        let start = filter.start.as_deref().map(fold);
        let mut page = Page { items: Vec::new(), next: None };
        let mut at = after.map(|cursor| cursor.0.clone());
        // One item more than a page tells whether there is a next page. With a filter many items may be skipped.
        let query = if *filter == UserFilter::default() { (limit + 1).min(QUERY) } else { QUERY };
        for _ in 0..MAX_QUERIES {
            let found = self.index(keys::directory(tenant), at.clone(), false, query).await?;
            let is_last = found.len() < query;
            let mut named = Vec::with_capacity(found.len());
            for profile in found {
                let sort = sort_key(&profile, "GS")?;
                let user = sort.rsplit_once('#').and_then(|(_, user)| UserId::parse(user).ok());
                let user = user.ok_or_else(|| StoreError::Corrupt("a name without a user".into()))?;
                named.push((sort, tenant.user(user), item::read::<Profile>(profile)?));
            }
            let user_keys: Vec<_> = named.iter().map(|(_, key, _)| keys::user(key)).collect();
            let users = if user_keys.is_empty() { Vec::new() } else { self.table.read(&user_keys).await? };
            for ((sort, key, profile), user) in named.into_iter().zip(users) {
                let Some(user) = user.map(item::read::<User>).transpose()? else { continue };
                if !filter.matches(&user, &profile, start.as_deref()) {
                    at = Some(sort);
                    continue;
                }
                if page.items.len() == limit {
                    // There is a next page, after the last item of this one.
                    page.next = page.items.last().map(|(key, _, profile)| Cursor(directory_sort(key, profile)));
                    return Ok(page);
                }
                at = Some(sort);
                page.items.push((key, user, profile));
            }
            if is_last {
                return Ok(page);
            }
        }
        page.next = at.map(Cursor);
        Ok(page)
    }

    /// Lists tenants in the order of their ids. With `start`, only those whose id or name begins with it; case is
    /// ignored.
    ///
    /// # Errors
    /// [`StoreError`]: the store failed, or an item is corrupt.
    pub async fn tenants(
        &self,
        start: Option<&str>,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<(TenantId, TenantPolicy)>, StoreError> {
        let start = start.map(fold);
        let begins = |name: &str| start.as_deref().is_none_or(|start| fold(name).starts_with(start));
        let mut page = Page { items: Vec::new(), next: None };
        let mut at = after.map(|cursor| cursor.0.clone());
        let query = if start.is_none() { (limit + 1).min(QUERY) } else { QUERY };
        for _ in 0..MAX_QUERIES {
            let found = self.index(keys::tenants(), at.clone(), false, query).await?;
            let is_last = found.len() < query;
            for item in found {
                let sort = sort_key(&item, "GS")?;
                let id = TenantId::parse(&sort).map_err(|_| StoreError::Corrupt("a tenant without an id".into()))?;
                let policy: TenantPolicy = item::read(item)?;
                if begins(id.as_str()) || begins(&policy.name) {
                    if page.items.len() == limit {
                        page.next = at.map(Cursor);
                        return Ok(page);
                    }
                    page.items.push((id, policy));
                }
                at = Some(sort);
            }
            if is_last {
                return Ok(page);
            }
        }
        page.next = at.map(Cursor);
        Ok(page)
    }

    /// Lists excluded contacts, the latest exclusion first.
    ///
    /// # Errors
    /// [`StoreError`]: the store failed, or an item is corrupt.
    pub async fn exclusions(
        &self,
        tenant: &TenantId,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<ExclusionRow>, StoreError> {
        let after = after.map(|cursor| cursor.0.clone());
        let mut found = self.index(keys::exclusions(tenant), after, true, limit + 1).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().map(|item| sort_key(item, "GS")).transpose()?;
        let items = found.into_iter().map(item::read).collect::<Result<_, _>>()?;
        Ok(Page { items, next: last.filter(|_| more).map(Cursor) })
    }

    /// Lists the audit of a tenant, the latest row first. `since` is when the tenant was created: there are no rows
    /// before. A page makes at most 40 queries. Then it may have fewer rows than the limit, even none, with a cursor
    /// for the next page.
    ///
    /// # Errors
    /// [`StoreError`]: the store failed, or an item is corrupt.
    pub async fn audit(
        &self,
        tenant: &TenantId,
        filter: &AuditFilter,
        (since, now): (Timestamp, Timestamp),
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<AuditRow>, StoreError> {
        // Older rows have expired, even if the table has not removed them yet.
        let kept = now - self.audit_retention.duration();
        let first = filter.from.unwrap_or(since).max(since).max(kept) - SLACK;
        // No row is later. A later `to` would make the list begin with queries of empty months.
        let latest = now + SLACK;
        let mut from = after.and_then(|cursor| row_time(&cursor.0)).or(filter.to).unwrap_or(latest).min(latest);
        // A sort key that sorts after all rows of an earlier time.
        let mut at = after.map(|cursor| cursor.0.clone()).or(filter.to.map(|to| format!("{:013}", to.millis())));
        let mut page = Page { items: Vec::new(), next: None };
        // With a filter many rows may be skipped. Without one, a page and one row are enough.
        let chunk = if filter.user.is_some() { QUERY } else { limit + 1 };
        let mut left = MAX_AUDIT_QUERIES;
        loop {
            let mut month = self.month(tenant, from, at.take()).await?;
            // The cursor if no row of the month was read yet: it sorts after all rows of the month.
            let mut last_read = format!("{:013}#~", from.millis());
            loop {
                let due = month.due();
                if due > left {
                    page.next = Some(Cursor(last_read));
                    return Ok(page);
                }
                left -= due;
                let Some((sort, row)) = month.next(self, chunk).await? else { break };
                let row = audit_row(&sort, row)?;
                if row.at < kept || filter.from.is_some_and(|from| row.at < from) {
                    return Ok(page);
                }
                if filter.matches(&row.event) {
                    if page.items.len() == limit {
                        page.next = page.items.last().map(|row| Cursor(row.id.replacen('-', "#", 1)));
                        return Ok(page);
                    }
                    page.items.push(row);
                }
                last_read = sort;
            }
            let Some(earlier) = month_before(from) else { return Ok(page) };
            if earlier < first {
                return Ok(page);
            }
            from = earlier;
        }
    }

    async fn index(
        &self,
        partition: String,
        after: Option<String>,
        descending: bool,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        let query = Query { index: true, partition, prefix: String::new(), after, descending, limit };
        self.table.query(&query).await
    }

    async fn month(&self, tenant: &TenantId, of: Timestamp, after: Option<String>) -> Result<Month, StoreError> {
        let name = of.year_month();
        let shards = (0..SHARDS).map(|shard| Shard {
            partition: keys::audit_partition(tenant, &name, shard),
            rows: VecDeque::new(),
            after: after.clone(),
            exhausted: false,
        });
        Ok(Month { shards: shards.collect() })
    }
}

/// Items per query of a filtered list.
const QUERY: usize = 100;
/// Maximum queries for a page of a filtered list. Then the page is returned with a cursor, even if it is not full.
const MAX_QUERIES: usize = 20;
/// Maximum queries for a page of the audit: all shards of ten months, or 4,000 rows of a full month.
const MAX_AUDIT_QUERIES: usize = 40;
/// How far a row's time may differ from the time of a request.
const SLACK: std::time::Duration = std::time::Duration::from_secs(86_400);

impl UserFilter {
    fn matches(&self, user: &User, profile: &Profile, start: Option<&str>) -> bool {
        let starts =
            |start: &str| fold(&profile.username).starts_with(start) || fold(&profile.display_name).starts_with(start);
        self.kind.is_none_or(|kind| kind == user.kind)
            && self.mfa.is_none_or(|mfa| mfa == user.factor.state())
            && self.excluded.is_none_or(|excluded| excluded == user.excluded.is_some())
            && start.is_none_or(starts)
    }
}

impl AuditFilter {
    fn matches(&self, event: &AuditEvent) -> bool {
        self.user.as_ref().is_none_or(|user| event.actor.as_ref() == Some(user) || event.target.as_ref() == Some(user))
    }
}

/// The rows of a month, merged from its shards, the latest first.
struct Month {
    shards: Vec<Shard>,
}

struct Shard {
    partition: String,
    rows: VecDeque<(String, Item)>,
    after: Option<String>,
    exhausted: bool,
}

impl Month {
    /// Number of shards that must be queried to find the next row.
    fn due(&self) -> usize {
        self.shards.iter().filter(|shard| shard.due()).count()
    }

    async fn next(&mut self, store: &Store, limit: usize) -> Result<Option<(String, Item)>, StoreError> {
        // The shards are queried concurrently: a month takes one round trip if it has no more rows than a page.
        try_join_all(self.shards.iter_mut().map(|shard| shard.fill(store, limit))).await?;
        let latest = self.shards.iter_mut().max_by(|one, other| {
            let of = |shard: &Shard| shard.rows.front().map(|(sort, _)| sort.clone());
            of(one).cmp(&of(other))
        });
        Ok(latest.and_then(|shard| shard.rows.pop_front()))
    }
}

impl Shard {
    fn due(&self) -> bool {
        self.rows.is_empty() && !self.exhausted
    }

    async fn fill(&mut self, store: &Store, limit: usize) -> Result<(), StoreError> {
        if !self.due() {
            return Ok(());
        }
        let (partition, after) = (self.partition.clone(), self.after.clone());
        let query = Query { index: false, partition, prefix: String::new(), after, descending: true, limit };
        let found = store.table.query(&query).await?;
        self.exhausted = found.len() < limit;
        for row in found {
            self.rows.push_back((sort_key(&row, "SK")?, row));
        }
        self.after = self.rows.back().map(|(sort, _)| sort.clone());
        Ok(())
    }
}

fn audit_row(sort: &str, row: Item) -> Result<AuditRow, StoreError> {
    let at = row_time(sort).ok_or_else(|| StoreError::Corrupt("an audit row without a time".into()))?;
    Ok(AuditRow { id: sort.replacen('#', "-", 1), at, event: item::read(row)? })
}

/// The time in the sort key of an audit row.
fn row_time(sort: &str) -> Option<Timestamp> {
    let (digits, _) = sort.split_once('#')?;
    let known = digits.len() == 13 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| known).map(Timestamp::from_millis)
}

/// The last millisecond of the previous month.
fn month_before(of: Timestamp) -> Option<Timestamp> {
    let name = of.year_month();
    let first = Timestamp::parse(&format!("{}-{}-01T00:00:00Z", name.get(..4)?, name.get(4..)?))?;
    (first.millis() > 0).then(|| Timestamp::from_millis(first.millis() - 1))
}

fn directory_sort(key: &UserKey, profile: &Profile) -> String {
    format!("{}#{}", fold(&profile.username), key.user())
}

fn sort_key(item: &Item, name: &str) -> Result<String, StoreError> {
    match item.get(name) {
        Some(Value::S(sort)) => Ok(sort.clone()),
        _ => Err(StoreError::Corrupt("an item without a sort key".into())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;
    use crate::{
        audit::{AuditAction, Outcome},
        store::{
            AttemptEvent, OperatorEvents, Table,
            fixture::{Ann, NOW, ann, attempt},
            item::Role,
            memory::MemoryTable,
            table::{Retry, Transacted, Transaction, Updated},
            tenant::NewTenant,
            users::Actor,
            write::{Key, Write},
        },
    };

    async fn all(ann: &Ann, filter: &UserFilter, limit: usize) -> Vec<String> {
        let (mut names, mut after) = (Vec::new(), None);
        loop {
            let page = ann.store.list_users(ann.key.tenant(), filter, after.as_ref(), limit).await.unwrap();
            assert!(page.items.len() <= limit);
            names.extend(page.items.into_iter().map(|(_, _, profile)| profile.username));
            match page.next {
                Some(next) => after = Cursor::parse(List::Users, &next.text(List::Users)),
                None => return names,
            }
        }
    }

    #[tokio::test]
    async fn users_are_listed_in_order_for_any_page_size() {
        let (ann, _) = ann(0).await;
        for n in 0..250 {
            ann.someone(&format!("p{n:03}"), if n % 3 == 0 { Role::Portal } else { Role::Standard }).await;
        }
        let whole: Vec<_> = (0..250).map(|n| format!("p{n:03}")).collect();
        for limit in [3, 50, 100, 250] {
            assert_eq!(all(&ann, &UserFilter::default(), limit).await, whole, "{limit}");
        }
        let contacts = UserFilter { kind: Some(Kind::Contact), ..UserFilter::default() };
        assert_eq!(all(&ann, &contacts, 7).await.len(), 84);
        let start = UserFilter { start: Some("P00".into()), ..UserFilter::default() };
        assert_eq!(all(&ann, &start, 4).await, whole[..10]);
        let by_display = UserFilter { start: Some("some".into()), ..UserFilter::default() };
        assert_eq!(all(&ann, &by_display, 100).await.len(), 250);
        let excluded = UserFilter { excluded: Some(true), ..UserFilter::default() };
        assert!(all(&ann, &excluded, 100).await.is_empty());
    }

    async fn create_tenant(ann: &Ann, id: &str, name: &str) {
        let tenant = NewTenant { id: TenantId::parse(id).unwrap(), name: name.to_owned(), first: None };
        let event = AuditEvent::new(AuditAction::TenantCreated, Outcome::Success, "r");
        let events = OperatorEvents { in_support: &event, in_tenant: &event };
        ann.store.create_tenant(&Actor::Seed, &tenant, &attempt(NOW), &events).await.unwrap();
    }

    async fn tenant_ids(ann: &Ann, start: Option<&str>, limit: usize) -> Vec<String> {
        let (mut ids, mut after) = (Vec::new(), None);
        loop {
            let page = ann.store.tenants(start, after.as_ref(), limit).await.unwrap();
            assert!(page.items.len() <= limit);
            ids.extend(page.items.into_iter().map(|(id, _)| id.as_str().to_owned()));
            match page.next {
                Some(next) => after = Cursor::parse(List::Tenants, &next.text(List::Tenants)),
                None => return ids,
            }
        }
    }

    #[tokio::test]
    async fn tenants_are_listed_in_order_and_found_by_id_or_name() {
        let (ann, _) = ann(0).await;
        for n in 0..210 {
            create_tenant(&ann, &format!("t{n:03}"), &format!("Company {n}")).await;
        }
        create_tenant(&ann, "Other", "\u{c4}rzte").await;
        let mut whole: Vec<_> = (0..210).map(|n| format!("t{n:03}")).collect();
        whole.insert(0, "Other".to_owned());
        for limit in [7, 100, 105, 211] {
            assert_eq!(tenant_ids(&ann, None, limit).await, whole, "{limit}");
        }
        assert_eq!(tenant_ids(&ann, Some("T00"), 4).await, whole[1..11]);
        assert_eq!(tenant_ids(&ann, Some("oTH"), 4).await, whole[..1], "case of an id is ignored");
        assert_eq!(tenant_ids(&ann, Some("\u{e4}rz"), 4).await, whole[..1], "case of a name is ignored");
        assert_eq!(tenant_ids(&ann, Some("company 20"), 3).await.len(), 11);
        assert!(tenant_ids(&ann, Some("ompany"), 3).await.is_empty(), "only a prefix matches");
    }

    /// The work for a page is limited: a page may be empty and still have a cursor.
    #[tokio::test]
    async fn page_of_tenants_without_match_after_20_queries_has_a_cursor() {
        let (ann, _) = ann(0).await;
        for n in 0..2_000 {
            create_tenant(&ann, &format!("t{n:04}"), "Company").await;
        }
        create_tenant(&ann, "zoe", "Zoe").await;
        let first = ann.store.tenants(Some("zoe"), None, 10).await.unwrap();
        assert!(first.items.is_empty());
        let next = ann.store.tenants(Some("zoe"), first.next.as_ref(), 10).await.unwrap();
        assert!(first.next.is_some() && next.items.len() == 1 && next.next.is_none());
    }

    #[test]
    fn cursor_of_the_audit_has_a_time_of_thirteen_digits() {
        let parsed = |sort: &str| Cursor::parse(List::Audit, &Cursor(sort.to_owned()).text(List::Audit)).is_some();
        assert!(parsed("1800000000000#a-0"));
        for sort in ["1800000000000", "180000000000#a-0", "+180000000000#a-0", "18000000000000#a-0", "#a-0"] {
            assert!(!parsed(sort), "{sort}");
        }
    }

    #[tokio::test]
    async fn audit_of_a_user_has_what_they_did_and_what_was_done_to_them() {
        let (ann, _) = ann(0).await;
        let (tenant, bob) = (ann.key.tenant(), UserId::parse("u-bob").unwrap());
        let by = |actor: &UserId, target: &UserId| AuditEvent {
            actor: Some(actor.clone()),
            target: Some(target.clone()),
            ..AuditEvent::new(AuditAction::UserChanged, Outcome::Success, "r")
        };
        for (actor, target) in [(ann.key.user(), &bob), (&bob, ann.key.user()), (ann.key.user(), ann.key.user())] {
            ann.store.record_or_fail(tenant, &attempt(NOW), AttemptEvent::Outcome, &by(actor, target)).await.unwrap();
        }
        for (user, count) in [(ann.key.user().clone(), 3), (bob, 2), (UserId::parse("u-eve").unwrap(), 0)] {
            let filter = AuditFilter { user: Some(user), ..AuditFilter::default() };
            let page = ann.store.audit(tenant, &filter, (NOW, NOW), None, 10).await.unwrap();
            assert_eq!(page.items.len(), count);
        }
    }

    #[tokio::test]
    async fn audit_is_listed_latest_first_over_shards_and_months() {
        let (ann, _) = ann(0).await;
        let tenant = ann.key.tenant();
        let since = NOW - std::time::Duration::from_secs(90 * 86_400);
        let mut want = Vec::new();
        for n in 0..90_u64 {
            let at = since + std::time::Duration::from_secs(n * 86_400);
            let user = UserId::parse(&format!("u-{}", n % 7)).unwrap();
            let event = AuditEvent::new(AuditAction::Login, Outcome::Refused, "r").about(&user);
            ann.store.record(tenant, &attempt(at), AttemptEvent::Outcome, &event).await;
            want.insert(0, at);
        }
        let read = |filter: AuditFilter, limit: usize| {
            let store = &ann.store;
            async move {
                let (mut times, mut after) = (Vec::new(), None);
                loop {
                    let page = store.audit(tenant, &filter, (since, NOW), after.as_ref(), limit).await.unwrap();
                    times.extend(page.items.iter().map(|row| row.at));
                    match page.next {
                        Some(next) => after = Cursor::parse(List::Audit, &next.text(List::Audit)),
                        None => return times,
                    }
                }
            }
        };
        for limit in [3, 50, 100] {
            assert_eq!(read(AuditFilter::default(), limit).await, want, "{limit}");
        }
        let user = Some(UserId::parse("u-3").unwrap());
        assert_eq!(read(AuditFilter { user, ..AuditFilter::default() }, 5).await.len(), 13);
        let filter = AuditFilter { from: Some(want[20]), to: Some(want[10]), user: None };
        assert_eq!(read(filter, 4).await, want[11..=20]);
    }

    /// DynamoDB removes expired rows with a delay, and the embedded store never does.
    #[tokio::test]
    async fn audit_rows_older_than_the_retention_are_not_listed() {
        let (ann, _) = ann(0).await;
        let days = |days: u64| std::time::Duration::from_secs(days * 86_400);
        let since = NOW - days(500);
        let listed = async |store: &Store| {
            let page = store.audit(ann.key.tenant(), &AuditFilter::default(), (since, NOW), None, 100).await;
            page.unwrap().items.into_iter().map(|row| row.at).collect::<Vec<_>>()
        };
        let times = [NOW - days(1), NOW - days(29), NOW - days(31), NOW - days(90), NOW - days(91), NOW - days(401)];
        for at in times {
            ann.challenge(None, at).await;
        }
        assert_eq!(listed(&ann.store).await, times[..4], "90 days by default");
        let month = ann.store.clone().with_audit_retention("30".parse().unwrap());
        assert_eq!(listed(&month).await, times[..2]);
        // Each row has its expiry time, whether written alone or in a transaction.
        let attempt = attempt(NOW);
        month.record(ann.key.tenant(), &attempt, AttemptEvent::Outcome, &ann.event()).await;
        let row = month.audit_row(ann.key.tenant(), &attempt, AttemptEvent::Limit, &ann.event()).unwrap();
        month.table.update(&row, crate::store::table::Retry::Never).await.unwrap();
        for which in [AttemptEvent::Outcome, AttemptEvent::Limit] {
            let key = super::super::row_key(ann.key.tenant(), &attempt, which, &ann.event());
            let [found] = month.read_all([key]).await.unwrap();
            let expires = found.unwrap().remove("ttl").unwrap();
            assert_eq!(expires, super::super::write::num((NOW + days(30)).secs()), "{which:?}");
        }
        assert_eq!(month.at(month.restore_epoch()).audit_retention, "30".parse().unwrap());
    }

    /// A table that counts queries.
    #[derive(Default)]
    struct Counting(MemoryTable, AtomicUsize);

    #[async_trait::async_trait]
    impl Table for Counting {
        async fn read(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
            self.0.read(keys).await
        }
        async fn update(&self, write: &Write, again: Retry) -> Result<Updated, StoreError> {
            self.0.update(write, again).await
        }
        async fn transact(&self, transaction: &Transaction) -> Result<Transacted, StoreError> {
            self.0.transact(transaction).await
        }
        async fn query(&self, query: &Query) -> Result<Vec<Item>, StoreError> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.query(query).await
        }
    }

    /// One user's rows are rare among those of others. Each page makes at most 40 queries, and together the pages have
    /// every row once.
    #[tokio::test]
    async fn audit_page_makes_at_most_40_queries_and_pages_have_every_row_once() {
        let table = Arc::new(Counting::default());
        let store = Store::new(Arc::clone(&table) as Arc<dyn Table>).with_audit_retention("400".parse().unwrap());
        let tenant = TenantId::parse("acme").unwrap();
        let (rare, common) = (UserId::parse("u-rare").unwrap(), UserId::parse("u-many").unwrap());
        let (day, since) = (std::time::Duration::from_secs(86_400), NOW - std::time::Duration::from_secs(390 * 86_400));
        let record = async |user: &UserId, at: Timestamp| {
            let event = AuditEvent::new(AuditAction::Login, Outcome::Refused, "r").about(user);
            store.record(&tenant, &attempt(at), AttemptEvent::Outcome, &event).await;
        };
        // Thousands of rows of another user in one month, and one row of this user each month.
        for n in 0..5_000 {
            record(&common, NOW - day * 3 + std::time::Duration::from_secs(n)).await;
        }
        let mut want = Vec::new();
        for month in 0..13_u32 {
            let at = NOW - day * (month * 30);
            record(&rare, at).await;
            want.push(at);
        }
        for limit in [1, 2, 100] {
            let filter = AuditFilter { user: Some(rare.clone()), ..AuditFilter::default() };
            let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
            loop {
                table.1.store(0, Ordering::Relaxed);
                let page = store.audit(&tenant, &filter, (since, NOW), after.as_ref(), limit).await.unwrap();
                let queries = table.1.load(Ordering::Relaxed);
                assert!(queries <= 40 && page.items.len() <= limit, "{queries} queries, {} items", page.items.len());
                found.extend(page.items.into_iter().map(|row| row.at));
                pages += 1;
                match page.next {
                    Some(next) => after = Cursor::parse(List::Audit, &next.text(List::Audit)),
                    None => break,
                }
                assert!(after.is_some() && pages < 40);
            }
            assert_eq!(found, want, "{limit}");
            assert!(pages > 1, "the rows must need more than one page");
        }
    }

    /// A tenant with one row in a year: months without rows also count as queries, and the next page continues in the
    /// right month.
    #[tokio::test]
    async fn empty_months_count_as_queries_and_empty_page_has_a_cursor() {
        let table = Arc::new(Counting::default());
        let store = Store::new(Arc::clone(&table) as Arc<dyn Table>).with_audit_retention("400".parse().unwrap());
        let tenant = TenantId::parse("acme").unwrap();
        let since = NOW - std::time::Duration::from_secs(395 * 86_400);
        let event = AuditEvent::new(AuditAction::Login, Outcome::Refused, "r").about(&UserId::parse("u-1").unwrap());
        store.record(&tenant, &attempt(since), AttemptEvent::Outcome, &event).await;
        let first = store.audit(&tenant, &AuditFilter::default(), (since, NOW), None, 1).await.unwrap();
        assert_eq!((first.items.len(), table.1.load(Ordering::Relaxed)), (0, 40));
        let second = store.audit(&tenant, &AuditFilter::default(), (since, NOW), first.next.as_ref(), 1).await.unwrap();
        assert_eq!(second.items.first().map(|row| row.at), Some(since));
        assert!(second.next.is_none());
    }

    #[test]
    fn cursor_is_valid_for_its_list_only() {
        let cursor = Cursor("1800000000000#x-0".to_owned());
        assert_eq!(Cursor::parse(List::Audit, &cursor.text(List::Audit)), Some(cursor.clone()));
        assert_eq!(Cursor::parse(List::Audit, &cursor.text(List::Users)), None);
        assert_eq!(Cursor::parse(List::Users, &cursor.text(List::Tenants)), None);
        assert_eq!(Cursor::parse(List::Users, "x"), None);
        let odd = Cursor("yesterday".to_owned());
        assert_eq!(Cursor::parse(List::Audit, &odd.text(List::Audit)), None);
    }
}

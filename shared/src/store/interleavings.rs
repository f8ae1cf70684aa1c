//! Every interleaving of two and three operations on one user ends as some order of them would: the outcomes and the user are
//! those of a serial run. The operations are the pure functions of `auth`, committed by version as in production.

use std::{rc::Rc, time::Duration};

use super::{
    commit, item,
    item::{LoginTokenEntry, ResetCodeFor, Role, User},
    write::Item,
};
use crate::{
    auth::{
        change_password::change_password,
        mail_token::{reset_password, verify_email},
        reset_mfa::reset_mfa,
        session::{SessionsToEnd, end_sessions},
        update_user::{UserChange, update_user},
        verify_code::{SignIn, disable_factor},
    },
    domain::{ChallengeState, ItemVersion, MailPurpose, SecurityVersion, TimeStep},
    env::SystemEntropy,
    id::MessageId,
    policy,
    recovery::{self, ResetCode},
    secret::{NewToken, TokenClass, TokenRef},
    sign_in::LoginTokenKind,
    store::fixture::{Ann, NOW, STEP, ann, new_session},
    totp,
};

/// An operation: changes the user, or says no.
type Decide = Box<dyn Fn(&mut User) -> bool>;
type Operation = (&'static str, Decide);

/// Where an operation is.
#[derive(Clone)]
enum Progress {
    Waiting,
    Loaded(Rc<User>),
    Done(bool),
}

/// The item of the user, and what it reads as.
#[derive(Clone)]
struct Stored {
    item: Rc<Item>,
    user: Rc<User>,
}

impl Stored {
    fn new(item: Item) -> Self {
        Self { user: Rc::new(item::read(item.clone()).unwrap()), item: Rc::new(item) }
    }

    fn without_version(&self) -> User {
        User { version: ItemVersion::default(), ..User::clone(&self.user) }
    }
}

struct World<'a> {
    ann: &'a Ann,
    operations: Vec<&'a Operation>,
}

impl World<'_> {
    /// One step of one operation: load the user, or decide and commit. A refused commit loads what the other left.
    fn step(&self, stored: &mut Stored, progress: &Progress, operation: &Operation) -> Progress {
        match progress {
            Progress::Waiting => Progress::Loaded(Rc::clone(&stored.user)),
            Progress::Loaded(user) => {
                let mut changed = User::clone(user);
                if !operation.1(&mut changed) {
                    assert!(changed == **user, "{}: a rejection leaves the user as it was", operation.0);
                    return Progress::Done(false);
                }
                let write = commit::update(&self.ann.key, user, &changed).unwrap();
                match write.apply(Some(Item::clone(&stored.item))) {
                    Ok(after) => {
                        *stored = Stored::new(after.unwrap());
                        Progress::Done(true)
                    }
                    Err(_) => Progress::Loaded(Rc::clone(&stored.user)),
                }
            }
            Progress::Done(done) => Progress::Done(*done),
        }
    }

    /// The ends of all interleavings from here.
    fn interleave(&self, stored: &Stored, progress: &[Progress], ends: &mut Vec<(Vec<bool>, User)>) {
        let open: Vec<_> = (0..progress.len()).filter(|n| !matches!(progress[*n], Progress::Done(_))).collect();
        if open.is_empty() {
            let done = progress.iter().map(|it| matches!(it, Progress::Done(true))).collect();
            ends.push((done, stored.without_version()));
        }
        for n in open {
            let (mut stored, mut progress) = (stored.clone(), progress.to_vec());
            progress[n] = self.step(&mut stored, &progress[n].clone(), self.operations[n]);
            self.interleave(&stored, &progress, ends);
        }
    }

    /// The ends of all serial orders.
    fn serial(&self, stored: &Stored) -> Vec<(Vec<bool>, User)> {
        let orders = permutations(self.operations.len());
        let run = |order: Vec<usize>| {
            let (mut stored, mut done) = (stored.clone(), vec![false; order.len()]);
            for n in order {
                let mut progress = Progress::Waiting;
                while !matches!(progress, Progress::Done(_)) {
                    progress = self.step(&mut stored, &progress, self.operations[n]);
                }
                done[n] = matches!(progress, Progress::Done(true));
            }
            (done, stored.without_version())
        };
        orders.into_iter().map(run).collect()
    }
}

fn permutations(length: usize) -> Vec<Vec<usize>> {
    if length == 0 {
        return vec![vec![]];
    }
    let shorter = permutations(length - 1);
    let insert = |order: &Vec<usize>| {
        let order = order.clone();
        (0..=order.len()).map(move |at| {
            let mut order = order.clone();
            order.insert(at, length - 1);
            order
        })
    };
    shorter.iter().flat_map(insert).collect()
}

async fn code_sign_in(ann: &Ann, token: &TokenRef, step: TimeStep) -> SignIn {
    let Ok(pending) = ann.charge(token, NOW).await else { panic!("refused") };
    let proof = totp::check(&ann.secret, &totp::code_at(&ann.secret, step).unwrap(), NOW, Some(step - 1)).unwrap();
    SignIn::with_totp(pending, proof, None, &SystemEntropy).unwrap()
}

async fn recovery_sign_in(ann: &Ann, token: &TokenRef) -> SignIn {
    let Ok(pending) = ann.charge(token, NOW).await else { panic!("refused") };
    let stored = pending.user().factor.recovery_token().map(|it| it.digest);
    let proof = recovery::check(&ann.codes, &ann.key, stored.as_ref(), &ann.recovery).unwrap();
    SignIn::with_recovery(pending, proof, &SystemEntropy).unwrap()
}

fn open_challenge(ann: &Ann) -> Decide {
    let token = NewToken::generate(TokenClass::Challenge, &ann.key, ann.store.restore_epoch(), &SystemEntropy).unwrap();
    Box::new(move |user| {
        let challenge = LoginTokenEntry {
            verifier: *token.reference().verifier(),
            ends: NOW + policy::CHALLENGE_LIFE,
            state: ChallengeState::NEW,
            security_version: user.security_version,
            network: "10.0.0".to_owned(),
            device: None,
            idp_generation: None,
        };
        user.open_login_token(LoginTokenKind::Challenge, token.reference().id(), challenge, NOW).is_ok()
    })
}

/// Uses of two mailed tokens, which are added to the user, and another token.
fn mail_operations(ann: &Ann, user: &mut User) -> Vec<Operation> {
    let new = || {
        let token = NewToken::generate(TokenClass::Mail, &ann.key, ann.store.restore_epoch(), &SystemEntropy).unwrap();
        (token.reference().clone(), MessageId::generate(&SystemEntropy).unwrap())
    };
    let ((reset, first), (verification, second), (another, third)) = (new(), new(), new());
    user.add_mail_token(&reset, MailPurpose::Reset, &first, NOW);
    user.add_mail_token(&verification, MailPurpose::Verification, &second, NOW);
    let add = move |user: &mut User| {
        user.add_mail_token(&another, MailPurpose::Reset, &third, NOW);
        true
    };
    vec![
        ("a password by a mailed token", Box::new(move |user| reset_password(user, &reset, true, NOW).is_ok())),
        ("a verified address", Box::new(move |user| verify_email(user, &verification, NOW).is_ok())),
        ("another mailed token", Box::new(add)),
    ]
}

/// The operations that can meet each other at one user, on a user to whom each is possible.
async fn operations() -> (Ann, Stored, Vec<Operation>) {
    let (ann, challenges) = ann(5).await;
    let session = ann.with_step(&challenges[0], STEP - 1, NOW).await.unwrap().reference().clone();
    let one = code_sign_in(&ann, &challenges[1], STEP).await;
    let same_step = code_sign_in(&ann, &challenges[2], STEP).await;
    let step_up = code_sign_in(&ann, &session, STEP + 1).await;
    let recovery = recovery_sign_in(&ann, &challenges[3]).await;
    let mut item = ann.item(&ann.key).await;
    let almost = policy::MAX_CONSECUTIVE_FAILURES;
    item.insert("row".to_owned(), super::write::num(almost));
    let code = ResetCode::generate(&SystemEntropy).unwrap().digest(&ann.codes, &ann.key);
    let new = new_session(&ann.key, SecurityVersion::default(), ann.store.restore_epoch());
    let tenant = ann.key.tenant().clone();
    let (own, others) = (session.clone(), session.clone());
    let late = NOW + Duration::from_secs(1);
    let deactivation = UserChange { active: Some(false), ..UserChange::default() };
    let demotion = UserChange { role: Some(Role::Standard), ..UserChange::default() };
    let other_tenant = tenant.clone();
    let before: User = item::read(item.clone()).unwrap();
    let mut mailed = before.clone();
    let mails = mail_operations(&ann, &mut mailed);
    let item = commit::update(&ann.key, &before, &mailed).unwrap().apply(Some(item)).unwrap().unwrap();
    let mut operations: Vec<Operation> = vec![
        ("a code", Box::new(move |user| one.apply(user).is_ok())),
        ("a code of the same step", Box::new(move |user| same_step.apply(user).is_ok())),
        ("a step-up", Box::new(move |user| step_up.apply(user).is_ok())),
        ("a recovery token", Box::new(move |user| recovery.apply(user).is_ok())),
        (
            "a reset",
            Box::new(move |user| {
                reset_mfa(user, ResetCodeFor::Administrators, code, NOW);
                true
            }),
        ),
        ("the disabling of the factor", Box::new(|user| disable_factor(user).is_ok())),
        ("a new challenge", open_challenge(&ann)),
        ("a new password", Box::new(move |user| change_password(user, &own, &new, true, late).is_ok())),
        (
            "the end of other sessions",
            Box::new(move |user| end_sessions(user, &others, &SessionsToEnd::Others, NOW).is_ok()),
        ),
        ("a deactivation", Box::new(move |user| update_user(user, &tenant, deactivation, NOW).is_ok())),
        ("a demotion", Box::new(move |user| update_user(user, &other_tenant, demotion, NOW).is_ok())),
    ];
    operations.extend(mails);
    (ann, Stored::new(item), operations)
}

fn check(ann: &Ann, stored: &Stored, operations: Vec<&Operation>) -> usize {
    let names: Vec<_> = operations.iter().map(|it| it.0).collect();
    let world = World { ann, operations };
    let serial = world.serial(stored);
    let mut ends = Vec::new();
    world.interleave(stored, &vec![Progress::Waiting; names.len()], &mut ends);
    for end in &ends {
        let found = serial.iter().any(|(done, user)| *done == end.0 && *user == end.1);
        assert!(found, "{names:?} end as in no order: {:?}", end.0);
    }
    ends.len()
}

#[tokio::test]
async fn every_interleaving_of_two_operations_is_some_order_of_them() {
    let (ann, stored, operations) = operations().await;
    let mut checked = 0;
    for one in &operations {
        for two in &operations {
            checked += check(&ann, &stored, vec![one, two]);
        }
    }
    assert!(checked > 500, "{checked}");
}

#[tokio::test]
async fn every_interleaving_of_three_operations_is_some_order_of_them() {
    let (ann, stored, operations) = operations().await;
    // Those of three that hinder each other most: all fourteen would take a minute.
    let hindering =
        ["a code", "a code of the same step", "a recovery token", "a reset", "a new password", "a deactivation"];
    let operations: Vec<_> = operations.into_iter().filter(|it| hindering.contains(&it.0)).collect();
    let mut checked = 0;
    for (n, one) in operations.iter().enumerate() {
        for (m, two) in operations.iter().enumerate().skip(n + 1) {
            for three in operations.iter().skip(m + 1) {
                checked += check(&ann, &stored, vec![one, two, three]);
            }
        }
    }
    assert!(checked > 1_500, "{checked}");
}

/// Without the version some interleaving of two codes of one step lets both sign in: the check above can fail.
#[tokio::test]
async fn interleavings_without_the_version_are_not_serial() {
    let (ann, stored, operations) = operations().await;
    let world = World { ann: &ann, operations: vec![&operations[0], &operations[1]] };
    let load = || User::clone(&stored.user);
    let both = world.operations.iter().all(|operation| operation.1(&mut load()));
    assert!(both, "each of them would be accepted on what it loaded");
    assert!(world.serial(&stored).iter().all(|(done, _)| done.iter().filter(|it| **it).count() == 1));
}

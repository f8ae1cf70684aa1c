//! Races of the commands of a code and of a recovery token.

use std::sync::Arc;

use super::{RACERS, count_true, race_tenant};
use crate::{
    auth::verify_code::SignIn,
    env::SystemEntropy,
    policy,
    recovery::{self, RecoveryToken},
    store::{
        Table,
        fixture::{NOW, STEP, attempt},
        write::{Action, attr, num},
    },
    totp,
};

/// `charge_verification`, `accept` of a code and of a recovery token, `disable_factor`, `replace_recovery_token`.
pub(super) async fn race(table: &Arc<dyn Table>, round: usize) {
    code_charges(table, round).await;
    code_sign_ins(table, round).await;
    recovery_sign_ins(table, round).await;
    recovery_tokens(table, round).await;
    disabled_factors(table, round).await;
}

/// A challenge admits five attempts.
async fn code_charges(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "code", round).await;
    let admitted = count_true(RACERS, |_| {
        let one = Arc::clone(&one);
        async move { one.ann.charge(&one.challenges[0], NOW).await.is_ok() }
    });
    assert_eq!(admitted.await, 5, "attempts at one challenge");
}

/// A code is accepted once, over several challenges.
async fn code_sign_ins(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "step", round).await;
    let signed_in = count_true(RACERS, |n| {
        let one = Arc::clone(&one);
        async move {
            let Ok(pending) = one.ann.charge(&one.challenges[n % 8], NOW).await else { return false };
            let code = totp::code_at(&one.ann.secret, STEP).unwrap();
            let last = pending.user().factor.active().unwrap().last_step;
            let Some(proof) = totp::check(&one.ann.secret, &code, NOW, Some(last)) else { return false };
            let sign_in = SignIn::with_totp(pending, proof, None, &SystemEntropy).unwrap();
            one.store().accept(sign_in, &one.ann.event()).await.is_ok()
        }
    });
    assert_eq!(signed_in.await, 1, "sign-ins of one code");
}

/// A recovery token is accepted once.
async fn recovery_sign_ins(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "recover", round).await;
    let signed_in = count_true(RACERS, |n| {
        let one = Arc::clone(&one);
        async move {
            let Ok(pending) = one.ann.charge(&one.challenges[n % 8], NOW).await else { return false };
            let stored = pending.user().factor.recovery_token().map(|it| &it.digest);
            let (keys, code) = (&one.ann.codes, &one.ann.recovery);
            let Some(proof) = recovery::check(keys, &one.ann.key, stored, code) else { return false };
            let sign_in = SignIn::with_recovery(pending, proof, &SystemEntropy).unwrap();
            one.store().accept(sign_in, &one.ann.event()).await.is_ok()
        }
    });
    assert_eq!(signed_in.await, 1, "sign-ins of one recovery token");
}

/// After concurrent replacements one recovery token works.
async fn recovery_tokens(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "regenerate", round).await;
    let tokens: Arc<Vec<_>> = Arc::new((0..RACERS).map(|_| RecoveryToken::generate(&SystemEntropy).unwrap()).collect());
    let made = count_true(RACERS, |n| {
        let (one, tokens) = (Arc::clone(&one), Arc::clone(&tokens));
        async move {
            let caller = one.store().read_session(&one.session, NOW).await.unwrap();
            let caller = caller.fresh_or_recovering(NOW).ok().unwrap();
            let digest = tokens[n].digest(&one.ann.codes, &one.ann.key);
            let made = one.store().replace_recovery_token(&caller, &digest, &attempt(NOW), &one.ann.event()).await;
            made.is_ok()
        }
    });
    assert!(made.await >= 1);
    let user = one.ann.read(&one.ann.key).await;
    let stored = user.factor.recovery_token().map(|it| it.digest);
    let works = |token: &&RecoveryToken| stored == Some(token.digest(&one.ann.codes, &one.ann.key));
    assert_eq!(tokens.iter().filter(works).count(), 1, "recovery tokens that work");
}

/// A factor is disabled once.
async fn disabled_factors(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "disable", round).await;
    one.ann.change(Action::Set(attr("row"), num(policy::MAX_CONSECUTIVE_FAILURES))).await;
    let user = Arc::new(one.ann.read(&one.ann.key).await);
    let disabled = count_true(RACERS, |_| {
        let (one, user) = (Arc::clone(&one), Arc::clone(&user));
        async move {
            let done = one.store().disable_factor(&one.ann.key, &user, &attempt(NOW), &one.ann.event()).await;
            done.is_ok()
        }
    });
    assert_eq!(disabled.await, 1, "disabled");
    assert!(one.ann.administrators().await.with_mfa.is_empty());
}

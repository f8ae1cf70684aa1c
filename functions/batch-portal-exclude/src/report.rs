//! The response that describes a batch, for the operations that start and that read one.

use serde::Serialize;
use utoipa::ToSchema;
use vestibule::{
    id::UserId,
    store::batch::{ContactOutcome, Report, Status},
};

/// A batch of exclusions or inclusions.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"status": "completed"}))]
pub(crate) struct BatchAnswer {
    /// The id of the batch.
    #[schema(example = "b-3nTq8sVw")]
    pub(crate) batch_id: String,
    /// Whether the batch excludes contacts from MFA. Otherwise it includes them again.
    #[schema(example = true)]
    disable_mfa: bool,
    /// Whether the batch is a dry run: it says what would happen and changes nothing.
    dry_run: bool,
    /// How far the batch is.
    status: StatusDto,
    /// How many contacts had which outcome.
    counts: Counts,
    /// The outcome of each contact, in the order of the request. While the batch runs: only of the contacts that are done.
    #[schema(example = json!([
        {"contact_id": "u-carl", "outcome": "excluded"}, {"contact_id": "u-cora", "outcome": "excluded"}]))]
    results: Vec<ResultDto>,
}

/// How far a batch is: it runs (`running`), every contact is done (`completed`), or it ended before all were done
/// (`stopped`), for example because the Administrator lost their role.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StatusDto {
    Running,
    Completed,
    Stopped,
}

/// How many contacts had which outcome.
#[derive(Default, Serialize, ToSchema)]
pub(crate) struct Counts {
    /// How many were excluded.
    #[schema(example = 2)]
    excluded: usize,
    /// How many were included again.
    #[schema(example = 0)]
    included: usize,
    /// How many already were in the requested state.
    #[schema(example = 0)]
    unchanged: usize,
    /// How many had any other outcome.
    #[schema(example = 0)]
    refused: usize,
}

/// The outcome of one contact.
#[derive(Serialize, ToSchema)]
pub(crate) struct ResultDto {
    /// The contact's id.
    #[schema(example = "u-carl")]
    contact_id: String,
    /// The outcome.
    outcome: ExclusionOutcomeDto,
}

/// The outcome of a contact: it was `excluded` from MFA or `included` again; it already was in that state (`unchanged`); the
/// user with this id is not a contact (`not_a_contact`), or no user has this id (`not_found`); the contact's password is too
/// short to be the only factor (`password_too_short`); or the batch stopped before this contact (`not_applied`). The password
/// needs 15 characters. Its length is known only if it was recorded when the password was set; if it was not, set a new password.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExclusionOutcomeDto {
    Excluded,
    Included,
    Unchanged,
    NotAContact,
    NotFound,
    PasswordTooShort,
    NotApplied,
}

impl From<ContactOutcome> for ExclusionOutcomeDto {
    fn from(outcome: ContactOutcome) -> Self {
        match outcome {
            ContactOutcome::Excluded => Self::Excluded,
            ContactOutcome::Included => Self::Included,
            ContactOutcome::Unchanged => Self::Unchanged,
            ContactOutcome::NotAContact => Self::NotAContact,
            ContactOutcome::NotFound => Self::NotFound,
            ContactOutcome::PasswordTooShort => Self::PasswordTooShort,
            ContactOutcome::NotApplied => Self::NotApplied,
        }
    }
}

impl From<Report> for BatchAnswer {
    fn from(report: Report) -> Self {
        let mut counts = Counts::default();
        for (_, outcome) in &report.results {
            *match outcome {
                ContactOutcome::Excluded => &mut counts.excluded,
                ContactOutcome::Included => &mut counts.included,
                ContactOutcome::Unchanged => &mut counts.unchanged,
                ContactOutcome::NotAContact
                | ContactOutcome::NotFound
                | ContactOutcome::PasswordTooShort
                | ContactOutcome::NotApplied => &mut counts.refused,
            } += 1;
        }
        let result = |(contact, outcome): (UserId, ContactOutcome)| ResultDto {
            contact_id: contact.into(),
            outcome: outcome.into(),
        };
        Self {
            batch_id: report.id.into(),
            disable_mfa: report.change.into(),
            dry_run: report.dry_run,
            status: match report.status {
                Status::Running => StatusDto::Running,
                Status::Completed => StatusDto::Completed,
                Status::Stopped => StatusDto::Stopped,
            },
            counts,
            results: report.results.into_iter().map(result).collect(),
        }
    }
}

//! Failed calls of DynamoDB: what they mean for their writes, and the error of the store.

use aws_sdk_dynamodb::{
    error::{ProvideErrorMetadata, SdkError},
    types::CancellationReason,
};

use crate::store::StoreError;

/// What a failed call means for its writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// Not applied; a retry may succeed.
    Throttled,
    /// Not applied: a transaction is changing the item.
    Contended,
    /// Not applied, and a retry cannot succeed: a bug in Vestibule or a missing permission.
    Permanent,
    /// It may have been applied.
    Unknown,
}

pub(super) fn failure<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Failure {
    match (error, error.code()) {
        (SdkError::ConstructionFailure(_), _) => Failure::Permanent,
        (
            SdkError::ServiceError(_),
            Some(
                "ThrottlingException"
                | "ProvisionedThroughputExceededException"
                | "RequestLimitExceeded"
                | "ThrottlingError"
                | "ProvisionedThroughputExceeded",
            ),
        ) => Failure::Throttled,
        (SdkError::ServiceError(_), Some("TransactionConflictException")) => Failure::Contended,
        (
            SdkError::ServiceError(_),
            Some(
                "ValidationException"
                | "SerializationException"
                | "IdempotentParameterMismatchException"
                | "ItemCollectionSizeLimitExceededException"
                | "ResourceNotFoundException"
                | "AccessDeniedException"
                | "UnrecognizedClientException"
                | "InvalidSignatureException"
                | "IncompleteSignatureException"
                | "MissingAuthenticationTokenException"
                | "ExpiredTokenException",
            ),
        ) => Failure::Permanent,
        _ => Failure::Unknown,
    }
}

pub(super) fn unavailable<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> StoreError {
    StoreError::Unavailable(error.code().map_or_else(|| error.to_string(), str::to_owned))
}

/// The error of a call that can never succeed. It logs an error, on which an alarm is raised.
pub(super) fn permanent_error<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> StoreError {
    log_alarm(error.code().unwrap_or("none"));
    unavailable(error)
}

/// Logs only the error code: DynamoDB's message may quote what was sent.
fn log_alarm(code: &str) {
    tracing::error!(code, "DynamoDB refused a request that cannot succeed");
}

/// The error of a failed call.
pub(super) fn store_error<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> StoreError {
    if failure(error) == Failure::Permanent { permanent_error(error) } else { unavailable(error) }
}

/// Why a transaction was cancelled although no write was refused. None of it was applied.
pub(super) fn cancelled_for(reasons: &[CancellationReason]) -> (Failure, StoreError) {
    let codes = || reasons.iter().filter_map(|reason| reason.code()).filter(|code| *code != "None");
    if codes().any(|code| code == "ValidationError") {
        log_alarm("ValidationError");
        return (Failure::Permanent, StoreError::Unavailable("ValidationError".into()));
    }
    match codes().next() {
        Some("TransactionConflict") => (Failure::Contended, StoreError::Contended("a transaction".into())),
        other => (Failure::Throttled, StoreError::Unavailable(other.unwrap_or("cancelled").to_owned())),
    }
}

//! `/v1/admin/clients`: credentials with which portals introspect the session tokens of this tenant.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use vestibule::{
    audit::{AuditAction, Outcome},
    env::Timestamp,
    http::{ApiRequest, ApiResult, App, Code, Line, NoBody, Problem, Routes, dto::NewClientDto},
    id::ClientId,
    store::{
        OperationError,
        client::{ClientRejection, NewClient},
    },
};

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(create, list)).routes(routes!(delete))
}

/// A client credential to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Customer portal"}))]
struct ClientRequest {
    /// The purpose of the credential, as users read it.
    name: Line,
}

/// The client credentials of the tenant.
#[derive(Serialize, ToSchema)]
struct ClientList {
    /// All credentials, without their secrets.
    items: Vec<ClientDto>,
}

/// A client credential, without its secret.
#[derive(Serialize, ToSchema)]
struct ClientDto {
    /// The id of the credential: the user name of HTTP Basic.
    #[schema(example = "c-5Wq2LmXz")]
    client_id: String,
    /// The purpose of the credential.
    #[schema(example = "Customer portal")]
    name: String,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// Create a client credential
///
/// For an Administrator with a fresh step-up. A portal uses the credential to introspect session tokens of this tenant.
#[utoipa::path(post, path = "/v1/admin/clients", operation_id = "createClient", tag = "directory",
    security(("session" = [])), request_body = ClientRequest, responses(
    (status = 201, body = NewClientDto, description = "The credential. Its secret is shown only here."),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`forbidden`: Only an Administrator may do this."),
))]
async fn create(
    State(app): State<Arc<App>>,
    call: ApiRequest<ClientRequest>,
) -> ApiResult<(StatusCode, Json<NewClientDto>)> {
    let ApiRequest { body, request, .. } = call;
    let admin = request.administrator(&app).await?;
    let new = NewClient::generate(admin.tenant(), &body.name, false, request.now, &*app.entropy)?;
    let mut event = request.event(AuditAction::ClientCreated, Outcome::Success).by(admin.key().user());
    event.client_id = Some(new.client.id.clone());
    match app.store.create_client(&admin, &new.client, &request.attempt(&app)?, &event).await {
        Ok(()) => Ok((StatusCode::CREATED, Json(NewClientDto::new(&new)))),
        Err(OperationError::Rejected(ClientRejection::ActorRevoked)) => Err(request.no_longer(&app).await),
        Err(error) => Err(Problem::of(error, |_| Code::NotFound.into())),
    }
}

/// List the client credentials
///
/// For an Administrator. The oldest credential comes first. Secrets are not shown.
#[utoipa::path(get, path = "/v1/admin/clients", operation_id = "listClients", tag = "directory",
    security(("session" = [])), responses(
    (status = 200, body = ClientList, description = "The tenant's client credentials."),
    (status = 403, description = "`forbidden`: Only an Administrator may do this."),
))]
async fn list(State(app): State<Arc<App>>, call: ApiRequest) -> ApiResult<Json<ClientList>> {
    let reader = call.request.administrator_reading(&app).await?;
    let clients = app.store.clients(reader.token().user().tenant()).await?;
    let items = clients.into_iter().map(|client| ClientDto {
        client_id: client.id.as_str().to_owned(),
        name: client.name,
        created_at: client.created,
    });
    Ok(Json(ClientList { items: items.collect() }))
}

/// Delete a client credential
///
/// For an Administrator with a fresh step-up. The credential stops working at once.
#[utoipa::path(delete, path = "/v1/admin/clients/{client_id}", operation_id = "deleteClient", tag = "directory",
    security(("session" = [])),
    params(("client_id" = String, Path, description = "The id of the credential.", example = "c-5Wq2LmXz")), responses(
    (status = 204, description = "The credential is deleted."),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`forbidden`: Only an Administrator may do this."),
    (status = 404, description = "`not_found`"),
))]
async fn delete(State(app): State<Arc<App>>, call: ApiRequest<NoBody, ClientId>) -> ApiResult<StatusCode> {
    let ApiRequest { path: client, request, .. } = call;
    let admin = request.administrator(&app).await?;
    let mut event = request.event(AuditAction::ClientDeleted, Outcome::Success).by(admin.key().user());
    event.client_id = Some(client.clone());
    match app.store.delete_client(&admin, &client, &request.attempt(&app)?, &event).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(OperationError::Rejected(ClientRejection::ActorRevoked)) => Err(request.no_longer(&app).await),
        Err(error) => Err(Problem::of(error, |_| Code::NotFound.into())),
    }
}

//! `/v1/admin/clients`: credentials of portals that introspect this tenant's tokens.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use vestibule::{
    audit::{Action, Outcome},
    env::Timestamp,
    http::{Answer, App, Call, Code, Line, NoBody, Routes, dto::NewClientDto},
    id::ClientId,
    store::client::{ClientChange, NewClient},
};

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(create, list)).routes(routes!(delete))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ClientRequest {
    /// What it is for.
    name: Line,
}

#[derive(Serialize, ToSchema)]
struct ClientList {
    items: Vec<ClientDto>,
}

#[derive(Serialize, ToSchema)]
struct ClientDto {
    client_id: String,
    name: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// Makes a client credential; its secret is shown once.
#[utoipa::path(post, path = "/v1/admin/clients", tag = "directory", security(("session" = [])),
    request_body = ClientRequest, responses(
    (status = 201, body = NewClientDto),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`forbidden`"),
))]
async fn create(State(app): State<Arc<App>>, call: Call<ClientRequest>) -> Answer<(StatusCode, Json<NewClientDto>)> {
    let Call { body, request, .. } = call;
    let authority = request.administrator(&app).await?;
    let new = NewClient::generate(authority.tenant(), &body.name, false, request.now, &*app.entropy)?;
    let mut event = request.event(Action::ClientCreated, Outcome::Success).by(authority.key().user());
    event.client_id = Some(new.client.id.clone());
    match app.store.create_client(&authority, &new.client, &request.attempt(&app)?, &event).await? {
        ClientChange::Done => Ok((StatusCode::CREATED, Json(NewClientDto::new(&new)))),
        ClientChange::NotFound => Err(Code::NotFound.into()),
        ClientChange::ActorGone => Err(request.no_longer(&app).await),
    }
}

/// The tenant's clients, the oldest first.
#[utoipa::path(get, path = "/v1/admin/clients", tag = "directory", security(("session" = [])), responses(
    (status = 200, body = ClientList),
    (status = 403, description = "`forbidden`"),
))]
async fn list(State(app): State<Arc<App>>, call: Call) -> Answer<Json<ClientList>> {
    let reader = call.request.administrator_reading(&app).await?;
    let clients = app.store.clients(reader.token().user().tenant()).await?;
    let items = clients.into_iter().map(|client| ClientDto {
        client_id: client.id.as_str().to_owned(),
        name: client.name,
        created_at: Timestamp::from_millis(client.created),
    });
    Ok(Json(ClientList { items: items.collect() }))
}

/// Deletes a client: its credential works no more.
#[utoipa::path(delete, path = "/v1/admin/clients/{client_id}", tag = "directory", security(("session" = [])),
    params(("client_id" = String, Path)), responses(
    (status = 204),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`forbidden`"),
    (status = 404, description = "`not_found`"),
))]
async fn delete(State(app): State<Arc<App>>, call: Call<NoBody, ClientId>) -> Answer<StatusCode> {
    let Call { path: client, request, .. } = call;
    let authority = request.administrator(&app).await?;
    let mut event = request.event(Action::ClientDeleted, Outcome::Success).by(authority.key().user());
    event.client_id = Some(client.clone());
    match app.store.delete_client(&authority, &client, &request.attempt(&app)?, &event).await? {
        ClientChange::Done => Ok(StatusCode::NO_CONTENT),
        ClientChange::NotFound => Err(Code::NotFound.into()),
        ClientChange::ActorGone => Err(request.no_longer(&app).await),
    }
}

//! The requests of pages: a GET that shows something, and a POST of a form.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{FromRequest, Request as HttpRequest},
    http::{Uri, request::Parts},
    response::Response,
};
use serde::de::DeserializeOwned;

use super::{
    Cookies, Navigation, PageError, Text,
    brand::Brand,
    language, layout,
    origin::{self, path_of},
    with_return_to,
};
use crate::{
    http::{
        ApiResult, App,
        call::{self, Request},
        dto::SessionDto,
        form::{self, Body, PageBody, UploadBody},
        problem::Code,
    },
    language::Language,
    secret::{SecretText, TokenClass},
    store::{item::Profile, session::Principal},
};

/// How much of a step-up must be left when a form is shown, so that it is still fresh when the form is sent.
const STEP_UP_LEFT: Duration = Duration::from_secs(60);

/// The request for a page. Query parameters that the page does not know are ignored.
pub struct PageRequest<P = (), Q = ()> {
    /// The path parameters.
    pub path: P,
    /// The query parameters.
    pub query: Q,
    /// The page.
    pub page: Page,
}

/// A sent form, which came from a page of this service.
pub struct PageForm<B, P = ()> {
    /// The fields. A field that was left empty counts as absent. If a field is wrong, the page shows the form again.
    pub form: ApiResult<B>,
    /// The path parameters.
    pub path: P,
    /// The page.
    pub page: Page,
}

/// A sent form with a file (`multipart/form-data`, at most 256 KiB), which came from a page of this service. As in
/// [`PageForm`], empty fields count as absent. A field whose name ends in `[]` is a list.
pub struct PageUpload<B> {
    /// The fields. The content of a file is a field. If a field is wrong, the page shows the form again.
    pub form: ApiResult<B>,
    /// The page.
    pub page: Page,
}

/// What a page is built from: who is asking, and in which language.
pub struct Page {
    /// The request. Its tokens are those of the cookies.
    pub request: Request,
    /// The texts of the language.
    pub text: Text,
    /// The cookies of the deployment.
    pub cookies: Cookies,
    pub(super) uri: Uri,
    /// The language was chosen by this request.
    pub(super) chosen: bool,
    pub(super) navigation: Option<Navigation>,
    pub(super) brand: Option<Brand>,
}

impl<P: DeserializeOwned + Send, Q: DeserializeOwned + Send> FromRequest<Arc<App>> for PageRequest<P, Q> {
    type Rejection = PageError;

    async fn from_request(request: HttpRequest, app: &Arc<App>) -> Result<Self, PageError> {
        let (mut parts, _) = request.into_parts();
        let path = call::path(&mut parts, app).await?;
        let query = form::lenient_query(parts.uri.query().unwrap_or(""))?;
        Ok(Self { path, query, page: Page::new(app, parts).await? })
    }
}

impl<B: DeserializeOwned + Send, P: DeserializeOwned + Send> FromRequest<Arc<App>> for PageForm<B, P> {
    type Rejection = PageError;

    async fn from_request(request: HttpRequest, app: &Arc<App>) -> Result<Self, PageError> {
        let (mut parts, body) = request.into_parts();
        origin::check(app, &parts.headers)?;
        let path = call::path(&mut parts, app).await?;
        let form = PageBody::read(&parts.headers, body).await.map(|PageBody(form)| form);
        Ok(Self { form, path, page: Page::new(app, parts).await? })
    }
}

impl<B: DeserializeOwned + Send> FromRequest<Arc<App>> for PageUpload<B> {
    type Rejection = PageError;

    async fn from_request(request: HttpRequest, app: &Arc<App>) -> Result<Self, PageError> {
        let (parts, body) = request.into_parts();
        origin::check(app, &parts.headers)?;
        let form = UploadBody::read(&parts.headers, body).await.map(|UploadBody(form)| form);
        Ok(Self { form, page: Page::new(app, parts).await? })
    }
}

impl Page {
    async fn new(app: &App, parts: Parts) -> ApiResult<Self> {
        let (cookies, uri) = (Cookies::new(app), parts.uri.clone());
        let asked = uri.query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("lang=")));
        let chosen = asked.and_then(Language::parse);
        let language = chosen.unwrap_or_else(|| language(&parts.headers));
        let mut request = Request::of_page(parts, app.clock.now(), cookies, app.store.restore_epoch())?;
        request.language = language;
        let (text, chosen, brand) = (Text::new(language), chosen.is_some(), Brand::of(app, &uri, &request).await);
        Ok(Self { request, text, cookies, uri, chosen, navigation: None, brand })
    }

    /// The path and query of the page, to return to.
    #[must_use]
    pub fn here(&self) -> String {
        path_of(&self.uri)
    }

    /// The signed-in person. The page then has the navigation of their role.
    ///
    /// # Errors
    /// Without a valid session the browser goes to the sign-in page, and comes back afterwards.
    pub async fn principal(&mut self, app: &App) -> Result<Principal, PageError> {
        let principal = self.request.principal(app).await.map_err(|problem| self.refused(problem))?;
        self.navigation = Some(Navigation::of(principal.user().role));
        Ok(principal)
    }

    /// As [`Self::principal`], with the person's names.
    ///
    /// # Errors
    /// Those of [`Self::principal`].
    pub async fn named_principal(&mut self, app: &App) -> Result<(Principal, Profile), PageError> {
        let read = self.request.named_principal(app).await;
        let (principal, profile) = read.map_err(|problem| self.refused(problem))?;
        self.navigation = Some(Navigation::of(principal.user().role));
        Ok((principal, profile))
    }

    /// Asks for a step-up before a form is shown whose operation needs one.
    ///
    /// # Errors
    /// With less than a minute left of the step-up, the browser goes to the step-up page, and comes back afterwards.
    pub fn stepped_up(&self, principal: &Principal) -> Result<(), PageError> {
        if principal.session().is_fresh(self.request.now + STEP_UP_LEFT) {
            Ok(())
        } else {
            Err(PageError::Redirect(layout::redirect(&with_return_to("/step-up", &self.here()), [])))
        }
    }

    /// What a page does with a problem that is not about the fields of its form: without a valid session it leads to the
    /// sign-in page. Every other problem is a page of its own.
    pub fn refused(&self, problem: impl Into<PageError>) -> PageError {
        match problem.into() {
            PageError::Problem(problem)
                if matches!(problem.code(), Code::InvalidToken | Code::SessionRefreshRequired) =>
            {
                let ended = self.cookies.end(TokenClass::Session);
                PageError::Redirect(layout::redirect(&with_return_to("/login", &self.here()), [ended]))
            }
            other => other,
        }
    }

    /// The text of a token that the browser keeps.
    #[must_use]
    pub fn token_text(&self, class: TokenClass) -> Option<SecretText> {
        self.request.cookie(&self.cookies.token_name(class)).map(|text| SecretText::new(text.to_owned()))
    }

    /// Signs the browser in, and sends it to a page of this service.
    #[must_use]
    pub fn signed_in(&self, session: &SessionDto, path: &str) -> Response {
        layout::redirect(path, self.cookies.signed_in(session, self.request.now))
    }
}

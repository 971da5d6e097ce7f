//! Where the provider answers: OpenID Connect discovery, at the first need and then kept.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oauth2::basic::{BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenResponse};
use oauth2::{
    AuthType, ClientId, ClientSecret, EndpointNotSet, EndpointSet, IntrospectionUrl, StandardRevocableToken,
};
use openidconnect::core::{
    CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClientAuthMethod, CoreGrantType, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreResponseMode, CoreResponseType,
    CoreSubjectIdentifierType,
};
use openidconnect::{AdditionalProviderMetadata, IssuerUrl, ProviderMetadata};
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::error::{NoAnswer, Outage};
use super::exchange::exchange;
use super::flight::Flights;
use super::provider::ProviderError;
use crate::config::{ClientMethod, ProviderClient};
use crate::lifecycle::Lifecycle;
use crate::net::http::{Client, Request, is_confidential};
use crate::secret::{Secret, SecretError};

/// The OAuth library's client, of which we use introspection alone.
pub(super) type Introspector = oauth2::Client<
    BasicErrorResponse,
    BasicTokenResponse,
    Answer,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
>;

type Metadata = ProviderMetadata<
    WithIntrospection,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// `introspection_endpoint` is of RFC 8414; OpenID Connect does not have it.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct WithIntrospection {
    introspection_endpoint: Option<IntrospectionUrl>,
}

impl AdditionalProviderMetadata for WithIntrospection {}

/// What we say at the provider to show that we may ask about tokens (RFC 7662 section 2.1).
pub(super) struct Credentials {
    id: String,
    secret: Secret,
    method: ClientMethod,
}

impl Credentials {
    pub(super) fn load(client: &ProviderClient) -> Result<Self, SecretError> {
        let ProviderClient { id, secret, method } = client;
        Ok(Self { id: id.clone(), secret: secret.load()?, method: *method })
    }
}

/// Finds the introspection endpoint of one issuer.
#[derive(Clone)]
pub(super) struct Discovery(Arc<Inner>);

struct Inner {
    issuer: IssuerUrl,
    http: Client,
    lifecycle: Lifecycle,
    credentials: Option<Credentials>,
    state: Mutex<State>,
}

struct State {
    known: Option<Arc<Introspector>>,
    flights: Flights<(), Found>,
}

type Found = Result<Arc<Introspector>, NoAnswer>;

impl Discovery {
    pub(super) fn new(
        issuer: &str,
        http: Client,
        lifecycle: Lifecycle,
        credentials: Option<Credentials>,
    ) -> Result<Self, ProviderError> {
        let issuer =
            IssuerUrl::new(issuer.to_owned()).map_err(|_| ProviderError::Issuer(issuer.to_owned()))?;
        if !is_confidential(issuer.url()) {
            return Err(ProviderError::Issuer(issuer.to_string()));
        }
        let state = Mutex::new(State { known: None, flights: Flights::new() });
        Ok(Self(Arc::new(Inner { issuer, http, lifecycle, credentials, state })))
    }

    /// The client for the introspection endpoint. A failure is not kept: the next one who asks tries again.
    pub(super) async fn introspector(&self) -> Found {
        let flight = {
            let mut state = self.state();
            if let Some(known) = &state.known {
                return Ok(Arc::clone(known));
            }
            state.flights.join(&()).unwrap_or_else(|| {
                let fallen = NoAnswer::new(Outage::Internal, "the task that asked it failed");
                state
                    .flights
                    .launch((), Err(fallen), |number| self.0.lifecycle.deed(self.clone().fly(number)))
            })
        };
        flight.await
    }

    /// Forgets what was found, as the endpoint seems to be there no longer.
    pub(super) fn forget(&self) {
        self.state().known = None;
    }

    async fn fly(self, number: u64) -> Found {
        let landing = Landing { discovery: &self, number };
        let found = self.find().await;
        if let Ok(introspector) = &found {
            self.state().known = Some(Arc::clone(introspector));
        }
        drop(landing);
        found
    }

    async fn find(&self) -> Found {
        let issuer = &self.0.issuer;
        let bad = |why: &str| {
            tracing::warn!(issuer = issuer.as_str(), "the provider's metadata cannot be used: {why}");
            NoAnswer::new(Outage::Metadata, format!("its metadata cannot be used: {why}"))
        };
        let url = issuer.join(".well-known/openid-configuration").map_err(|error| bad(&error.to_string()))?;
        let mut request = Request::new(Vec::new());
        *request.uri_mut() = url.as_str().parse().map_err(|_| bad("the issuer is no URI"))?;
        let response = exchange(self.0.http.clone(), request).await?;
        // Not the library's own discovery: that goes on to fetch the keys of signed tokens, of which we accept
        // none, and fails where they cannot be had.
        let metadata: Metadata =
            serde_json::from_slice(response.body()).map_err(|error| bad(&error.to_string()))?;
        // RFC 8414 section 3.3: identical, or it is somebody else's metadata.
        if metadata.issuer().as_str() != issuer.as_str() {
            return Err(bad("it is another issuer's"));
        }
        let endpoint = metadata.additional_metadata().introspection_endpoint.clone();
        let endpoint = endpoint.ok_or_else(|| {
            bad("it names no introspection endpoint (RFC 7662), so that it cannot be asked about tokens. The TSIDP of \
                 github.com/tailscale/tsidp has one, the older one in Tailscale's own module has none")
        })?;
        // Tokens are sent there, so a document that was tampered with must not lead them elsewhere.
        if !is_confidential(endpoint.url()) || endpoint.url().origin() != issuer.url().origin() {
            return Err(bad("the introspection endpoint is not at the issuer's own origin"));
        }
        Ok(Arc::new(self.client().set_introspection_url(endpoint)))
    }

    fn client(
        &self,
    ) -> oauth2::Client<
        BasicErrorResponse,
        BasicTokenResponse,
        Answer,
        StandardRevocableToken,
        BasicRevocationErrorResponse,
    > {
        let Some(Credentials { id, secret, method }) = &self.0.credentials else {
            // TSIDP takes any node of the tailnet as authenticated, so we are no client of it. The library
            // always sends a client_id; RFC 6749 section 3.2 has an empty one treated as not sent.
            return oauth2::Client::new(ClientId::new(String::new()));
        };
        oauth2::Client::new(ClientId::new(id.clone()))
            .set_client_secret(ClientSecret::new(secret.expose().to_owned()))
            .set_auth_type(match method {
                ClientMethod::Basic => AuthType::BasicAuth,
                ClientMethod::Post => AuthType::RequestBody,
            })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the question off the list, also if its task panics.
struct Landing<'a> {
    discovery: &'a Discovery,
    number: u64,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.discovery.state().flights.land(&(), self.number);
    }
}

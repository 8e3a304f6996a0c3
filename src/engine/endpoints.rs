//! The endpoint of the daemon's webhooks at the provider: registers, reads and removes it, and keeps its secret.
//!
//! `http/` and `inbound/` call this. Each request takes a permit of the API guard. The daemon has one endpoint: to
//! register again changes it. An endpoint with the same address that the store does not know (the answer to its
//! creation was lost, or a person made it) is taken over, so that no event comes twice.

use std::time::Duration;

use super::api_guard::Kind;
use super::{EngineHandle, Shared};
use crate::domain::endpoint::{EndpointAnswer, EndpointRequest, TestPost, WantedEndpoint};
use crate::domain::message::AccountId;
use crate::domain::outcome::ProviderError;
use crate::store::{StoreError, StoredEndpoint};

pub use crate::domain::endpoint::{Delivery, Endpoint};

/// How long a request waits for its permit.
const PERMIT_WITHIN: Duration = Duration::from_secs(20);
/// The most pages of endpoints that are read.
const MAX_PAGES: usize = 10;
/// In whose name a request is made while no account is known.
const WITHOUT_ACCOUNT: &str = "acc_none";

/// Why a request about the endpoint failed.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The provider refused it, or did not answer.
    #[error("{0}")]
    Provider(Box<ProviderError>),
    /// The API cannot be reached, or is busy with messages.
    #[error("the API gave no permit within {} s", PERMIT_WITHIN.as_secs())]
    Busy,
    /// The queue cannot be read or written.
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl EndpointError {
    /// Returns whether the provider does not know the endpoint.
    fn is_missing(&self) -> bool {
        matches!(self, Self::Provider(problem) if problem.status == Some(404))
    }
}

type Result<T> = std::result::Result<T, EndpointError>;

/// What the provider shows of endpoints.
pub struct Endpoints {
    /// All of the application.
    pub endpoints: Vec<Endpoint>,
    /// The latest deliveries to ours, newest first.
    pub deliveries: Vec<Delivery>,
}

impl EngineHandle {
    /// Creates the endpoint at the provider, or changes the one that there is; keeps its secret. Returns whether it is
    /// new.
    ///
    /// # Errors
    /// Returns an error if the provider refused or did not answer, or if the queue cannot be written. A repetition
    /// then takes over what the provider may have created.
    pub async fn register_endpoint(&self, wanted: WantedEndpoint) -> Result<(StoredEndpoint, bool)> {
        let shared = &self.shared;
        let known = match shared.store.webhook_endpoints().await?.pop() {
            Some(stored) => Some(stored.id),
            None => all(shared).await?.into_iter().find(|one| one.url == wanted.url).map(|one| one.id),
        };
        let updated = match known {
            Some(id) => match request(shared, EndpointRequest::Update(id.clone(), wanted.clone())).await {
                Err(error) if error.is_missing() => {
                    shared.store.forget_endpoint(id, shared.clock.now()).await?;
                    None
                }
                answer => Some(only(answer?)?),
            },
            None => None,
        };
        let (endpoint, is_new) = match updated {
            Some(endpoint) => (endpoint, false),
            None => (only(request(shared, EndpointRequest::Create(wanted)).await?)?, true),
        };
        let endpoint = match endpoint.secret {
            Some(_) => endpoint,
            None => only(request(shared, EndpointRequest::Get(endpoint.id)).await?)?,
        };
        Ok((keep(shared, endpoint).await?, is_new))
    }

    /// Returns what the provider shows of all endpoints, and of the deliveries to ours.
    ///
    /// # Errors
    /// Returns an error if the provider refused or did not answer, or if the queue cannot be read.
    pub async fn endpoints(&self) -> Result<Endpoints> {
        let endpoints = all(&self.shared).await?;
        let ours = self.shared.store.webhook_endpoints().await?.pop();
        let there = ours.filter(|ours| endpoints.iter().any(|one| one.id == ours.id));
        let deliveries = match there {
            Some(ours) => request(&self.shared, EndpointRequest::Deliveries(ours.id)).await?.deliveries,
            None => Vec::new(),
        };
        Ok(Endpoints { endpoints, deliveries })
    }

    /// Deletes the endpoint at the provider and forgets it. Returns its id and whether the provider still had it;
    /// `None` if there is none.
    ///
    /// # Errors
    /// Returns an error if the provider refused or did not answer; it is remembered then.
    pub async fn remove_endpoint(&self) -> Result<Option<(String, bool)>> {
        let shared = &self.shared;
        let Some(stored) = shared.store.webhook_endpoints().await?.pop() else { return Ok(None) };
        let was_there = match request(shared, EndpointRequest::Delete(stored.id.clone())).await {
            Ok(_) => true,
            Err(error) if error.is_missing() => false,
            Err(error) => return Err(error),
        };
        shared.store.forget_endpoint(stored.id.clone(), shared.clock.now()).await?;
        Ok(Some((stored.id, was_there)))
    }

    /// Reads the secret of the registered endpoint again and keeps it; `None` if none is registered.
    ///
    /// # Errors
    /// Returns an error if the provider refused or did not answer; the old secret stays.
    pub async fn reread_endpoint(&self) -> Result<Option<StoredEndpoint>> {
        let shared = &self.shared;
        let Some(stored) = shared.store.webhook_endpoints().await?.pop() else { return Ok(None) };
        let endpoint = only(request(shared, EndpointRequest::Get(stored.id)).await?)?;
        keep(shared, endpoint).await.map(Some)
    }

    /// Posts a test delivery to an address of ours. It does not go to the provider, and needs no permit.
    pub async fn post_test(&self, post: TestPost) -> std::result::Result<(u16, String), String> {
        self.shared.provider.post_test(post).await
    }
}

/// Returns all endpoints of the application.
async fn all(shared: &Shared) -> Result<Vec<Endpoint>> {
    let mut found = Vec::new();
    for _page in 0..MAX_PAGES {
        let answer = request(shared, EndpointRequest::List(found.len())).await?;
        let is_last = !answer.has_more || answer.endpoints.is_empty();
        found.extend(answer.endpoints);
        if is_last {
            break;
        }
    }
    Ok(found)
}

fn only(answer: EndpointAnswer) -> Result<Endpoint> {
    let nothing = || ProviderError::local("unexpected_success", "the answer shows no endpoint");
    answer.endpoints.into_iter().next().ok_or_else(|| EndpointError::Provider(Box::new(nothing())))
}

async fn keep(shared: &Shared, endpoint: Endpoint) -> Result<StoredEndpoint> {
    let Some(secret) = endpoint.secret.clone() else {
        let what = "the answer shows no secret of the endpoint";
        return Err(EndpointError::Provider(Box::new(ProviderError::local("unexpected_success", what))));
    };
    Ok(shared.store.keep_endpoint(endpoint, secret, shared.clock.now()).await?)
}

/// Makes one request with a permit.
async fn request(shared: &Shared, request: EndpointRequest) -> Result<EndpointAnswer> {
    let account = shared.store.account_ids(None, false, 1).await?.pop();
    let account = account.unwrap_or_else(|| AccountId::new(WITHOUT_ACCOUNT));
    let permit = tokio::select! {
        permit = shared.api.wait(&account, Kind::Reconcile) => permit,
        () = shared.clock.sleep(PERMIT_WITHIN) => return Err(EndpointError::Busy),
        () = shared.stopping.cancelled() => return Err(EndpointError::Busy),
    };
    let call = permit.begin();
    let answer = shared.provider.endpoints(request).await;
    call.ended_read(&answer);
    answer.map_err(|unread| EndpointError::Provider(unread.problem))
}

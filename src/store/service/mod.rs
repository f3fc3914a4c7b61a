//! The results service: takes the files of attempts from load pods, and gives committed results to whoever may ask the
//! API server's proxy.
//!
//! ```text
//! upload (8443)  HEAD, PUT /v1/blobs/<sha256>     POST /v1/commit     Authorization: Bearer <projected token>
//! read   (8444)  GET /v1/campaigns?namespace=     GET /v1/campaigns/<namespace>/<name>.<uid>/[<path>]
//! ```
//!
//! A client never names a run: its token says which pod it is, and the pod which attempt.

mod attempts;
mod commit;
mod limits;
mod listen;
mod patient;
mod read;
mod refusal;
#[cfg(test)]
mod tests;
mod tls;
mod tokens;
mod upload;

use std::{io, sync::Arc};

use thiserror::Error;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;

pub use self::{
    attempts::{AttemptIdentity, Attempts},
    commit::CommitAnswer,
    limits::Limits,
    read::CampaignList,
    refusal::{Refusal, RefusalCode},
    tls::Tls,
};
use self::{tokens::Tokens, upload::Quotas};
use super::{ResultsStore, StoreError};

/// The audience that a load pod's token is made for.
pub const AUDIENCE: &str = "teebench-results";

/// Where the service listens.
#[derive(Debug)]
pub struct Listeners {
    /// For load pods.
    pub upload: TcpListener,
    /// For the API server's proxy.
    pub read: TcpListener,
}

/// The service cannot go on.
#[derive(Debug, Error)]
pub enum ServiceError {
    /// What earlier uploads left cannot be swept.
    #[error("results service: the staging of earlier uploads cannot be swept")]
    Sweep(#[source] StoreError),
    /// A socket is lost.
    #[error("results service: a listening socket is lost")]
    Socket(#[source] io::Error),
}

/// The results service.
pub struct ResultsService {
    state: Arc<Service>,
}

/// What all requests share.
struct Service {
    store: ResultsStore,
    tokens: Tokens,
    attempts: Arc<dyn Attempts>,
    limits: Limits,
    uploads: Semaphore,
    reads: Arc<Semaphore>,
    quotas: Quotas,
}

impl ResultsService {
    /// A service over this store. Tokens are reviewed through `client`; `attempts` knows the pods.
    #[must_use]
    pub fn new(store: ResultsStore, client: kube::Client, attempts: Arc<dyn Attempts>, limits: Limits) -> Self {
        let state = Service {
            store,
            tokens: Tokens::new(client),
            attempts,
            limits,
            uploads: Semaphore::new(limits.uploads_at_once),
            reads: Arc::new(Semaphore::new(limits.reads_at_once)),
            quotas: Quotas::default(),
        };
        Self { state: Arc::new(state) }
    }

    /// Serves until told to stop; requests that are under way may then end.
    ///
    /// # Errors
    /// The staging cannot be swept, or a socket is lost.
    pub async fn serve(self, tls: Arc<Tls>, listeners: Listeners, stop: CancellationToken) -> Result<(), ServiceError> {
        let Self { state } = self;
        state.store.sweep_staging(state.limits.staging_age).await.map_err(ServiceError::Sweep)?;
        let limits = state.limits;
        let upload = listen::serve(listeners.upload, &tls, upload::routes(&state), limits, &stop);
        let read = listen::serve(listeners.read, &tls, read::routes(&state), limits, &stop);
        tokio::try_join!(upload, read).map(drop).map_err(ServiceError::Socket)
    }
}

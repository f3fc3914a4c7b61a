//! Counting by the server's own tokeniser.

use std::sync::mpsc;
use std::time::Duration;

use super::TokenizeError;
use crate::client::{AskError, AskedServer, HttpOptions};

/// Time for the server to tokenise one text.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Asks a server, one text after the other, on a thread of its own: those who count are no asynchronous code.
#[derive(Debug)]
pub struct ServerTokenizer {
    questions: mpsc::Sender<Question>,
}

struct Question {
    text: String,
    answer: mpsc::Sender<Result<u32, TokenizeError>>,
}

impl ServerTokenizer {
    /// Will ask the server at `base_url`, spoken with as the load speaks with it, in the name of `model`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(base_url: &str, model: &str, http: HttpOptions) -> Result<ServerTokenizer, TokenizeError> {
        let (questions, asked) = mpsc::channel();
        let (base_url, model) = (base_url.to_owned(), model.to_owned());
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(TokenizeError::Thread)?;
        std::thread::Builder::new()
            .name("tokenize".to_owned())
            .spawn(move || {
                let mut server = None;
                for Question { text, answer } in asked {
                    let counted = runtime.block_on(async {
                        let server = match &mut server {
                            Some(server) => server,
                            None => server.insert(AskedServer::resolve(&base_url, &http, TIMEOUT).await?),
                        };
                        server.tokens(&model, &text).await
                    });
                    // Whoever asked may be gone.
                    let _ = answer.send(counted.map_err(|error: AskError| TokenizeError::Server(in_full(&error))));
                }
            })
            .map_err(TokenizeError::Thread)?;
        Ok(ServerTokenizer { questions })
    }

    pub(super) fn count(&self, text: &str) -> Result<u32, TokenizeError> {
        let (answer, answered) = mpsc::channel();
        let ended = || TokenizeError::Server("the thread that asks it has ended".to_owned());
        self.questions.send(Question { text: text.to_owned(), answer }).map_err(|_| ended())?;
        answered.recv().map_err(|_| ended())?
    }
}

/// An error with its causes on one line.
fn in_full(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

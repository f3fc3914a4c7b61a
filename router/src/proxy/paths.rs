//! The paths that clients may reach. All others get 404, above all vLLM's development paths such as
//! `/reset_prefix_cache` and `/sleep`, with which one client could harm all.

use http::Method;

use super::error::RequestError;

/// How a request is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// It is work for the engine: its prompt is read, it takes a slot, it may wait.
    Work,
    /// It costs the engine nothing: any worker, no slot.
    Light,
}

/// The route of a request.
pub fn route(method: &Method, path: &str) -> Result<Route, RequestError> {
    let (allowed, route) = match path {
        "/v1/completions"
        | "/v1/chat/completions"
        | "/v1/embeddings"
        | "/v1/responses"
        | "/v1/score"
        | "/v1/rerank"
        | "/score"
        | "/rerank"
        | "/pooling"
        | "/classify" => ("POST", Route::Work),
        "/tokenize" | "/detokenize" => ("POST", Route::Light),
        "/v1/models" | "/health" | "/ping" | "/version" => ("GET", Route::Light),
        // A model's name may have slashes, but must not lead out of the folder where someone resolves dots.
        _ if path.strip_prefix("/v1/models/").is_some_and(|model| model.split('/').all(is_plain)) => {
            ("GET", Route::Light)
        }
        _ => return Err(RequestError::UnknownPath),
    };
    if method.as_str() == allowed || (allowed == "GET" && method == Method::HEAD) {
        return Ok(route);
    }
    Err(RequestError::WrongMethod(allowed))
}

fn is_plain(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..") && !segment.contains(['%', '\\'])
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::completions("POST", "/v1/completions", Ok(Route::Work))]
    #[case::chat("POST", "/v1/chat/completions", Ok(Route::Work))]
    #[case::models("GET", "/v1/models", Ok(Route::Light))]
    #[case::one_model("GET", "/v1/models/meta-llama/Llama", Ok(Route::Light))]
    #[case::health("HEAD", "/health", Ok(Route::Light))]
    #[case::get_completions("GET", "/v1/completions", Err(RequestError::WrongMethod("POST")))]
    #[case::reset("POST", "/reset_prefix_cache", Err(RequestError::UnknownPath))]
    #[case::sleep("POST", "/sleep", Err(RequestError::UnknownPath))]
    #[case::metrics("GET", "/metrics", Err(RequestError::UnknownPath))]
    #[case::dots("GET", "/v1/models/../../sleep", Err(RequestError::UnknownPath))]
    #[case::hidden_dots("GET", "/v1/models/%2e%2e/sleep", Err(RequestError::UnknownPath))]
    #[case::root("GET", "/", Err(RequestError::UnknownPath))]
    fn only_listed_paths_are_served(
        #[case] method: Method,
        #[case] path: &str,
        #[case] expected: Result<Route, RequestError>,
    ) {
        assert_eq!(route(&method, path), expected);
    }
}

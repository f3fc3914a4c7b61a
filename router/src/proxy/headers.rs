//! Headers that belong to one connection and not to the message: the only ones that are not passed on.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Uri, Version};

use super::error::RequestError;

/// Hop-by-hop headers of RFC 9110, section 7.6.1, and RFC 2616, section 13.5.1; but `Trailer`, which announces fields that
/// are passed on with an answer's end.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Removes what belongs to the connection that a message came over, and what its `Connection` header names besides; of a
/// message that came in chunks also a length, which does not count beside them.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// As [`remove_hop_by_hop`], and what makes no sense once the router has the whole body before it asks a worker: `Expect`,
/// and the announcement of trailers, for which [`announce_trailers`] puts one of those that came.
pub fn remove_from_request(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    headers.remove(EXPECT);
    headers.remove(TRAILER);
}

/// Makes a request one that is sent in chunks and ended by these trailers.
pub fn announce_trailers(headers: &mut HeaderMap, trailers: &HeaderMap) {
    for name in trailers.keys() {
        headers.append(TRAILER, HeaderValue::from(name.clone()));
    }
    headers.remove(CONTENT_LENGTH);
    headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
}

/// Puts the one host that a request names into its header: that of its target, which goes before the header, or else the
/// header itself. A client of HTTP/1.0 or HTTP/2 need not name one.
pub fn settle_host(headers: &mut HeaderMap, target: &Uri, version: Version) -> Result<(), RequestError> {
    if let Some(authority) = target.authority() {
        let (_, host) = authority.as_str().rsplit_once('@').unwrap_or(("", authority.as_str()));
        headers.insert(HOST, HeaderValue::from_str(host).map_err(|_| RequestError::MalformedHost)?);
    }
    match headers.get_all(HOST).iter().count() {
        1 => Ok(()),
        0 if version != Version::HTTP_11 => Ok(()),
        _ => Err(RequestError::MalformedHost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_connections_own_headers_are_removed() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("expect", "100-continue"),
            ("authorization", "Bearer x"),
            ("x-request-id", "7"),
            ("content-length", "3"),
            ("trailer", "x-sum"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        remove_from_request(&mut headers);
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["authorization", "x-request-id"]);
    }
}

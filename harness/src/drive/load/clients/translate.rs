//! A request as HTTP/1.1 spells it, translated for clients that take its parts.
//!
//! The workload writes every request once, as the bytes of HTTP/1.1; what another client sends is read from
//! them, so that it asks for exactly the same. Deliberately absent: requests of their own.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Uri, header, uri::Scheme};

use crate::{
    drive::load::{Error, schedule::Due, workload::Requests},
    plan::{Client, LoadPlan},
};

const HEADERS_MAX: usize = 96;

/// Makes sure that every request of these streams can be translated, before the first one is due.
///
/// # Errors
/// The request that cannot.
pub(super) fn check(load: &LoadPlan, mut requests: Requests) -> Result<(), Error> {
    let mut bytes = Vec::new();
    for (stream, number) in load.streams.iter().zip(0_u16..) {
        if stream.client == Client::Http1 {
            continue;
        }
        for (request, index) in stream.requests.iter().zip(0_u16..) {
            bytes.clear();
            requests.write(&Due { id: 1, intended_ns: 0, stream: number, request: index }, &mut bytes);
            if translate(&bytes, &Scheme::HTTP).is_none() {
                return Err(Error::Untranslatable { request: request.name.clone() });
            }
        }
    }
    Ok(())
}

/// The parts of a request, its `host` as the authority of the URI and not among the headers. `None` for what
/// only HTTP/1.1 can say.
pub(super) fn translate(bytes: &[u8], scheme: &Scheme) -> Option<Request<Bytes>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(bytes).ok()? else { return None };
    let mut request = Request::new(Bytes::copy_from_slice(&bytes[length..]));
    *request.method_mut() = head.method?.parse().ok()?;
    let mut authority = None;
    for header in head.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        if name == header::HOST {
            authority = Some(header.value);
        } else {
            request.headers_mut().append(name, HeaderValue::from_bytes(header.value).ok()?);
        }
    }
    *request.uri_mut() = Uri::builder()
        .scheme(scheme.clone())
        .authority(authority?)
        .path_and_query(head.path?)
        .build()
        .ok()?;
    Some(request)
}

#[cfg(test)]
mod tests {
    use http::uri::Scheme;

    use super::translate;

    #[test]
    fn every_part_is_kept() {
        let bytes =
            b"POST /orders?a=b HTTP/1.1\r\nhost: shop.test:81\r\nX-One: 1\r\ncontent-length: 2\r\n\r\n{}";
        let request = translate(bytes, &Scheme::HTTPS).unwrap();
        assert_eq!(request.method(), "POST");
        assert_eq!(request.uri(), "https://shop.test:81/orders?a=b");
        let headers: Vec<_> =
            request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(headers, [("x-one", b"1".as_slice()), ("content-length", b"2")]);
        assert_eq!(request.body(), "{}");
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        assert!(translate(b"GET / HTTP/1.1\r\n\r\n", &Scheme::HTTP).is_none(), "there is no host");
        assert!(translate(b"GET /<> HTTP/1.1\r\nhost: a\r\n\r\n", &Scheme::HTTP).is_none());
        assert!(translate(b"GET /", &Scheme::HTTP).is_none());
    }
}

//! The one place that chooses how TLS is done: rustls with the `ring` provider.
//!
//! reqwest and rustls ask for the process's provider and panic when there is none, so whoever makes a client
//! calls [`provide`] first. `ring` because it builds with a C compiler alone.

/// Makes `ring` the process's provider, unless one is set already.
pub fn provide() {
    // An error only says that another thread was first, with the same provider.
    let _set = rustls::crypto::ring::default_provider().install_default();
}

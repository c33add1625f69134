//! Why a link could not be made or served.

use std::path::PathBuf;

use causeway_model::Lineage;

/// An error of this crate. None of them passes by itself: somebody must change a setting, a certificate or a version.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings make no sense.
    #[error("link settings: {}", .0.join("; "))]
    Settings(Vec<String>),
    /// A file of certificates or keys cannot be read.
    #[error("read {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Certificates or keys are no use, or the other side's are not trusted by this one, or this one's by it.
    #[error("TLS with {address}: {cause}")]
    Tls {
        /// The other side.
        address: String,
        /// What was wrong.
        cause: String,
    },
    /// The other side refused the handshake, and would again.
    #[error("{address} refused the link: {cause}")]
    Refused {
        /// The other side.
        address: String,
        /// Its own words.
        cause: String,
    },
    /// Another cluster answered.
    #[error("{address} serves lineage {found}, expected {expected}")]
    Lineage {
        /// The other side.
        address: String,
        /// What was expected.
        expected: Lineage,
        /// What it serves.
        found: Lineage,
    },
    /// The other side answers, and not in this protocol.
    #[error("{address} does not speak this protocol: {cause}")]
    Protocol {
        /// The other side.
        address: String,
        /// What was wrong.
        cause: String,
    },
    /// Numbers cannot be made.
    #[error("link metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The process is on its way out.
    #[error("the process is draining")]
    Draining,
}

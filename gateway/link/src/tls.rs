//! Certificates and keys from their files.

use std::path::Path;
use std::time::Duration;

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, ServerTlsConfig};

use crate::client::chain;
use crate::{Error, Tls};

/// How long a client may take over its side of the handshake.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);

/// The client's side: trusts `ca` alone and shows its own certificate.
pub(crate) fn client(tls: &Tls) -> Result<ClientTlsConfig, Error> {
    let (ca, identity) = read(tls)?;
    let config = ClientTlsConfig::new().ca_certificate(ca).identity(identity);
    Ok(match &tls.server_name {
        Some(name) => config.domain_name(name),
        None => config,
    })
}

/// The server's side: asks for a certificate that `ca` signed.
pub(crate) fn server(tls: &Tls) -> Result<ServerTlsConfig, Error> {
    let (ca, identity) = read(tls)?;
    Ok(ServerTlsConfig::new().identity(identity).client_ca_root(ca).timeout(HANDSHAKE))
}

impl Tls {
    /// What is wrong with the files, each on its own; empty if nothing is.
    pub fn problems(&self) -> Vec<String> {
        let files = [&self.ca, &self.certificate, &self.key];
        let unread: Vec<_> = files.iter().filter_map(|path| file(path).err()).map(|error| error.to_string()).collect();
        if !unread.is_empty() {
            return unread;
        }
        let tried = client(self).map_err(|error| error.to_string()).and_then(|config| {
            let endpoint = Endpoint::from_static("https://localhost").tls_config(config);
            endpoint.map(drop).map_err(|error| chain(&error))
        });
        tried.err().into_iter().collect()
    }
}

fn read(tls: &Tls) -> Result<(Certificate, Identity), Error> {
    let identity = Identity::from_pem(file(&tls.certificate)?, file(&tls.key)?);
    Ok((Certificate::from_pem(file(&tls.ca)?), identity))
}

fn file(path: &Path) -> Result<Vec<u8>, Error> {
    #[expect(clippy::disallowed_methods, reason = "a certificate, not data of ours")]
    let read = std::fs::read(path);
    read.map_err(|source| Error::File { path: path.to_owned(), source })
}

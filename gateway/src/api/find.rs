//! Finding a client in the cluster, and asking it to go.

use causeway_compute::registry::{Kick, Online};
use causeway_model::{ClientId, Incarnation, Namespace};

use super::Serving;

/// Where a client is.
pub(super) enum Place {
    Online { name: String, incarnation: Incarnation, online: Online },
    Offline,
    Unknown { silent: Vec<String> },
}

/// What became of a kick.
pub(super) enum Kicked {
    Asked { name: String, incarnation: Incarnation, ended: bool },
    Offline,
    Unknown { silent: Vec<String> },
}

pub(super) async fn find(serving: &Serving, namespace: &Namespace, client: &ClientId) -> Place {
    match serving.context.registry.get(namespace, client) {
        Some(here) => Place::Online {
            name: serving.name.to_string(),
            incarnation: serving.context.incarnation,
            online: here.online(),
        },
        None => Place::Offline,
    }
}

pub(super) async fn kick(serving: &Serving, namespace: &Namespace, client: &ClientId) -> Kicked {
    match serving.context.registry.get(namespace, client) {
        Some(here) => {
            here.kick(Kick::Administrator);
            let (name, incarnation) = (serving.name.to_string(), serving.context.incarnation);
            Kicked::Asked { name, incarnation, ended: false }
        }
        None => Kicked::Offline,
    }
}

//! Members, leases and the map.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use causeway_compute::port::{Lease, Map, MapEpoch, Member};

use super::{Malformed, bytes_of, incarnation_from, incarnation_to, millis, need, text};
use crate::proto as pb;

pub(crate) fn member_to(member: &Member) -> pb::Member {
    pb::Member {
        incarnation: incarnation_to(member.incarnation),
        name: bytes_of(&member.name),
        address: member.address.as_ref().map_or_else(Bytes::new, bytes_of),
    }
}

pub(crate) fn member_from(member: pb::Member) -> Result<Member, Malformed> {
    let address = text("address", member.address)?;
    Ok(Member {
        incarnation: incarnation_from(&member.incarnation)?,
        name: text("name", member.name)?,
        address: (!address.is_empty()).then_some(address),
    })
}

pub(crate) fn lease_to(lease: &Lease) -> pb::Lease {
    let map = pb::MemberMap {
        term: lease.map.epoch.term,
        change: lease.map.epoch.change,
        members: lease.map.members.iter().map(member_to).collect(),
    };
    pb::Lease { length_ms: millis(lease.length), map: Some(map) }
}

/// The lease that came. Its members must be in order, since they are searched by it.
pub(crate) fn lease_from(lease: pb::Lease) -> Result<Lease, Malformed> {
    let map = need("map", lease.map)?;
    let members = map.members.into_iter().map(member_from).collect::<Result<Vec<_>, _>>()?;
    if !members.is_sorted_by(|a, b| a.incarnation < b.incarnation) {
        return Err(Malformed::Columns("map"));
    }
    let epoch = MapEpoch { term: map.term, change: map.change };
    Ok(Lease { length: Duration::from_millis(lease.length_ms), map: Arc::new(Map { epoch, members }) })
}

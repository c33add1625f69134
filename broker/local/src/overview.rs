//! What people ask of one shard.

use std::sync::Arc;

use causeway_apply::row::{GatewayState as Row, Head};
use causeway_apply::{Durable, read};
use causeway_compute::port::{ClientSession, Error, GatewayState, Overview, ShardStatus};
use causeway_model::{ClientId, Incarnation, Kind, Namespace, ShardId, Sid};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use crate::Local;
use crate::broker::refuse;
use crate::command::from_reason;
use crate::read::broken;

/// Gateways that one answer names. A cluster has few.
const MAX_GATEWAYS: usize = 65_536;

impl<T: Durable> Overview for Local<T> {
    fn client(
        &self,
        namespace: Namespace,
        client: ClientId,
    ) -> BoxFuture<'static, Result<Option<ClientSession>, Error>> {
        let tables = Arc::clone(&self.tables);
        self.blocking("client", move || {
            let Some(sid) = read::client(&*tables, &namespace, &client).map_err(|error| broken(&error))? else {
                return Ok(None);
            };
            let head = read::head(&*tables, sid).map_err(|error| broken(&error))?;
            Ok(head.map(|head| session(sid, &head)))
        })
    }

    fn gateways(&self) -> BoxFuture<'static, Result<Vec<(Incarnation, GatewayState)>, Error>> {
        let tables = Arc::clone(&self.tables);
        self.blocking("gateways", move || {
            let rows = read::gateways(&*tables, MAX_GATEWAYS).map_err(|error| broken(&error))?;
            Ok(rows.into_iter().map(|(incarnation, state)| (incarnation, standing(state))).collect())
        })
    }

    fn status(&self, shard: ShardId) -> BoxFuture<'static, Result<ShardStatus, Error>> {
        if shard != self.shard {
            return refuse("status", shard, Kind::NotFound);
        }
        let role = *self.committer.role().borrow();
        // Applied first: it must not look as if apply were ahead of the disk.
        let applied = self.view.applied();
        let durable = *self.committer.durable().borrow();
        let first = self.view.first();
        let status =
            ShardStatus { first, durable: durable.max(applied), applied, term: role.term, leader: role.leader };
        ready(Ok(status)).boxed()
    }
}

fn session(sid: Sid, head: &Head) -> ClientSession {
    ClientSession {
        sid,
        epoch: head.epoch,
        owner: head.owner,
        connected: head.is_connected(),
        persistent: head.persistent,
        expiry: head.expiry,
        disconnected: (!head.is_connected()).then_some(head.disconnected),
        closed: head.closed.map(from_reason),
        subscriptions: head.filters,
    }
}

fn standing(row: Row) -> GatewayState {
    match row {
        Row::Joined => GatewayState::Joined,
        Row::Lost => GatewayState::Lost,
    }
}

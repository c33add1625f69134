//! What gateways ask each other.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use causeway_compute::port::{Answer, Ask, Kicked, MapEpoch, SlotSet, Whereabout};
use causeway_compute::registry::{Kick, Online};
use causeway_model::{ClientId, Epoch, Incarnation, Millis, Position, QueueId};

use super::message::{session_from, session_to};
use super::{
    Malformed, bytes_of, ids_from, incarnation_from, incarnation_to, millis, namespace, need, queue_from, text,
};
use crate::proto as pb;
use crate::proto::ask::Kind as AskKind;
use crate::proto::peer_answer::Kind as AnswerKind;

/// An ask.
pub(crate) fn ask_to(ask: &Ask) -> pb::Ask {
    let kind = match ask {
        Ask::Enter { epoch, entries } => AskKind::Enter(entries_to(*epoch, entries)),
        Ask::Leave { epoch, entries } => AskKind::Leave(entries_to(*epoch, entries)),
        Ask::Forget { epoch, gateway, slots } => AskKind::Forget(pb::AskForget {
            epoch: Some(epoch_to(*epoch)),
            gateway: incarnation_to(*gateway),
            slots: slots.words().to_vec(),
        }),
        Ask::Find { epoch, client } => {
            AskKind::Find(pb::AskFind { epoch: Some(epoch_to(*epoch)), client: queue_to(*client) })
        }
        Ask::Where(client) => AskKind::Where(queue_to(*client)),
        Ask::Kick { client, why, upto, wait } => AskKind::Kick(pb::AskKick {
            client: queue_to(*client),
            why: kick_to(*why).into(),
            upto: upto.map(|epoch| epoch.0.0),
            wait_ms: millis(*wait),
        }),
        Ask::Page { after, limit } => AskKind::Page(pb::AskPage { after: after.map(queue_to), limit: *limit }),
    };
    pb::Ask { kind: Some(kind) }
}

/// The ask that came; `None`: of a kind that this build does not know.
pub(crate) fn ask_from(ask: pb::Ask) -> Result<Option<Ask>, Malformed> {
    let Some(kind) = ask.kind else { return Ok(None) };
    Ok(Some(match kind {
        AskKind::Enter(entries) => {
            let (epoch, entries) = entries_from(&entries)?;
            Ask::Enter { epoch, entries }
        }
        AskKind::Leave(entries) => {
            let (epoch, entries) = entries_from(&entries)?;
            Ask::Leave { epoch, entries }
        }
        AskKind::Forget(forget) => Ask::Forget {
            epoch: epoch_from(forget.epoch)?,
            gateway: incarnation_from(&forget.gateway)?,
            slots: need("slots", SlotSet::from_words(&forget.slots))?,
        },
        AskKind::Find(find) => Ask::Find { epoch: epoch_from(find.epoch)?, client: queue_from(&find.client)? },
        AskKind::Where(client) => Ask::Where(queue_from(&client)?),
        AskKind::Kick(kick) => Ask::Kick {
            client: queue_from(&kick.client)?,
            why: kick_from(kick.why())?,
            upto: kick.upto.map(|epoch| Epoch(Position(epoch))),
            wait: Duration::from_millis(kick.wait_ms),
        },
        AskKind::Page(page) => {
            Ask::Page { after: page.after.as_deref().map(queue_from).transpose()?, limit: page.limit }
        }
    }))
}

/// An answer.
pub(crate) fn answer_to(answer: &Answer) -> pb::PeerAnswer {
    let kind = match answer {
        Answer::Done => AnswerKind::Done(true),
        Answer::Moved { epoch } => AnswerKind::Moved(epoch_to(*epoch)),
        Answer::Found(entry) => AnswerKind::Found(pb::FoundEntry { entry: entry.as_ref().map(whereabout_to) }),
        Answer::Here { epoch, online } => {
            AnswerKind::Here(pb::HereAnswer { epoch: Some(epoch_to(*epoch)), online: online.as_ref().map(online_to) })
        }
        Answer::Kicked(kicked) => AnswerKind::Kicked(kicked_to(*kicked).into()),
        Answer::Page(page) => AnswerKind::Page(pb::OnlinePage { connections: page.iter().map(online_to).collect() }),
        Answer::Refused => AnswerKind::Refused(true),
    };
    pb::PeerAnswer { kind: Some(kind) }
}

/// The answer that came.
pub(crate) fn answer_from(answer: pb::PeerAnswer) -> Result<Answer, Malformed> {
    Ok(match need("answer", answer.kind)? {
        AnswerKind::Done(_) => Answer::Done,
        AnswerKind::Moved(epoch) => Answer::Moved { epoch: epoch_from(Some(epoch))? },
        AnswerKind::Found(found) => Answer::Found(found.entry.as_ref().map(whereabout_from).transpose()?),
        AnswerKind::Here(here) => {
            Answer::Here { epoch: epoch_from(here.epoch)?, online: here.online.map(online_from).transpose()? }
        }
        AnswerKind::Kicked(number) => Answer::Kicked(kicked_from(number)?),
        AnswerKind::Page(page) => {
            Answer::Page(page.connections.into_iter().map(online_from).collect::<Result<_, _>>()?)
        }
        AnswerKind::Refused(_) => Answer::Refused,
    })
}

fn queue_to(id: QueueId) -> Bytes {
    Bytes::copy_from_slice(&id.0)
}

fn epoch_to(epoch: MapEpoch) -> pb::Epoch {
    pb::Epoch { term: epoch.term, change: epoch.change }
}

fn epoch_from(epoch: Option<pb::Epoch>) -> Result<MapEpoch, Malformed> {
    let epoch = need("epoch", epoch)?;
    Ok(MapEpoch { term: epoch.term, change: epoch.change })
}

fn entries_to(epoch: MapEpoch, entries: &[Whereabout]) -> pb::AskEntries {
    let (mut gateways, mut clients) = (Vec::<Incarnation>::new(), BytesMut::with_capacity(entries.len() * 16));
    let mut gateway = Vec::with_capacity(entries.len());
    for entry in entries {
        clients.put_slice(&entry.client.0);
        // Nearly always one: who enters its own clients.
        let known = gateways.iter().position(|known| *known == entry.gateway);
        let index = known.unwrap_or_else(|| {
            gateways.push(entry.gateway);
            gateways.len() - 1
        });
        gateway.push(u32::try_from(index).unwrap_or(u32::MAX));
    }
    if gateways.len() <= 1 {
        gateway.clear();
    }
    let gateways: Vec<u8> = gateways.iter().flat_map(|gateway| gateway.0.to_be_bytes()).collect();
    let openings = entries.iter().map(|entry| entry.epoch.0.0).collect();
    pb::AskEntries {
        epoch: Some(epoch_to(epoch)),
        clients: clients.freeze(),
        gateways: gateways.into(),
        gateway,
        openings,
    }
}

fn entries_from(entries: &pb::AskEntries) -> Result<(MapEpoch, Vec<Whereabout>), Malformed> {
    let fit = || Malformed::Columns("list of entries");
    let epoch = epoch_from(entries.epoch)?;
    let clients = ids_from(&entries.clients)?;
    let (gateways, rest) = entries.gateways.as_chunks::<16>();
    let of_first = entries.gateway.is_empty();
    if !rest.is_empty()
        || entries.openings.len() != clients.len()
        || (!of_first && entries.gateway.len() != clients.len())
    {
        return Err(fit());
    }
    let indices =
        entries.gateway.iter().copied().chain(std::iter::repeat_n(0, if of_first { clients.len() } else { 0 }));
    let entry = |((client, epoch), index): ((QueueId, &u64), u32)| {
        let gateway = gateways.get(index as usize).ok_or_else(fit)?;
        let gateway = Incarnation(u128::from_be_bytes(*gateway));
        Ok::<_, Malformed>(Whereabout { client, gateway, epoch: Epoch(Position(*epoch)) })
    };
    let entries = clients.into_iter().zip(&entries.openings).zip(indices).map(entry).collect::<Result<_, _>>()?;
    Ok((epoch, entries))
}

fn whereabout_to(entry: &Whereabout) -> pb::Whereabout {
    pb::Whereabout { client: queue_to(entry.client), gateway: incarnation_to(entry.gateway), epoch: entry.epoch.0.0 }
}

fn whereabout_from(entry: &pb::Whereabout) -> Result<Whereabout, Malformed> {
    Ok(Whereabout {
        client: queue_from(&entry.client)?,
        gateway: incarnation_from(&entry.gateway)?,
        epoch: Epoch(Position(entry.epoch)),
    })
}

fn online_to(online: &Online) -> pb::Online {
    pb::Online {
        id: queue_to(online.id),
        namespace: bytes_of(online.namespace.text()),
        client: bytes_of(&online.client.0),
        peer: online.peer.to_string(),
        since: online.since.0,
        session: online.session.map(session_to),
    }
}

fn online_from(online: pb::Online) -> Result<Online, Malformed> {
    Ok(Online {
        id: queue_from(&online.id)?,
        namespace: namespace(online.namespace)?,
        client: ClientId(text("client", online.client)?),
        peer: online.peer.parse().map_err(|_| Malformed::Text("address"))?,
        since: Millis(online.since),
        session: online.session.map(session_from),
    })
}

fn kick_to(why: Kick) -> pb::KickReason {
    match why {
        Kick::TakenOver => pb::KickReason::TakenOver,
        Kick::Administrator => pb::KickReason::Administrator,
        Kick::Drain => pb::KickReason::Drain,
    }
}

fn kick_from(why: pb::KickReason) -> Result<Kick, Malformed> {
    match why {
        pb::KickReason::TakenOver => Ok(Kick::TakenOver),
        pb::KickReason::Administrator => Ok(Kick::Administrator),
        pb::KickReason::Drain => Ok(Kick::Drain),
        pb::KickReason::Unspecified => Err(Malformed::Missing("why it is kicked")),
    }
}

fn kicked_to(kicked: Kicked) -> pb::Kicked {
    match kicked {
        Kicked::Absent => pb::Kicked::Absent,
        Kicked::Asked => pb::Kicked::Asked,
        Kicked::Ended => pb::Kicked::Ended,
    }
}

fn kicked_from(number: i32) -> Result<Kicked, Malformed> {
    match pb::Kicked::try_from(number) {
        Ok(pb::Kicked::Absent) => Ok(Kicked::Absent),
        Ok(pb::Kicked::Asked) => Ok(Kicked::Asked),
        Ok(pb::Kicked::Ended) => Ok(Kicked::Ended),
        Ok(pb::Kicked::Unspecified) | Err(_) => Err(Malformed::Missing("what became of the kick")),
    }
}

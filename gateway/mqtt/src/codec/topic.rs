//! Topic names and filters as the wire has them (§4.7, §4.8.2): what the specification itself refuses. What this
//! server refuses beyond that (levels, `$SYS`) is `causeway_model::Topic` and the session's business.

use super::{Error, PacketType, Version, primitive::Rule};

const NAME_EMPTY: Rule = "topic name is empty [MQTT-4.7.3-1]";
const NAME_WILDCARD: Rule = "topic name contains a wildcard [MQTT-3.3.2-2]";
const FILTER_EMPTY: Rule = "topic filter is empty [MQTT-4.7.3-1]";
const HASH: Rule = "'#' is not the whole last level [MQTT-4.7.1-1]";
const PLUS: Rule = "'+' is not a whole level [MQTT-4.7.1-2]";
const SHARE_NAME: Rule = "share name is empty or contains '+' or '#' [MQTT-4.8.2-1], [MQTT-4.8.2-2]";
const SHARE_FILTER: Rule = "shared subscription without a filter [MQTT-4.8.2-2]";

/// The start of a shared subscription's filter.
const SHARE: &str = "$share/";

/// Checks a topic name: what PUBLISH and the will are sent to.
pub(crate) fn check_name(packet: PacketType, name: &str) -> Result<(), Error> {
    let rule = if name.is_empty() {
        NAME_EMPTY
    } else if name.contains(['+', '#']) {
        NAME_WILDCARD
    } else {
        return Ok(());
    };
    Err(Error::TopicName { packet, rule })
}

/// Checks a topic filter. Shared subscriptions exist in 5.0 only; for 3.x `$share/…` is a filter like others.
pub(crate) fn check_filter(packet: PacketType, version: Version, filter: &str) -> Result<(), Error> {
    let mut plain = filter;
    if version.is_v5() && filter.starts_with(SHARE) {
        plain = match split_shared(filter) {
            Some((name, _)) if name.is_empty() || name.contains(['+', '#']) => {
                return Err(Error::TopicFilter { packet, rule: SHARE_NAME });
            }
            Some((_, inner)) => inner,
            None => return Err(Error::TopicFilter { packet, rule: SHARE_FILTER }),
        };
    }
    check_plain(plain).map_err(|rule| Error::TopicFilter { packet, rule })
}

/// Splits `$share/{name}/{filter}` into name and filter (5.0 §4.8.2). `None` if it has not that shape.
pub fn split_shared(filter: &str) -> Option<(&str, &str)> {
    filter.strip_prefix(SHARE)?.split_once('/')
}

fn check_plain(filter: &str) -> Result<(), Rule> {
    if filter.is_empty() {
        return Err(FILTER_EMPTY);
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        if level.contains('#') && (level != "#" || levels.peek().is_some()) {
            return Err(HASH);
        }
        if level.contains('+') && level != "+" {
            return Err(PLUS);
        }
    }
    Ok(())
}

//! Properties of a message between MQTT's form and the protocol-neutral one.
//!
//! What describes the message crosses: content type, response topic, correlation data, payload format, user
//! properties, in their order. Expiry is a field of the message; alias and subscription identifiers belong to one hop.

use causeway_model::{Properties as Neutral, PropertiesBuilder, Property as Word};

use crate::codec::{Error, Holder, Properties, Property};

/// The properties of a received PUBLISH as the message keeps them.
pub(super) fn from_wire(properties: &Properties) -> Neutral {
    if properties.is_empty() {
        return Neutral::default();
    }
    let mut builder = PropertiesBuilder::default();
    for word in properties.iter().filter_map(word) {
        // A field that came in a packet is far below the block's limit of 4 GiB.
        let _ = builder.push(&word);
    }
    builder.finish()
}

fn word(property: Property) -> Option<Word> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others belong to other packets or to one hop")]
    match property {
        Property::PayloadFormatIndicator(true) => Some(Word::Utf8),
        Property::ContentType(text) => Some(Word::ContentType(text)),
        Property::ResponseTopic(text) => Some(Word::ReplyTo(text)),
        Property::CorrelationData(data) => Some(Word::Correlation(data)),
        Property::UserProperty((key, value)) => Some(Word::User(key, value)),
        _ => None,
    }
}

/// The properties of a PUBLISH to a subscriber: what is left of the expiry in seconds, the identifiers of the
/// subscriptions that match, and the message's own. What another protocol put there and MQTT cannot say is left out.
pub(super) fn to_wire(message: &Neutral, expiry: Option<u32>, ids: &[u32]) -> Result<Properties, Error> {
    if message.is_empty() && expiry.is_none() && ids.is_empty() {
        return Ok(Properties::EMPTY);
    }
    let hop = || {
        let expiry = expiry.map(Property::MessageExpiryInterval);
        expiry.into_iter().chain(ids.iter().map(|id| Property::SubscriptionIdentifier(*id)))
    };
    let all = Properties::new(Holder::Publish, hop().chain(message.iter().map(property)));
    all.or_else(|_| {
        let mut seen = Vec::new();
        let fit = message.iter().map(property).filter(|property| {
            let once = matches!(property, Property::UserProperty(_)) || !seen.contains(&property.id());
            seen.push(property.id());
            once && Properties::new(Holder::Publish, [property.clone()]).is_ok()
        });
        Properties::new(Holder::Publish, hop().chain(fit))
    })
}

fn property(word: Word) -> Property {
    match word {
        Word::Utf8 => Property::PayloadFormatIndicator(true),
        Word::ContentType(text) => Property::ContentType(text),
        Word::ReplyTo(text) => Property::ResponseTopic(text),
        Word::Correlation(data) => Property::CorrelationData(data),
        Word::User(key, value) => Property::UserProperty((key, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_describes_a_message_crosses_and_what_belongs_to_a_hop_does_not() {
        let list = [
            Property::PayloadFormatIndicator(true),
            Property::MessageExpiryInterval(60),
            Property::user("b", "2"),
            Property::ContentType("text/plain".into()),
            Property::TopicAlias(3),
            Property::ResponseTopic("answers/1".into()),
            Property::CorrelationData(vec![1, 2].into()),
            Property::user("a", "1"),
        ];
        let neutral = from_wire(&Properties::new(Holder::Publish, list).unwrap());
        let sent = to_wire(&neutral, Some(7), &[1, 200]).unwrap();
        let expected = [
            Property::MessageExpiryInterval(7),
            Property::SubscriptionIdentifier(1),
            Property::SubscriptionIdentifier(200),
            Property::PayloadFormatIndicator(true),
            Property::user("b", "2"),
            Property::ContentType("text/plain".into()),
            Property::ResponseTopic("answers/1".into()),
            Property::CorrelationData(vec![1, 2].into()),
            Property::user("a", "1"),
        ];
        assert_eq!(sent.iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_mqtt_cannot_say_is_left_out_and_the_rest_is_sent() {
        let mut builder = PropertiesBuilder::default();
        for word in [
            Word::ReplyTo("not/a/+".into()),
            Word::User("long".into(), "x".repeat(70_000).into()),
            Word::ContentType("a".into()),
            Word::ContentType("twice".into()),
            Word::User("k".into(), "v".into()),
        ] {
            builder.push(&word).unwrap();
        }
        let sent = to_wire(&builder.finish(), None, &[]).unwrap();
        let expected = [Property::ContentType("a".into()), Property::user("k", "v")];
        assert_eq!(sent.iter().collect::<Vec<_>>(), expected);
    }
}

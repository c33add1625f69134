//! The scenarios, one file each: a title, under which results are comparable, and a run that gives figures.

pub(crate) mod connect;
mod delivery;
pub(crate) mod disk;
pub(crate) mod drain;
pub(crate) mod durable;
pub(crate) mod fanout;
pub(crate) mod p2p;
pub(crate) mod publish;
#[cfg(test)]
mod tests;
pub(crate) mod topics;
pub(crate) mod wait;

use causeway_mqtt::codec::Version;

use crate::args::{Load, Target};

/// What a load adds to a title.
fn describe(load: &Load) -> String {
    let messages = load.messages.map(|messages| format!(", {messages} messages")).unwrap_or_default();
    format!("window {}, {} B{messages}", load.window, load.size)
}

/// What a protocol adds to a title: the usual one nothing.
fn version(target: &Target) -> &'static str {
    if target.version == Version::V5 { ", MQTT 5.0" } else { "" }
}

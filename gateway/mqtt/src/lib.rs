//! MQTT 3.1, 3.1.1 and 5.0: codec, session state machine, serve.

pub mod codec;
pub mod session;
mod settings;

pub use settings::Settings;

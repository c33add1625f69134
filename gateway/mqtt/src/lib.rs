//! MQTT 3.1, 3.1.1 and 5.0: codec, session state machine, serve.

pub mod codec;
mod serve;
pub mod session;
mod settings;

pub use serve::Server;
pub use settings::Settings;

//! serve(ports, settings, drain): every protocol, over any ports.

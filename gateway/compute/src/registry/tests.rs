//! Takeover in every order.

//! The generated types and services: see the files in `proto/`, which say what each field means.

#![expect(
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    unreachable_pub,
    unused_qualifications,
    reason = "generated"
)]

tonic::include_proto!("causeway.link.v1");

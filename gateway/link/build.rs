//! Compiles the protocol. No protoc: protox reads the files.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(["link.proto", "handshake.proto", "peer.proto"], ["proto"])?;
    tonic_prost_build::configure().bytes(".").codec_path("crate::codec::Protobuf").compile_fds(files)?;
    Ok(())
}

//! Compiles `proto/` to Rust, with no `protoc` on the machine.
//!
//! Generated are the servers, the clients that the tests use (without a transport of their own),
//! and the descriptors that reflection gives out.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use protox::prost::Message;

const PROTOS: [&str; 4] = [
    "proto/inference.proto",
    "proto/model_config.proto",
    "proto/health.proto",
    "proto/feedback.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    fs::write(out.join("galen.descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .build_transport(false)
        // `bytes` fields become slices of the message as it was received: no copy.
        .bytes(".")
        .codec_path("crate::server::grpc::codec::MessageCodec")
        .compile_fds(descriptors)?;
    Ok(())
}

//! Compiles `proto/` to Rust, with no `protoc` on the machine.
//!
//! Generated are the servers, the clients that the tests use (without a transport of their own),
//! and the descriptors that reflection gives out; and, apart from these, the messages that spans
//! travel in.

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

/// What it imports comes with it.
const OTLP: [&str; 1] = ["opentelemetry/proto/collector/trace/v1/trace_service.proto"];

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
    // Their comments are not written for rustdoc.
    prost_build::Config::new()
        .disable_comments(["."])
        .include_file("otlp.rs")
        .compile_fds(protox::compile(OTLP, ["proto"])?)?;
    Ok(())
}

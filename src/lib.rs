//! Galen serves versioned models from a registry directory over gRPC and REST. This page is its
//! architecture: where things are, what may know what, and the two paths through the house.
//!
//! # Floors
//!
//! One crate, in floors that import downward only. `tests/architecture.rs` holds the rules, each
//! with its reason.
//!
//! | floor | rooms | what it is |
//! |---|---|---|
//! | 6 roof | [`app`], [`cli`], [`bench`](mod@bench), `main` | the whole; prints; a caller |
//! | 5 doors | [`server`] | every protocol, as thin adapters over one service |
//! | 4 | [`service`] | what Galen can do, said once |
//! | 3 siblings | [`registry`], [`observe`] | the path of a version; metrics and logs |
//! | 2 | [`scheduler`], [`cache`] | when to compute: queues, batches, workers; and when not to |
//! | 1 | [`backend`], [`state`], [`heap`] | one adapter per engine; kept files; freed memory |
//! | 0 ground | `digest`, `error`, `tensor`, `stats`, `model`, `infer`, `event`, `config` | data |
//!
//! Two things take the way out. An alert: `observe` tells [`event::Alarm`], and [`server::webhook`]
//! posts it. Spans, where a collector is named: `server::layers` tells of requests, the scheduler
//! of batches (through [`event::VersionSink`], `observe` and [`event::Tracer`]), and
//! [`server::otlp`] posts them.
//!
//! Siblings never import each other: they meet in `service`, in `app`, or through
//! [`event::Observe`], which lower floors tell facts to without knowing who listens.
//!
//! **Invariants.** The ground has no runtime, no engine and no wire protocol in it. An engine crate
//! is named in its own adapter only, NVIDIA's driver in `observe::gpu` only, and `cfg(feature)`
//! stands only in `backend`. Web crates stay in `server`, and in the callers of `bench`, which
//! stand outside; the doors hold the [`service::Service`] and nothing behind it, and never see each
//! other. Decisions are pure: [`scheduler::queue`], the registry's policy and the codecs have no
//! clock, lock or channel in them. Everything has a limit. No `unsafe`, but for two foreign
//! functions in [`heap`].
//!
//! # The path of a request
//!
//! ```text
//! bytes
//!  -> server::listen     accepts; connections, first byte and head are bounded (patience), a
//!                        request whose end is unclear is refused (framing), and those of an HTTP/2
//!                        connection run on its own task (streams)
//!  -> server::layers     id, trace, deadline -> infer::RequestContext; bounds on its body, which
//!                        is read to its end even where nobody wants it (inflow); one log line
//!                        at the end, and a span where it is recorded
//!  -> server::rest|grpc  reads the selector
//!  -> service::route     lock-free table read, traffic policy; the version is pinned ONCE
//!  -> Target::decode     where its queue is full, refuses it here: decoding can cost more than
//!                        computing; else
//!  -> server::rest|grpc  decodes with that version's signature or contract
//!  -> Target::infer      Signature::arrange checks names, types and shapes
//!  -> cache              where its model asks for one: an equal request's answer, kept
//!  -> service::ensemble  where it is made of other models: the same path, step by step
//!  -> scheduler::submit  bounded queue, or Overloaded at once
//!  -> scheduler::worker  takes a batch, joins it, Session::run, parts the answer: on a thread of
//!                        its own, or for a quick model on the one that brought the request
//!  -> server::rest|grpc  encodes
//! bytes
//! ```
//!
//! Tensors are [`bytes::Bytes`] from socket to engine: views where they are aligned, one copy into
//! a batch, outputs sliced and not copied. A batch is what waits, as far as measured runs say that
//! larger ones cost less (`scheduler::growth`). A request whose caller left or whose deadline
//! passed is dropped before it costs compute. A batch that fails is retried row by row, so that
//! only the poison request fails. A caller never hangs: `scheduler::worker` says why.
//!
//! # The path of a version
//!
//! ```text
//! directory
//!  -> registry::scan     what lies there: many models, or one (layout)
//!  -> registry::source   what ought to serve, by version policy: the full set
//!  -> registry::policy   pure: at most one next step
//!  -> registry::manager  takes it, on threads of its own
//!       files            opened beneath the registry, no links, bounded; read once
//!       integrity        the bytes that are hashed are the bytes that the engine gets
//!       loader           backend load, declared against discovered signature, warm-up
//!  -> registry::table    swapped atomically; then Ready is announced
//! ```
//!
//! Files are read and never mapped: what is mapped may change beneath whoever computes with it.
//!
//! States: `New -> Verifying -> Loading -> Warming -> Ready`, or `Failed` with its reason. A failed
//! version never disturbs another.
//!
//! # Errors
//!
//! One closed [`error::ErrorKind`], mapped to HTTP and gRPC side by side in `server::status`. Every
//! error has the caller's text, which names the field and never holds a payload value, and the
//! log's.
//!
//! # Where to start reading
//!
//! [`app`] shows how it is put together, `service::Target::infer` is the path of a request in one
//! function, and `registry::manager` the path of a version.

#![deny(unsafe_code)]

pub mod app;
pub mod backend;
pub mod bench;
pub mod cache;
pub mod cli;
pub mod config;
pub mod digest;
pub mod error;
pub mod event;
pub mod heap;
pub mod infer;
pub mod model;
pub mod observe;
pub mod registry;
pub mod scheduler;
pub mod server;
pub mod service;
pub mod state;
pub mod stats;
pub mod tensor;

//! Every rule is tried on text that breaks it, and on text that only looks so.

use super::source::Source;
use super::{BANS, COLUMNS_MAX, LINES_MAX, Tests, violations};

fn broken(path: &str, code: &str) -> usize {
    violations(&Source::new(path, &format!("//! Header.\n{code}\n"))).len()
}

#[test]
fn every_ban_finds_its_sample_and_nothing_else() {
    for ban in BANS {
        let (path, line, fine) = ban.sample;
        assert_ne!(broken(path, line), 0, "not found in {path}: {line}");
        assert_eq!(broken(path, &format!("// {line}")), 0, "found in a comment: {line}");
        let quoted = line.replace('"', "'");
        assert_eq!(broken(path, &format!("const A: &str = \"{quoted}\";")), 0, "quoted: {line}");
        let tests = broken(path, &format!("#[cfg(test)]\nmod tests {{\n{line}\n}}"));
        assert_eq!(tests == 0, ban.tests == Tests::Free, "in tests of {path}: {line}");
        if let Some(fine) = fine {
            assert_eq!(broken(fine, line), 0, "found in {fine}: {line}");
        }
    }
}

#[test]
fn imports_are_found_however_they_are_written() {
    let higher = [
        ("model/mod.rs", "use crate::backend::Session;"),
        ("event.rs", "fn f(x: &crate::registry::Servable) {}"),
        ("scheduler/mod.rs", "use crate::{error::Error, registry::Servable};"),
        ("scheduler/queue.rs", "use crate::{\n    error::{Error, Result},\n    service,\n};"),
        ("scheduler/queue.rs", "use super::super::observe::Hub;"),
        ("backend/mod.rs", "pub(crate) use super::scheduler::Scheduler;"),
        ("model/card.rs", "#[cfg(test)]\nmod tests {\n    use super::super::super::service::X;\n}"),
        ("registry/table.rs", "use crate::observe::Hub;"),
        ("governance/card.rs", "use crate::service::Service;"),
        ("server/rest/mod.rs", "use crate::registry::Servable;"),
        ("server/rest/mod.rs", "use super::grpc::convert;"),
        ("server/rest/json.rs", "use crate::server::{grpc::convert, status};"),
        ("server/layers.rs", "use crate::{service::Service, observe::Hub};"),
        ("kitchen.rs", "use crate::error::Error;"),
    ];
    for (path, code) in higher {
        assert_eq!(broken(path, code), 1, "in {path}: {code}");
    }
    let fine = [
        ("model/manifest.rs", "use crate::config::toml_from_str;"),
        ("event.rs", "#[cfg(test)]\nmod tests {\n    use super::service;\n}"),
        ("server/rest/mod.rs", "use crate::{error::Error, service::Service, server::status};"),
        ("app.rs", "use crate::{registry, server::grpc, service};"),
    ];
    for (path, code) in fine {
        assert_eq!(broken(path, code), 0, "in {path}: {code}");
    }
}

#[test]
fn sizes_and_headers_are_checked() {
    assert_eq!(broken("error.rs", &"a".repeat(COLUMNS_MAX)), 0);
    assert_eq!(broken("error.rs", &"a".repeat(COLUMNS_MAX + 1)), 1);
    assert_eq!(broken("error.rs", &"a\n".repeat(LINES_MAX - 2)), 0);
    assert_eq!(broken("error.rs", &"a\n".repeat(LINES_MAX)), 1);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}", "a\n".repeat(LINES_MAX));
    assert_eq!(broken("error.rs", &tests), 0);
    assert_eq!(violations(&Source::new("error.rs", "use std::fmt;\n")).len(), 1);
}

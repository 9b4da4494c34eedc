//! The rules of the house, each with its reason. `src/lib.rs` draws the floors; this test reads every
//! file under `src/` and names the line that breaks a rule.
//!
//! Comments and strings never break a rule. Test code (`tests.rs`, and from `#[cfg(test)] mod x {` to
//! the end of a file) may do what the bans with `Tests::Free` forbid, but keeps to the floors.

use std::env;
use std::path::Path;

#[path = "architecture/samples.rs"]
mod samples;
#[path = "architecture/source.rs"]
mod source;
use source::{Source, mentions};

/// The floors from the ground up. A module uses its own floor and those below.
const FLOORS: [&[&str]; 7] = [
    &["error", "tensor", "model", "principal", "infer", "event", "stats", "config", "digest"],
    &["backend", "state", "heap"],
    &["scheduler", "cache"],
    &["registry", "observe", "security"],
    &["service", "governance"],
    &["server"],
    &["app", "cli", "bench", "main", "lib"],
];
const FLOORS_REASON: &str = "a floor that knows what stands on it can not be understood, tested or \
                             replaced alone";

/// Paths that the floors alone would permit: who, what it must not import, why.
const WALLS: &[(&str, &[&str], &str)] = &[
    ("registry/", &["observe", "security"], SIBLINGS),
    ("observe/", &["registry", "security"], SIBLINGS),
    ("security/", &["registry", "observe"], SIBLINGS),
    ("governance/", &["service"], "cards and reports read; the service gathers what they read"),
    ("server/", PAST_SERVICE, "a door that reaches past the service is a second truth about Galen"),
    ("server/rest/", &["server::grpc", "server::dashboard"], DOORS),
    ("server/grpc/", &["server::rest", "server::dashboard"], DOORS),
    ("server/dashboard/", &["server::rest", "server::grpc"], DOORS),
];
const SIBLINGS: &str = "the three siblings meet in service, in app or through event::Observe only";
const PAST_SERVICE: &[&str] =
    &["backend", "scheduler", "cache", "registry", "observe", "security", "governance"];
const DOORS: &str = "wire types never leave their folder; what two doors share belongs to service";

/// Words that may stand only in some files, or anywhere but in some.
struct Ban {
    words: &'static [&'static str],
    place: Place,
    tests: Tests,
    reason: &'static str,
    /// A file and a line of it that breaks the rule, and another file where the same line is fine.
    sample: (&'static str, &'static str, Option<&'static str>),
}

#[derive(Clone, Copy)]
enum Place {
    Only(&'static [&'static str]),
    Never(&'static [&'static str]),
}
use Place::{Never, Only};

#[derive(Clone, Copy, PartialEq)]
enum Tests {
    Bound,
    Free,
}

/// `name::` is a path that starts there; `name*` any word that starts so; `name!` a macro.
const BANS: &[Ban] = &[
    Ban {
        words: &["ort::", "ort_sys::"],
        place: Only(&["backend/onnxruntime.rs", "backend/onnxruntime/"]),
        tests: Tests::Bound,
        reason: ENGINE,
        sample: ("registry/loader.rs", "use ort::session;", Some("backend/onnxruntime.rs")),
    },
    Ban {
        words: &["tract_*"],
        place: Only(&["backend/tract.rs", "backend/tract/"]),
        tests: Tests::Bound,
        reason: ENGINE,
        sample: ("backend/mod.rs", "use tract_onnx::prelude::*;", Some("backend/tract/ops.rs")),
    },
    Ban {
        words: &["candle_*", "tokenizers::"],
        place: Only(&["backend/candle.rs", "backend/candle/"]),
        tests: Tests::Bound,
        reason: ENGINE,
        sample: ("backend/mod.rs", "use candle_core::Device;", Some("backend/candle/bert.rs")),
    },
    Ban {
        words: &["parquet::"],
        place: Only(&["cli/profile/source/"]),
        tests: Tests::Bound,
        reason: "the crate panics on damaged files and tells cells: both end where it is called",
        sample: (
            "cli/profile/rows.rs",
            "use parquet::record::Field;",
            Some("cli/profile/source/columns.rs"),
        ),
    },
    Ban {
        words: &["nvml_wrapper::"],
        place: Only(&["observe/gpu/nvml.rs"]),
        tests: Tests::Bound,
        reason: "the driver's library is on few machines: all else is built and tested without it",
        sample: ("observe/gpu/mod.rs", "use nvml_wrapper::Nvml;", Some("observe/gpu/nvml.rs")),
    },
    Ban {
        words: &["cfg(feature)"],
        place: Only(&["backend/"]),
        tests: Tests::Bound,
        reason: "every build is the same program with other engines, not another program",
        sample: ("cli/mod.rs", "#[cfg(all(unix, feature = \"x\"))]", Some("backend/mod.rs")),
    },
    Ban {
        words: WEB_CRATES,
        place: Only(&["server/", "bench/rest.rs", "bench/grpc.rs"]),
        tests: Tests::Bound,
        reason: "wire protocols end at the doors, and at the load generator's callers, who stand \
                 outside; all between them is plain data",
        sample: ("service/mod.rs", "use http::StatusCode;", Some("server/status.rs")),
    },
    Ban {
        words: &["axum::", "utoipa::", "utoipa_*"],
        place: Never(&["server/grpc/"]),
        tests: Tests::Bound,
        reason: "the gRPC door speaks tonic; what both doors need stands beside them in server/",
        sample: (
            "server/grpc/mod.rs",
            "let app = axum::Router::new();",
            Some("server/rest/mod.rs"),
        ),
    },
    Ban {
        words: &["tonic::", "tonic_*", "prost::", "prost_*"],
        place: Never(&["server/rest/", "server/dashboard/"]),
        tests: Tests::Bound,
        reason: "the REST door knows no protobuf; what both doors need stands beside them in server/",
        sample: (
            "server/rest/json.rs",
            "fn f() -> tonic::Status {",
            Some("server/grpc/convert.rs"),
        ),
    },
    Ban {
        words: &["tokio::", "tokio_util::"],
        place: Never(GROUND_FILES),
        tests: Tests::Free,
        reason: "the ground is plain data and maths: no runtime is needed to use or test it",
        sample: ("model/mod.rs", "use tokio::sync::Notify;", Some("scheduler/mod.rs")),
    },
    Ban {
        words: &["env::var*", "env::set_var", "env::remove_var"],
        place: Only(&["config/", "cli.rs", "cli/"]),
        tests: Tests::Free,
        reason: "settings are read once, checked, and handed down; a hidden knob is found by nobody",
        sample: ("observe/mod.rs", "let v = std::env::var_os(NAME);", Some("config/load.rs")),
    },
    Ban {
        words: &["Instant::now", "SystemTime::now", "elapsed("],
        place: Never(&[
            "scheduler/queue.rs",
            "registry/policy.rs",
            "stats/",
            "observe/drift/judge.rs",
            "observe/performance/judge.rs",
            "server/outgoing/retry.rs",
            "server/otlp/message.rs",
            "server/otlp/sampling.rs",
        ]),
        tests: Tests::Free,
        reason: "decisions are pure: the caller says what time it is, so a test can too",
        sample: ("scheduler/queue.rs", "let now = Instant::now();", Some("scheduler/worker.rs")),
    },
    Ban {
        words: &["unbounded_channel*", "unbounded(", "UnboundedSender", "mpsc::channel()"],
        place: Only(&[]),
        tests: Tests::Free,
        reason: "what has no limit fails by eating the memory; reject early instead",
        sample: ("observe/mod.rs", "let (tx, rx) = mpsc::unbounded_channel();", None),
    },
    Ban {
        words: &["unsafe"],
        place: Only(&["heap.rs"]),
        tests: Tests::Free,
        reason: "one named file is exempted, where a measurement asked for it; nothing else has",
        sample: ("tensor/mod.rs", "let x = unsafe { *pointer };", Some("heap.rs")),
    },
    Ban {
        words: &["thread::sleep"],
        place: Only(&["backend/identity.rs"]),
        tests: Tests::Free,
        reason: "a sleeping runtime thread serves nobody; wait on a condition or a timer",
        sample: ("registry/manager.rs", "std::thread::sleep(WAIT);", Some("backend/identity.rs")),
    },
    Ban {
        words: &["todo!", "unimplemented!", "dbg!"],
        place: Only(&[]),
        tests: Tests::Free,
        reason: "unfinished code is not merged",
        sample: ("service/mod.rs", "todo!(\"later\")", None),
    },
    Ban {
        words: &["print!", "println!", "eprint!", "eprintln!"],
        place: Only(&["cli.rs", "cli/", "main.rs"]),
        tests: Tests::Free,
        reason: "the server speaks through tracing, in one format and never with a payload",
        sample: ("app.rs", "println!(\"ready\");", Some("cli/check.rs")),
    },
];

const ENGINE: &str = "an engine crate is named in its own adapter only, so that it can be left out";

const WEB_CRATES: &[&str] = &[
    "axum::",
    "tonic::",
    "tonic_*",
    "prost::",
    "prost_*",
    "utoipa::",
    "utoipa_*",
    "http::",
    "http_body*",
    "hyper::",
    "hyper_util::",
    "tower::",
    "tower_http::",
];

const GROUND_FILES: &[&str] =
    &["error.rs", "tensor/", "model/", "principal.rs", "infer.rs", "event.rs", "stats/", "config/"];

const LINES_MAX: usize = 500;
const COLUMNS_MAX: usize = 100;
/// Files that may be longer than `LINES_MAX`, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];

fn violations(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let path = source.path.as_str();
    let mut report = |line: usize, rule: &str, reason: &str| {
        found.push(format!("src/{path}:{line}: {rule}\n        because {reason}"));
    };

    let own = path.split(['/', '.']).next().unwrap_or_default();
    let floor = |module: &str| FLOORS.iter().position(|floor| floor.contains(&module));
    let Some(height) = floor(own) else {
        report(1, &format!("module '{own}' stands on no floor"), "every module has its place");
        return found;
    };
    for (line, import) in source.imports() {
        if floor(import.split("::").next().unwrap_or_default()).is_some_and(|other| other > height)
        {
            report(line, &format!("'{own}' imports '{import}' from a higher floor"), FLOORS_REASON);
        }
        for (_, forbidden, reason) in WALLS.iter().filter(|(who, ..)| inside(path, &[who])) {
            let is = |name: &&&str| import == **name || import.starts_with(&format!("{name}::"));
            if forbidden.iter().any(|name| is(&name)) {
                report(line, &format!("'{import}' must not be imported here"), reason);
            }
        }
    }
    for ban in BANS {
        let allowed = match ban.place {
            Only(places) => inside(path, places),
            Never(places) => !inside(path, places),
        };
        for (index, line) in source.code.lines().enumerate().filter(|_| !allowed) {
            if ban.tests == Tests::Free && index >= source.tests_from {
                break;
            }
            for word in ban.words.iter().filter(|word| mentions(line, word)) {
                report(index + 1, &format!("'{word}' must not stand here"), ban.reason);
            }
        }
    }
    // Test data may stand as it is: a wire example broken in two is no example.
    for (index, line) in source.text.lines().enumerate().take(source.tests_from) {
        if line.chars().count() > COLUMNS_MAX {
            let rule = format!("more than {COLUMNS_MAX} columns");
            report(index + 1, &rule, "two files fit side by side");
        }
    }
    let exempt = LONG_FILES.iter().any(|(file, _)| *file == path);
    let lines = source.tests_from.min(source.text.lines().count());
    if lines > LINES_MAX && !exempt {
        report(lines, &format!("more than {LINES_MAX} lines"), "a file is one idea");
    }
    if !source.text.starts_with("//!") {
        report(1, "no `//!` header", "a file says first what it is for, and what it must not know");
    }
    found
}

/// Whether a file is one of the files, or beneath one of the folders (which end in `/`). The file
/// `server/grpc.rs` counts as part of the folder `server/grpc/`.
fn inside(path: &str, places: &[&str]) -> bool {
    let module = path.trim_end_matches(".rs");
    places.iter().any(|place| {
        path == *place
            || (place.ends_with('/')
                && (path.starts_with(place) || module == place.trim_end_matches('/')))
    })
}

#[test]
fn the_house_stands() {
    let root = env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| ".".to_owned());
    let sources = Source::all(&Path::new(&root).join("src"), "");
    assert!(sources.iter().any(|source| source.path == "lib.rs"), "no sources found in {root}");
    let found: Vec<String> = sources.iter().flat_map(violations).collect();
    assert!(found.is_empty(), "{} broken rules:\n{}", found.len(), found.join("\n"));
}

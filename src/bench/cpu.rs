//! What a process and its children have cost, read from `/proc`. Linux only: elsewhere there are no
//! numbers, and none are made up.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// `/proc` counts in hundredths of a second, whatever the kernel's own clock does.
const TICK: Duration = Duration::from_millis(10);

/// Processor time, user and system, of `root` and all its living descendants.
pub fn of_tree(root: u32) -> Option<Duration> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let mut ticks: HashMap<u32, u32> = HashMap::new();
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process may end while we look; then it has no more to say.
        let Some((parent, used)) =
            fs::read_to_string(entry.path().join("stat")).ok().and_then(|text| parse(&text))
        else {
            continue;
        };
        children.entry(parent).or_default().push(pid);
        ticks.insert(pid, used);
    }
    ticks.get(&root)?;
    let mut total = 0;
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        total += ticks.get(&pid).copied().unwrap_or(0);
        open.extend(children.get(&pid).into_iter().flatten());
    }
    Some(TICK * total)
}

/// Parent, and ticks of user and system time: fields 4, 14 and 15 of proc(5). The name of the
/// process stands before them in parentheses, and may hold anything.
fn parse(stat: &str) -> Option<(u32, u32)> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let user: u32 = fields.nth(9)?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some((parent, user + system))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_can_not_shift_its_fields() {
        let stat = "7 (a) b (c) S 3 7 7 0 -1 4194304 9 0 0 0 12 30 5 6 20 0 1 0 100 0 0";
        assert_eq!(parse(stat), Some((3, 42)));
        assert_eq!(parse("7 (a"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_cost_something_and_a_stranger_nothing() {
        assert!(of_tree(std::process::id()).is_some());
        assert_eq!(of_tree(u32::MAX), None);
    }
}

//! What errors advise is possible: a flag that a message names is one that the command has which can print it.

use crate::support::fixtures::{folder, run};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const COMMANDS: [&str; 13] = [
    "train", "report", "eval", "predict", "explain", "inspect", "convert", "pack", "show", "serve",
    "devices", "selftest", "bench",
];

/// Files outside of `src/cli/COMMAND` whose messages only some commands print. All others speak to every command, and to those who use
/// the library, so they name no flag but in the whole of a command: `ocelli COMMAND --flag`.
const PRINTED_BY: &[(&str, &[&str])] = &[
    ("src/train/bench.rs", &["bench"]),
    ("src/train/budget.rs", &["train"]),
    ("src/train/config.rs", &["train"]),
    ("src/train/disk.rs", &["train"]),
    ("src/train/divergence.rs", &["train"]),
    ("src/train/epochs.rs", &["train"]),
    ("src/train/lost_device.rs", &["train"]),
    ("src/train/folder.rs", &["train"]),
    ("src/train/initial_weights.rs", &["train"]),
    ("src/train/prepare.rs", &["train"]),
    ("src/train/warnings.rs", &["train"]),
];

/// The commands that can print the messages of a file.
fn printed_by(file: &str) -> Vec<&str> {
    let listed = PRINTED_BY.iter().find(|(name, _)| *name == file).map(|(_, commands)| commands.to_vec());
    listed.unwrap_or_else(|| {
        let own = file.strip_prefix("src/cli/").map(|rest| rest.split(['/', '.']).next().unwrap_or_default());
        COMMANDS.into_iter().filter(|command| own == Some(*command)).collect()
    })
}

/// The flags in a text with where they start: two dashes and letters, not in the middle of a word.
fn flags(text: &str) -> Vec<(usize, String)> {
    let starts = text.match_indices("--").map(|(at, _)| at);
    let is_part = |c: char| c.is_ascii_lowercase() || c == '-';
    starts
        .filter(|at| !text[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '-'))
        .map(|at| (at, text[at..].chars().take_while(|c| is_part(*c)).collect::<String>()))
        .filter(|(_, flag)| flag.len() > 3)
        .map(|(at, flag)| (at, flag.trim_end_matches('-').to_owned()))
        .collect()
}

/// The command in `ocelli COMMAND ...` of which the flag at this place is a part.
fn whole_command(line: &str, at: usize) -> Option<&str> {
    let (_, inside) = line[..at].rsplit_once("`ocelli ")?;
    inside.split_whitespace().next().filter(|_| !inside.contains('`'))
}

fn rust_files(folder: &Path, into: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path.to_str().unwrap().replace('\\', "/"));
        }
    }
}

#[test]
fn errors_name_no_flag_that_their_command_lacks() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = folder();
    let has: BTreeMap<&str, Vec<String>> = COMMANDS
        .into_iter()
        .map(|command| {
            let (code, help, _) = run(folder.path(), &[command, "--help"]);
            assert_eq!(code, 0);
            (command, flags(&help).into_iter().map(|(_, flag)| flag).collect())
        })
        .collect();
    assert!(has["train"].iter().any(|flag| flag == "--batch-size"), "{has:?}");
    assert!(!has["inspect"].iter().any(|flag| flag == "--batch-size"), "{has:?}");
    let mut files = Vec::new();
    rust_files(&root.join("src"), &mut files);
    let (mut faults, mut seen) = (Vec::new(), 0);
    // It adds a flag only where the command has it.
    files.retain(|path| !path.ends_with("src/cli/advice.rs"));
    for path in &files {
        let file = path.strip_prefix(&format!("{}/", root.to_str().unwrap().replace('\\', "/"))).unwrap();
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in
            code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"))
        {
            for (at, flag) in flags(line) {
                seen += 1;
                let commands =
                    whole_command(line, at).map_or_else(|| printed_by(file), |command| vec![command]);
                let lacks = |command: &str| !has.get(command).is_some_and(|has| has.contains(&flag));
                let place = format!("{file}:{}: {flag}", number + 1);
                if commands.is_empty() {
                    faults.push(format!(
                        "{place}: commands without it, and the library, say this too: use words"
                    ));
                } else if let Some(command) = commands.iter().find(|command| lacks(command)) {
                    faults.push(format!("{place}: `ocelli {command}` has no such flag"));
                }
            }
        }
    }
    assert!(seen > 20, "{seen} flags found");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    for (file, _) in PRINTED_BY {
        assert!(root.join(file).is_file(), "{file} is gone");
    }
}

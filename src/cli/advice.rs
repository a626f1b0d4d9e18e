//! What a message advises where that depends on the command: its flags stand behind what the library proposes.

use super::Cli;
use crate::error::proposal as may;
use clap::CommandFactory;
use std::sync::OnceLock;

/// What the library says, the flag that a command must have, if one is needed, and what is added.
const FLAGS: [(&str, Option<&str>, &str); 10] = [
    (may::NAME_NETWORK, Some("arch"), "--arch"),
    (may::AVERAGED_TAKEN, Some("ema"), "--ema=no takes the plain ones"),
    (may::NO_AVERAGED, Some("ema"), "leave out --ema"),
    (may::NO_PLAIN, Some("ema"), "leave out --ema=no"),
    (may::OUTPUT_TAKEN, Some("output"), "--output takes another"),
    (may::OTHER_OUTPUT, Some("output"), "--output"),
    (may::WITHOUT_PICTURES, Some("allow-unreadable"), "--allow-unreadable"),
    (may::READ_BESIDE, Some(BESIDE), "--external-data"),
    (may::OTHER_ADAPTER, None, "`ocelli devices` lists them"),
    (may::LOOK_AT_WEIGHTS, None, "`ocelli inspect`"),
];

/// The flag whose place another command takes where there is none: what starts from one of the networks here can start from one file.
const BESIDE: &str = "external-data";

/// The command that runs.
static COMMAND: OnceLock<String> = OnceLock::new();

/// Says which command runs, once. Until then none has flags.
pub(super) fn of_command(name: &str) {
    COMMAND.get_or_init(|| name.to_owned());
}

/// A text with the flags of the command that runs.
pub(super) fn named(text: &str) -> String {
    named_for(COMMAND.get().map_or("", String::as_str), text)
}

fn named_for(command: &str, text: &str) -> String {
    let mut text = text.to_owned();
    for (words, flag, added) in FLAGS.iter().filter(|(words, ..)| text.contains(words)).collect::<Vec<_>>() {
        if flag.is_none_or(|flag| has(command, flag)) {
            text = text.replacen(words, &format!("{words} ({added})"), 1);
        } else if *flag == Some(BESIDE) && !command.is_empty() {
            text = text.replacen(words, "let `ocelli convert --external-data` make one file of it", 1);
        }
    }
    text
}

/// Whether a command has a flag.
fn has(command: &str, flag: &str) -> bool {
    let cli = Cli::command();
    let found = cli.find_subcommand(command);
    found.is_some_and(|command| command.get_arguments().any(|arg| arg.get_long() == Some(flag)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commands_that_have_a_flag_name_it() {
        let note = format!("logits {}; more", may::OUTPUT_TAKEN);
        let with = "logits is taken for the classes (--output takes another); more";
        for command in ["predict", "eval", "convert", "inspect", "bench"] {
            assert_eq!(named_for(command, &note), with, "{command}");
        }
        for command in ["train", "serve", ""] {
            assert_eq!(named_for(command, &note), note, "{command}");
        }
        let unreadable = format!("mend them, or {}", may::WITHOUT_PICTURES);
        assert!(named_for("train", &unreadable).ends_with("(--allow-unreadable)"));
        assert_eq!(named_for("predict", &unreadable), unreadable);
        assert!(named_for("bench", may::OTHER_ADAPTER).contains("ocelli devices"));
        let beside = may::READ_BESIDE;
        assert_eq!(named_for("bench", beside), format!("{beside} (--external-data)"));
        assert!(named_for("train", beside).starts_with("let `ocelli convert --external-data`"));
        // Every flag is one of some command.
        let commands = Cli::command();
        for flag in FLAGS.iter().filter_map(|(_, flag, _)| *flag) {
            assert!(commands.get_subcommands().any(|c| has(c.get_name(), flag)), "{flag}");
        }
    }
}

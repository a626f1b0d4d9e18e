//! The flags of the command that runs, in messages that offer a choice. The library says what can be chosen; the program adds how.

use super::Cli;
use crate::error::{Choice, Error, Hint};
use clap::CommandFactory;
use std::sync::OnceLock;

/// The command that runs.
static COMMAND: OnceLock<String> = OnceLock::new();

/// Sets the command that runs, once. Without one, messages name no flags.
pub(super) fn of_command(name: &str) {
    COMMAND.get_or_init(|| name.to_owned());
}

/// The text of a hint or a note, with the flag of the command that runs.
pub(super) fn named(hint: &Hint) -> String {
    named_for(COMMAND.get().map_or("", String::as_str), hint)
}

/// The text of an error, with the flag of the command that runs.
pub(super) fn message(error: &Error) -> String {
    let mut error = error.clone();
    let hint = named(&error.report().hint);
    error.report_mut().hint = hint.into();
    error.to_string()
}

/// How a choice is made: the flag that the command must have, if one is needed, and the text to add.
fn how(choice: Choice) -> (Option<&'static str>, &'static str) {
    match choice {
        Choice::Network => (Some("arch"), "--arch"),
        Choice::PlainWeights => (Some("ema"), "--ema=no takes the plain ones"),
        Choice::NotAveraged => (Some("ema"), "leave out --ema"),
        Choice::NotPlain => (Some("ema"), "leave out --ema=no"),
        Choice::Output => (Some("output"), "--output takes another"),
        Choice::OtherOutput => (Some("output"), "--output"),
        Choice::SkipUnreadable => (Some("allow-unreadable"), "--allow-unreadable"),
        Choice::ExternalData => (Some("external-data"), "--external-data"),
        Choice::Adapter => (None, "`ocelli devices` lists them"),
        Choice::InspectWeights => (None, "`ocelli inspect`"),
    }
}

fn named_for(command: &str, hint: &Hint) -> String {
    hint.in_words(|choice| {
        let (words, (flag, added)) = (choice.words(), how(choice));
        if flag.is_none_or(|flag| has(command, flag)) {
            format!("{words} ({added})")
        } else if choice == Choice::ExternalData && !command.is_empty() {
            // `train` starts only from a network that is here, and `convert` writes such a file as one.
            "let `ocelli convert --external-data` make one file of it".to_owned()
        } else {
            words.to_owned()
        }
    })
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
        let note = Choice::Output.after("logits ").then("; more");
        let with = "logits is taken for the classes (--output takes another); more";
        for command in ["predict", "eval", "convert", "inspect", "bench"] {
            assert_eq!(named_for(command, &note), with, "{command}");
        }
        for command in ["train", "serve", ""] {
            assert_eq!(named_for(command, &note), note.to_string(), "{command}");
        }
        let unreadable = Choice::SkipUnreadable.after("mend them, or ");
        assert!(named_for("train", &unreadable).ends_with("(--allow-unreadable)"));
        assert_eq!(named_for("predict", &unreadable), unreadable.to_string());
        assert!(named_for("bench", &Choice::Adapter.into()).contains("ocelli devices"));
        let external = Hint::from(Choice::ExternalData);
        assert_eq!(named_for("bench", &external), format!("{external} (--external-data)"));
        assert!(named_for("train", &external).starts_with("let `ocelli convert --external-data`"));
        let both = named_for("predict", &external.clone().or(Choice::OtherOutput));
        assert!(both.contains("(--external-data); or ") && both.ends_with("(--output)"), "{both}");
        // Every flag is one of some command.
        let commands = Cli::command();
        for choice in [
            Choice::Network,
            Choice::PlainWeights,
            Choice::NotAveraged,
            Choice::NotPlain,
            Choice::Output,
            Choice::OtherOutput,
            Choice::SkipUnreadable,
            Choice::ExternalData,
        ] {
            let flag = how(choice).0.unwrap();
            assert!(commands.get_subcommands().any(|c| has(c.get_name(), flag)), "{flag}");
        }
    }

    #[test]
    fn the_flag_stands_in_the_hint_of_an_error() {
        let error = Error::no_adapter("it computes nothing").at("adapter").hint(Choice::Adapter.after("or "));
        let says = "adapter: it computes nothing; or choose another adapter (`ocelli devices` lists them)";
        assert_eq!(message(&error), says);
        assert_eq!(message(&Error::data("damaged")), "damaged");
    }
}

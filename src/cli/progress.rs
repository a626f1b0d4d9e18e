//! A progress bar on a terminal, plain lines elsewhere.

use super::tell;
use crate::error::Untrusted;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

/// The progress of a command.
pub(super) struct Progress {
    bar: ProgressBar,
    quiet: bool,
    terminal: bool,
}

impl Progress {
    fn new(quiet: bool, total: u64, template: &str) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target =
            if quiet || !terminal { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        Self { bar: ProgressBar::with_draw_target(Some(total), target).with_style(style), quiet, terminal }
    }

    /// Counts pictures.
    pub(super) fn pictures(quiet: bool, total: u64) -> Self {
        Self::new(quiet, total, "{wide_bar} {pos}/{len} pictures, {eta} left")
    }

    /// Counts steps.
    pub(super) fn steps(quiet: bool, total: u64) -> Self {
        Self::new(quiet, total, "{wide_bar} {pos}/{len} steps, {eta} left")
    }

    /// Counts units.
    pub(super) fn units(quiet: bool, total: u64) -> Self {
        Self::new(quiet, total, "{wide_bar} {pos}/{len} units, {eta} left")
    }

    /// Sets the number of what is counted.
    pub(super) fn total(&self, total: u64) {
        self.bar.set_length(total);
    }

    /// A line of text, for a command that says all by itself. A narrow terminal cuts it off.
    pub(super) fn line(quiet: bool) -> Self {
        Self::new(quiet, 0, "{wide_msg}")
    }

    /// Sets the position.
    pub(super) fn set(&self, position: u64) {
        self.bar.set_position(position);
    }

    /// Sets the text beside the bar.
    pub(super) fn message(&self, message: String) {
        self.bar.set_message(String::from(Untrusted::new(&message)));
    }

    /// Prints a line above the bar.
    pub(super) fn say(&self, line: String) {
        if !self.quiet {
            self.bar.suspend(|| tell(&line));
        }
    }

    /// Whether the bar is drawn.
    pub(super) fn is_visible(&self) -> bool {
        self.terminal && !self.quiet
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

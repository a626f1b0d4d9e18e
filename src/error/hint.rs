//! What the reader of a message can do about it.

use serde::{Serialize, Serializer};
use std::fmt;

/// What a user can choose. The library says it in words. A program adds how the choice is made: a flag, a field of a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Choice {
    /// The network of a file, by its name.
    Network,
    /// Plain weights, where a file also has averaged ones, which were taken.
    PlainWeights,
    /// No request for averaged weights, because the file has none.
    NotAveraged,
    /// No request for plain weights, because the file has only averaged ones.
    NotPlain,
    /// An output of an ONNX graph, where one of several was taken.
    Output,
    /// Another output of an ONNX graph, because the one that was taken cannot be used.
    OtherOutput,
    /// To train or evaluate without the pictures that cannot be read.
    SkipUnreadable,
    /// To read tensors that an ONNX model keeps in other files of its folder.
    ExternalData,
    /// Another GPU adapter.
    Adapter,
    /// To inspect the numbers of a file of weights.
    InspectWeights,
}

impl Choice {
    /// The choice as a clause of a message. It is the same wherever the choice is offered.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Network => "say which network it is",
            Self::PlainWeights => "the averaged ones are taken, as timm and torchvision do to evaluate",
            Self::NotAveraged => "do not ask for averaged ones",
            Self::NotPlain => "do not ask for plain ones",
            Self::Output => "is taken for the classes",
            Self::OtherOutput => "take another of its outputs",
            Self::SkipUnreadable => "go on without them",
            Self::ExternalData => "ask for what lies in other files of its folder",
            Self::Adapter => "choose another adapter",
            Self::InspectWeights => "look at them",
        }
    }

    /// The hint that offers this choice after `before`.
    pub fn after(self, before: impl Into<Box<str>>) -> Hint {
        Hint::Choice { before: before.into(), choice: self, after: Box::default() }
    }
}

/// What the reader of a message can do about it, as a clause without a full stop.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// Plain text; empty if there is no hint.
    Text(String),
    /// A sentence that offers a choice.
    Choice {
        /// The text before the words of the choice.
        before: Box<str>,
        /// What can be chosen.
        choice: Choice,
        /// The text behind the words of the choice.
        after: Box<str>,
    },
    /// Two things that the reader can do instead of each other.
    Either(Box<[Hint; 2]>),
}

/// A sentence about what was chosen or left out. It may offer a [`Choice`], as the hint of an error does.
pub type Note = Hint;

impl Hint {
    /// Whether there is no hint.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_empty())
    }

    /// The choice that is offered, the first where there are several.
    pub fn choice(&self) -> Option<Choice> {
        match self {
            Self::Text(_) => None,
            Self::Choice { choice, .. } => Some(*choice),
            Self::Either(hints) => hints.iter().find_map(Self::choice),
        }
    }

    /// The hint with more text at its end.
    #[must_use]
    pub fn then(mut self, more: &str) -> Self {
        match &mut self {
            Self::Text(text) => text.push_str(more),
            Self::Choice { after, .. } => *after = format!("{after}{more}").into(),
            Self::Either(hints) => {
                let last = std::mem::take(&mut hints[1]);
                hints[1] = last.then(more);
            }
        }
        self
    }

    /// This hint or the other one. Both keep the choices that they offer.
    #[must_use]
    pub fn or(self, other: impl Into<Self>) -> Self {
        let other = other.into();
        if self.is_empty() { other } else { Self::Either(Box::new([self, other])) }
    }

    /// The hint as text, with the words of the caller for the choice that it offers.
    ///
    /// ```
    /// use ocelli::error::Choice;
    ///
    /// let hint = Choice::Adapter.after("update its driver, or ");
    /// assert_eq!(hint.to_string(), "update its driver, or choose another adapter");
    /// assert_eq!(hint.in_words(|_| "pick another GPU".to_owned()), "update its driver, or pick another GPU");
    /// ```
    pub fn in_words(&self, words: impl Fn(Choice) -> String) -> String {
        self.said(&words)
    }

    fn said(&self, words: &dyn Fn(Choice) -> String) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Choice { before, choice, after } => format!("{before}{}{after}", words(*choice)),
            Self::Either(hints) => format!("{}; or {}", hints[0].said(words), hints[1].said(words)),
        }
    }
}

impl Default for Hint {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl From<&str> for Hint {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Hint {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Choice> for Hint {
    fn from(choice: Choice) -> Self {
        choice.after("")
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.in_words(|choice| choice.words().to_owned()))
    }
}

/// As the text of its `Display`.
impl Serialize for Hint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

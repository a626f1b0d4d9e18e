//! `config.json`: the settings of a run and what they came to, in a form that a run can be started from again. A file that a user
//! writes may have some of the settings only.

use super::checkpoint::Facts;
use super::{Config, Length};
use crate::data::Preprocessing;
use crate::error::{Error, Result, Untrusted};
use crate::gpu::{AdapterInfo, AdapterKind};
use crate::models::nearest_name;
use serde::Serialize;
use serde_json::{Map, Value};
use std::io::Read;
use std::path::Path;

/// The field of what the settings came to. It is for people, and a new run does not read it.
const RESOLVED: &str = "resolved";

/// The largest file of settings, in bytes. One with the names of as many classes as there can be is smaller.
const MOST: u64 = 1 << 26;

/// What the settings of a run came to on its data and its machine.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Resolved<'a> {
    /// The version of Ocelli.
    version: &'static str,
    adapter: &'a str,
    kind: AdapterKind,
    backend: &'a str,
    driver: &'a str,
    system: String,
    /// Pictures in a batch, also where the setting is `auto`.
    batch_size: usize,
    /// Height and width of the input.
    input: [usize; 2],
    preprocessing: &'a Preprocessing,
    train_pictures: usize,
    val_pictures: usize,
    /// Steps of the whole run.
    steps: u64,
    steps_per_epoch: usize,
    classes: &'a [String],
}

impl<'a> Resolved<'a> {
    pub(super) fn new(
        adapter: &'a AdapterInfo,
        facts: &'a Facts,
        length: Length,
        steps_per_epoch: usize,
    ) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            adapter: &adapter.name,
            kind: adapter.kind,
            backend: &adapter.backend,
            driver: &adapter.driver,
            system: format!("{} on {}", std::env::consts::OS, std::env::consts::ARCH),
            batch_size: facts.batch_size,
            input: facts.size,
            preprocessing: &facts.preprocessing,
            train_pictures: facts.train_pictures,
            val_pictures: facts.val_pictures,
            steps: length.steps(steps_per_epoch),
            steps_per_epoch,
            classes: &facts.classes,
        }
    }
}

/// The content of `config.json`.
#[derive(Serialize)]
struct Content<'a> {
    #[serde(flatten)]
    config: &'a Config,
    resolved: &'a Resolved<'a>,
}

/// The content of `config.json`, with a line break at its end.
///
/// # Errors
/// [`Error::Internal`] if a path is not UTF-8.
pub(super) fn json(config: &Config, resolved: &Resolved) -> Result<Vec<u8>> {
    let mut json = serde_json::to_vec_pretty(&Content { config, resolved })
        .map_err(|e| Error::internal(format!("the settings cannot be written: {e}")))?;
    json.push(b'\n');
    Ok(json)
}

/// The settings in a file: the `config.json` of a run, of an older version too, or some settings that a user wrote.
#[derive(Debug, Clone)]
pub struct SettingsFile {
    place: String,
    fields: Map<String, Value>,
}

impl SettingsFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`]; [`Error::Usage`] if it is not a JSON object, or has a setting that there is not.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        fn read(path: &Path) -> Result<SettingsFile> {
            let failed = |e| Error::from_io(e, "read", path);
            let mut text = String::new();
            let file = std::fs::File::open(path).map_err(failed)?;
            file.take(MOST + 1).read_to_string(&mut text).map_err(failed)?;
            if text.len() as u64 > MOST {
                return Err(Error::usage("a file of settings is not that large").at(Untrusted::new(path)));
            }
            SettingsFile::parse(&text, &path.display().to_string())
        }
        read(path.as_ref())
    }

    /// Reads the text of a file; `place` is its name for messages.
    ///
    /// # Errors
    /// As [`SettingsFile::read`].
    pub fn parse(text: &str, place: &str) -> Result<Self> {
        let read: serde_json::Result<Map<String, Value>> = serde_json::from_str(text);
        let fields = read.map_err(|e| {
            Error::usage(format!("this is no file of settings: {e}"))
                .at(place)
                .hint("write a JSON object, as in {\"arch\": \"resnet18\", \"lr\": 0.1}, or take the config.json of a run")
        })?;
        Ok(Self { place: place.to_owned(), fields })
    }

    /// A setting that is text: `arch` and `data` are needed before the recipe of the network is known.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field).and_then(Value::as_str)
    }

    /// Whether the file has a setting, and not as `null`.
    pub fn has(&self, field: &str) -> bool {
        self.fields.get(field).is_some_and(|value| !value.is_null())
    }

    /// The settings with those of the file in place of theirs, except the fields that are named in `except`.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the field that is unknown or cannot be read. The settings together are not checked; see
    /// [`Config::check`].
    pub fn over(&self, config: &Config, except: &[String]) -> Result<Config> {
        let fault = |e: serde_json::Error| Error::internal(format!("the settings cannot be written: {e}"));
        let Value::Object(mut all) = serde_json::to_value(config).map_err(fault)? else {
            return Err(Error::internal("settings are an object"));
        };
        let mut config = config.clone();
        for (name, value) in self.fields.iter().filter(|(name, _)| *name != RESOLVED) {
            if !all.contains_key(name) {
                let near = nearest_name(name, all.keys().map(String::as_str)).map_or_else(
                    || "the config.json of a run has all settings".to_owned(),
                    |near| format!("did you mean \"{near}\"? The config.json of a run has all settings"),
                );
                let what = format!("there is no setting \"{}\"", Untrusted::short(name));
                return Err(Error::usage(what).at(&*self.place).hint(near));
            }
            if except.contains(name) {
                continue;
            }
            all.insert(name.clone(), value.clone());
            config = serde_json::from_value(Value::Object(all.clone())).map_err(|e| {
                Error::usage(format!("the setting \"{name}\" cannot be read: {e}"))
                    .at(&*self.place)
                    .hint("the config.json of a run shows how settings are written")
            })?;
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Arch;

    fn recipe() -> Config {
        Config::new(Arch::find("resnet20").unwrap(), "pictures")
    }

    fn over(text: &str, except: &[&str]) -> Result<Config> {
        let except: Vec<String> = except.iter().map(|name| (*name).to_owned()).collect();
        SettingsFile::parse(text, "my.json").and_then(|file| file.over(&recipe(), &except))
    }

    #[test]
    fn all_settings_come_back_and_some_leave_the_recipe() {
        let config = Config {
            momentum: 0.85,
            weight_decay: 1e-7,
            lr: 0.012_345_678_901_234_567,
            limit: Some(7),
            length: Length::Steps(9),
            weights: Some("a b.pth".into()),
            ..recipe()
        };
        assert_eq!(over(&serde_json::to_string(&config).unwrap(), &[]).unwrap(), config);
        assert_eq!(over("{}", &[]).unwrap(), recipe());
        let some = r#"{"lr": 0.5, "batch_size": "auto", "augment": "none", "resolved": {"x": 1}}"#;
        let some = over(some, &[]).unwrap();
        assert_eq!((some.lr, some.batch_size, some.momentum), (0.5, super::super::BatchSize::Auto, 0.9));
        assert_eq!(over(r#"{"lr": 0.5, "seed": 3}"#, &["lr"]).unwrap(), Config { seed: 3, ..recipe() });
    }

    #[test]
    fn errors_name_the_field() {
        let says = |text: &str| over(text, &[]).unwrap_err().to_string();
        let unknown = says(r#"{"learning_rate": 1, "lr": 2}"#);
        assert!(unknown.contains("my.json") && unknown.contains("no setting \"learning_rate\""), "{unknown}");
        let near = says(r#"{"momentun": 1}"#);
        assert!(near.contains("did you mean \"momentum\"?"), "{near}");
        let wrong = says(r#"{"seed": 1, "momentum": "much"}"#);
        assert!(wrong.contains("\"momentum\"") && wrong.contains("much"), "{wrong}");
        let wrong = says(r#"{"schedule": "sometimes"}"#);
        assert!(wrong.contains("\"schedule\"") && wrong.contains("sometimes"), "{wrong}");
        for text in ["", "[1]", "{\"lr\": }", "null", "{\"lr\": 1} x"] {
            assert!(says(text).contains("no file of settings"), "{text}");
        }
        let evil = says("{\"\\u001b[31m\": 1}");
        assert!(!evil.contains('\u{1b}'), "{evil:?}");
    }
}

//! Schedules as text.

use super::{Schedule, Warmup};
use crate::error::{Error, Result, Untrusted};
use std::fmt;
use std::str::FromStr;

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant => f.write_str("constant"),
            Self::Step => f.write_str("step"),
            Self::Milestones(at) => {
                let at: Vec<_> = at.iter().map(f64::to_string).collect();
                write!(f, "milestones={}", at.join(":"))
            }
            Self::Every { epochs, factor } => write!(f, "every={epochs}:{factor}"),
            Self::Poly(0.5) => f.write_str("poly"),
            Self::Poly(power) => write!(f, "poly={power}"),
            Self::Cosine => f.write_str("cosine"),
            Self::OneCycle => f.write_str("one-cycle"),
            Self::Plateau(patience) => write!(f, "plateau={patience}"),
        }
    }
}

impl FromStr for Schedule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        let numbers = value.map(|value| value.split(':').map(positive).collect::<Option<Vec<f64>>>());
        let wrong = || {
            Error::usage(format!("there is no schedule \"{}\"", Untrusted::short(text))).hint(
                "give constant, step, milestones=30:60:80 (epochs), every=8:0.96 (epochs and factor), exponential=0.97 (a factor an epoch), poly, poly=0.9, cosine, one-cycle or plateau=5 (epochs)",
            )
        };
        match (name, numbers.as_ref().map(|numbers| numbers.as_deref())) {
            ("constant", None) => Ok(Self::Constant),
            ("step", None) => Ok(Self::Step),
            ("cosine", None) => Ok(Self::Cosine),
            ("one-cycle", None) => Ok(Self::OneCycle),
            ("poly", None) => Ok(Self::Poly(0.5)),
            ("plateau", None) => Ok(Self::Plateau(5)),
            ("poly", Some(Some([power]))) => Ok(Self::Poly(*power)),
            ("exponential", Some(Some([factor]))) if *factor <= 1.0 => {
                Ok(Self::Every { epochs: 1.0, factor: *factor })
            }
            ("every", Some(Some([epochs, factor]))) if *factor <= 1.0 => {
                Ok(Self::Every { epochs: *epochs, factor: *factor })
            }
            ("milestones", Some(Some(at))) if at.is_sorted() => Ok(Self::Milestones(at.to_vec())),
            ("plateau", Some(Some([epochs]))) if epochs.fract() == 0.0 && *epochs < 1e6 => {
                Ok(Self::Plateau(*epochs as u32))
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Warmup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = if self.linear { "linear" } else { "constant" };
        write!(f, "{}:{}:{shape}", self.epochs, self.factor)
    }
}

impl FromStr for Warmup {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::usage(format!("there is no warm-up \"{}\"", Untrusted::short(text))).hint(
                "give epochs, as in 5, and if you like the factor to start from, from 0 to 1, and linear or constant, as in 1:0.1:constant",
            )
        };
        let mut parts = text.split(':');
        let not_negative = |text: &str| text.parse().ok().filter(|number: &f64| (0.0..1e9).contains(number));
        let epochs = parts.next().and_then(not_negative).ok_or_else(wrong)?;
        let factor =
            parts.next().map_or(Some(Self::NONE.factor), not_negative).filter(|factor| *factor <= 1.0);
        let linear = match parts.next() {
            None | Some("linear") => true,
            Some("constant") => false,
            Some(_) => return Err(wrong()),
        };
        match (factor, parts.next()) {
            (Some(factor), None) => Ok(Self { epochs, factor, linear }),
            _ => Err(wrong()),
        }
    }
}

fn positive(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| *number > 0.0 && *number < 1e9)
}

macro_rules! as_text {
    ($type:ty) => {
        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }

        impl TryFrom<String> for $type {
            type Error = Error;

            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }
    };
}

as_text!(Schedule);
as_text!(Warmup);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for text in [
            "constant",
            "step",
            "milestones=30:60.5:80",
            "every=8:0.96",
            "poly",
            "poly=0.9",
            "cosine",
            "one-cycle",
            "plateau=3",
        ] {
            let schedule: Schedule = text.parse().unwrap();
            assert_eq!(schedule.to_string(), text);
            assert_eq!(
                serde_json::from_str::<Schedule>(&serde_json::to_string(&schedule).unwrap()).unwrap(),
                schedule
            );
        }
        assert_eq!("exponential=0.97".parse::<Schedule>().unwrap().to_string(), "every=1:0.97");
        assert_eq!("plateau".parse::<Schedule>().unwrap(), Schedule::Plateau(5));
        for text in ["5:0.01:linear", "1:0.1:constant", "0.5:0:linear"] {
            assert_eq!(text.parse::<Warmup>().unwrap().to_string(), text);
        }
        assert_eq!("2:0.3".parse::<Warmup>().unwrap(), Warmup { epochs: 2.0, factor: 0.3, linear: true });
        for text in [
            "",
            "linear",
            "constant=1",
            "milestones",
            "milestones=",
            "milestones=60:30",
            "milestones=0",
            "every=8",
            "every=0:0.5",
            "every=1:1.5",
            "exponential=2",
            "exponential",
            "poly=-1",
            "poly=x",
            "plateau=2.5",
            "plateau=0",
            "cosine=NaN",
            "step=inf",
        ] {
            let error = text.parse::<Schedule>().unwrap_err();
            assert!(
                matches!(error, Error::Usage(_)) && error.to_string().contains("give constant"),
                "{text}: {error}"
            );
        }
        for text in ["", "x", "-1", "1:2", "1:0.1:cosine", "1:0.1:linear:2", "NaN", "inf"] {
            assert!(matches!(text.parse::<Warmup>(), Err(Error::Usage(_))), "{text}");
        }
    }
}

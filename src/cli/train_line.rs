//! The line of progress of a training run: all that changes, in 80 columns.

use std::time::Duration;

/// The columns that every terminal has.
const COLUMNS: usize = 80;

/// What the line tells.
pub(super) struct Facts {
    /// Counted from 1.
    pub(super) epoch: u32,
    pub(super) step: u64,
    pub(super) total: u64,
    pub(super) loss: f64,
    pub(super) top1: f64,
    pub(super) lr: f64,
    pub(super) images_per_s: f64,
    pub(super) data_wait: f64,
    /// The time to the end of the run, once there is an estimate.
    pub(super) left: Option<Duration>,
}

impl Facts {
    /// The facts in fewer than 80 columns. What matters least is left out where they would not fit, which takes numbers that no sound
    /// run has.
    pub(super) fn line(&self) -> String {
        // With the order in which they are left out.
        let mut parts = vec![
            (5, format!("epoch {}", self.epoch)),
            (9, format!("{}/{}", count(self.step), count(self.total))),
            (8, format!("loss {}", number(self.loss))),
            (7, format!("acc {:.1}%", 100.0 * self.top1)),
            (3, format!("lr {}", rate(self.lr))),
            (4, format!("{}/s", speed(self.images_per_s))),
            (2, format!("wait {:.0}%", 100.0 * self.data_wait)),
        ];
        if let Some(left) = self.left {
            parts.extend([(6, time(left)), (1, "left".to_owned())]);
        }
        loop {
            let line = parts.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join(" ");
            let least = parts.iter().map(|(order, _)| *order).min();
            if line.chars().count() < COLUMNS || parts.len() == 1 {
                return line.chars().take(COLUMNS - 1).collect();
            }
            parts.retain(|(order, _)| Some(*order) != least);
        }
    }
}

/// A number of steps in six characters at most.
fn count(n: u64) -> String {
    match n {
        0..1_000_000 => n.to_string(),
        1_000_000..1_000_000_000 => {
            format!("{:.4}", n as f64 / 1e6).chars().take(5).collect::<String>() + "M"
        }
        _ => format!("{:.1e}", n as f64),
    }
}

/// A number with four digits that count.
fn number(x: f64) -> String {
    match x.abs() {
        0.0 => "0".to_owned(),
        a if !(1e-3..1e4).contains(&a) => format!("{x:.1e}"),
        a if a < 1.0 => format!("{x:.4}"),
        a => format!(
            "{x:.*}",
            if a < 10.0 {
                3
            } else if a < 100.0 {
                2
            } else {
                1
            }
        ),
    }
}

/// A learning rate: a power of ten where it is one.
fn rate(x: f64) -> String {
    let text = format!("{x:.1e}");
    text.replace(".0e", "e")
}

/// Pictures a second.
fn speed(x: f64) -> String {
    match x {
        x if x < 10.0 => format!("{x:.1}"),
        x if x < 1e4 => format!("{x:.0}"),
        x if x < 1e6 => format!("{:.1}k", x / 1e3),
        x => format!("{x:.0e}"),
    }
}

/// A time in its two largest units.
pub(super) fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ if days < 1000 => format!("{days}d{:02}h", hours % 24),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Facts = Facts {
        epoch: 164,
        step: 63_999,
        total: 64_000,
        loss: 0.0123,
        top1: 0.999,
        lr: 0.0015,
        images_per_s: 12_345.0,
        data_wait: 0.12,
        left: Some(Duration::from_secs(3900)),
    };

    #[test]
    fn the_line_has_all_facts() {
        let line = USUAL.line();
        assert_eq!(line, "epoch 164 63999/64000 loss 0.0123 acc 99.9% lr 1.5e-3 12.3k/s wait 12% 1h05m");
        let line = Facts { lr: 0.1, images_per_s: 850.0, epoch: 9, total: 9000, step: 900, ..USUAL }.line();
        assert_eq!(line, "epoch 9 900/9000 loss 0.0123 acc 99.9% lr 1e-1 850/s wait 12% 1h05m left");
    }

    #[test]
    fn the_line_never_takes_80_columns() {
        let numbers = [0.0, -0.0, 1e-300, 0.5, 9.9999, 99_999.5, 1e300, f64::MAX, f64::INFINITY, f64::NAN];
        let times = [None, Some(Duration::ZERO), Some(Duration::from_secs(59)), Some(Duration::MAX)];
        for big in [0, 999_999, 1_000_000, 999_999_999, 1_000_000_000, u64::MAX] {
            for x in numbers {
                for y in numbers {
                    for left in times {
                        let facts = Facts {
                            epoch: big as u32,
                            step: big,
                            total: u64::MAX,
                            loss: x,
                            top1: y,
                            lr: y,
                            images_per_s: x,
                            data_wait: x,
                            left,
                        };
                        let line = facts.line();
                        assert!(line.chars().count() < 80 && line.contains('/'), "{line}");
                    }
                }
            }
        }
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0, 999_999, 1_281_167, 450_000_000].map(count), ["0", "999999", "1.281M", "450.0M"]);
        assert_eq!(
            [0.0, 2.3456, 0.01234, 12.345, 1234.5, 1e-5, 1e9].map(number),
            ["0", "2.346", "0.0123", "12.35", "1234.5", "1.0e-5", "1.0e9"]
        );
        assert_eq!([0.1, 0.0015, 3e-7].map(rate), ["1e-1", "1.5e-3", "3e-7"]);
        assert_eq!([0.25, 56.7, 1234.4, 56_789.0].map(speed), ["0.2", "57", "1234", "56.8k"]);
        let times = [5, 65, 3900, 90_000, 400 * 86_400].map(|s| time(Duration::from_secs(s)));
        assert_eq!(times, ["5s", "1m05s", "1h05m", "1d01h", "400d00h"]);
    }
}

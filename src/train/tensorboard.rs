//! Event files of TensorBoard: records with checksums, each a protocol buffer message.
//!
//! A record is the length of its data (u64, little-endian), the masked CRC-32C of these eight bytes, the data, and its masked CRC-32C:
//! `tensorflow/core/lib/io/record_writer.h`. The messages are those of `tensorflow/core/util/event.proto` and
//! `tensorflow/core/framework/summary.proto`, with the fields that scalars need.

use prost::Message;
use std::time::{SystemTime, UNIX_EPOCH};

/// An event.
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    /// Optional, so that 0 is written too.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// Tells readers that a program has started again: what they have read of later steps does not count.
#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `SessionLog.SessionStatus.START`
const START: i32 = 1;

/// The version of the format. From this one on readers heed [`SessionLog`].
const VERSION: &str = "brain.Event:2";

/// The records of a file that are not written yet.
#[derive(Debug, Default)]
pub(super) struct Records {
    bytes: Vec<u8>,
}

impl Records {
    /// The beginning of a file whose first step comes after this many.
    pub(super) fn start(&mut self, done: u64) {
        self.push(&event(0, What::FileVersion(VERSION.to_owned())));
        if done > 0 {
            self.push(&event(done.saturating_add(1), What::SessionLog(SessionLog { status: START })));
        }
    }

    /// Adds the values of a step.
    pub(super) fn add(&mut self, step: u64, values: &[(&str, f64)]) {
        let value =
            values.iter().map(|(tag, x)| Scalar { tag: (*tag).to_owned(), simple_value: Some(*x as f32) });
        self.push(&event(step, What::Summary(Summary { value: value.collect() })));
    }

    /// The bytes to append to the file.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    fn push(&mut self, event: &Event) {
        let data = event.encode_to_vec();
        let length = (data.len() as u64).to_le_bytes();
        for part in [&length[..], &masked(crc32c(&length)), &data, &masked(crc32c(&data))] {
            self.bytes.extend_from_slice(part);
        }
    }
}

fn event(step: u64, what: What) -> Event {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
    Event { wall_time: time, step: i64::try_from(step).unwrap_or(i64::MAX), what: Some(what) }
}

/// The name of the next event file of a folder that has these. Readers take files in the order of their names, so a new one comes after
/// them, whatever the clock says.
pub(super) fn next_name(names: impl Iterator<Item = String>) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    name_after(names, now)
}

const PREFIX: &str = "events.out.tfevents.";
const SUFFIX: &str = ".ocelli";

fn name_after(names: impl Iterator<Item = String>, now: u64) -> String {
    let stamps =
        names.filter_map(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse::<u64>().ok());
    let last = stamps.filter(|stamp| *stamp < 10_u64.pow(10) - 1).max();
    let stamp = last.map_or(now, |last| now.max(last + 1));
    format!("{PREFIX}{stamp:010}{SUFFIX}")
}

/// The sum as a record holds it, so that data that has sums in it is not taken for a record.
fn masked(sum: u32) -> [u8; 4] {
    sum.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// CRC-32C (Castagnoli), RFC 3720, section 12.1.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0x82f6_3b78 & 0_u32.wrapping_sub(sum & 1)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_rfc() {
        // RFC 3720, section B.4, and the check value of the catalogue.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    /// Bytes that `RecordWriter` of `tensorboard` 2.21.0 wrote for the same messages.
    #[test]
    fn records_are_those_of_tensorboard() {
        let mut records = Records::default();
        let at = |step, what| Event { wall_time: 1_700_000_000.5, step, what: Some(what) };
        records.push(&at(0, What::FileVersion(VERSION.to_owned())));
        records.push(&at(8, What::SessionLog(SessionLog { status: START })));
        let value = |tag: &str, x| Scalar { tag: tag.to_owned(), simple_value: Some(x) };
        let value = vec![value("loss/train", 2.25), value("accuracy/val_top1", 0.0)];
        records.push(&at(300, What::Summary(Summary { value })));
        let hex: String = records.take().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
    }

    const GOLDEN: &str = "1800000000000000a37f4b220900002040fc54d9411a0d627261696e2e4576656e743a322b3531100f000000000000006d532b09090000\
        2040fc54d94110083a020801b9c5b1b13b000000000000001a23ac5c0900002040fc54d94110ac022a2d0a110a0a6c6f73732f74726169\
        6e15000010400a180a1161636375726163792f76616c5f746f7031150000000092719fba";

    #[test]
    fn a_later_file_has_a_later_name() {
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>().into_iter();
        assert_eq!(name_after(names(&["x"]), 5), "events.out.tfevents.0000000005.ocelli");
        let earlier = names(&["events.out.tfevents.0000000009.ocelli", "events.out.tfevents.x.ocelli"]);
        assert_eq!(name_after(earlier, 5), "events.out.tfevents.0000000010.ocelli");
    }
}

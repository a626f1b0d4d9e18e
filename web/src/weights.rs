//! A file of weights on its way in. Of a safetensors file only what has not been written to the GPU is in memory, and of that
//! at most one tensor, once; an ONNX file, whose graph may stand behind its numbers, is there as a whole.

use crate::failure::{Kind, failure, thrown};
use ocelli::weights::{Format, Safetensors, StreamEvent, StreamReader};
use wasm_bindgen::prelude::*;

/// So many bytes tell the formats apart.
const START: usize = 4096;

/// A file until its network is known.
#[wasm_bindgen]
pub struct Weights {
    /// Its bytes, where somebody has said how many; 0 otherwise.
    total: u64,
    state: State,
}

enum State {
    /// Too little to know the format.
    Start(Vec<u8>),
    /// Tensors with a header that is not there yet.
    Header(Box<StreamReader>),
    /// All that is needed to begin.
    Known(Known),
    /// The bytes of an ONNX file so far.
    Whole(Vec<u8>),
}

/// A file of which there is enough to make its network.
pub(crate) enum Known {
    /// The header, and the bytes behind it that have come already.
    Header { arriving: Box<StreamReader>, file: Safetensors, rest: Vec<u8> },
    /// Everything.
    Whole(Vec<u8>),
}

#[wasm_bindgen]
impl Weights {
    /// A file of so many bytes; of 0 if nobody knows.
    #[wasm_bindgen(constructor)]
    pub fn new(total: f64) -> Weights {
        // What is no number or negative becomes 0, what is too large the largest.
        Self { total: total as u64, state: State::Start(Vec::new()) }
    }

    /// More of the file. Says whether there is enough of it to make its network, which then takes the rest. Throws `BadWeights`
    /// if it is none, and `TooLarge` if there is no memory for it.
    pub fn push(&mut self, chunk: &js_sys::Uint8Array) -> Result<bool, JsValue> {
        match &mut self.state {
            State::Whole(bytes) => append(bytes, chunk, self.total)?,
            State::Header(_) => self.header(&chunk.to_vec())?,
            State::Known(_) => return Err(failure(Kind::Internal, "the rest of a file is for its network")),
            State::Start(bytes) => {
                append(bytes, chunk, 0)?;
                if bytes.len() >= START {
                    self.decide()?;
                }
            }
        }
        Ok(matches!(self.state, State::Known(_)))
    }

    /// No more comes. Throws `BadWeights` if there is not enough to make a network.
    pub fn end(&mut self) -> Result<(), JsValue> {
        if matches!(self.state, State::Start(_)) {
            self.decide()?;
        }
        self.state = match std::mem::replace(&mut self.state, State::Start(Vec::new())) {
            State::Whole(bytes) => State::Known(Known::Whole(bytes)),
            // Which is an error, and says what is wrong.
            State::Header(arriving) => {
                return arriving.finish().map_err(|e| thrown(&e, None, Kind::BadWeights));
            }
            other => other,
        };
        Ok(())
    }

    /// Looks at the start of the file.
    fn decide(&mut self) -> Result<(), JsValue> {
        let State::Start(start) = &mut self.state else { return Ok(()) };
        let start = std::mem::take(start);
        match Format::of_bytes(&start).map_err(|e| thrown(&e, None, Kind::BadWeights))? {
            Format::Safetensors | Format::Onnx if usize::try_from(self.total).is_err() => {
                Err(no_room(self.total))
            }
            Format::Safetensors => {
                let length = (self.total > 0).then_some(self.total);
                self.state = State::Header(Box::new(StreamReader::new(length)));
                self.header(&start)
            }
            Format::Onnx => {
                self.state = State::Whole(start);
                Ok(())
            }
            // Files of PyTorch, and formats that the library may read in future.
            other => Err(failure(
                Kind::BadWeights,
                &format!(
                    "this is a file of {other}, which is not read in a browser; `ocelli convert` makes a safetensors file of it"
                ),
            )),
        }
    }

    /// More of a file of tensors.
    fn header(&mut self, mut bytes: &[u8]) -> Result<(), JsValue> {
        let State::Header(arriving) = &mut self.state else { return Ok(()) };
        let arrived = arriving.take(&mut bytes).map_err(|e| thrown(&e, None, Kind::BadWeights))?;
        if let StreamEvent::Header(file) = arrived {
            let arriving = std::mem::replace(arriving, Box::new(StreamReader::new(None)));
            self.state = State::Known(Known::Header { arriving, file, rest: bytes.to_vec() });
        }
        Ok(())
    }

    /// What the network is made of.
    pub(crate) fn known(self) -> Result<Known, JsValue> {
        match self.state {
            State::Known(known) => Ok(known),
            _ => Err(failure(Kind::Internal, "a network was asked for before its file was known")),
        }
    }
}

fn no_room(bytes: u64) -> JsValue {
    let mib = bytes >> 20;
    failure(Kind::TooLarge, &format!("a file of {mib} MiB does not fit into the memory of this page"))
}

/// Appends to the bytes of a file of so many, if that is not 0.
fn append(bytes: &mut Vec<u8>, chunk: &js_sys::Uint8Array, total: u64) -> Result<(), JsValue> {
    let (before, more) = (bytes.len(), chunk.length() as usize);
    if bytes.capacity() - before < more {
        // Room for the whole file, or as a vector grows by itself, but with an error where it cannot.
        let missing = total.saturating_sub(before as u64).try_into().unwrap_or(usize::MAX);
        let wanted = more.max(before).max(missing);
        let made = bytes.try_reserve_exact(wanted).or_else(|_| bytes.try_reserve_exact(more));
        made.map_err(|_| no_room(total.max((before + more) as u64)))?;
    }
    bytes.resize(before + more, 0);
    if let Some(room) = bytes.get_mut(before..) {
        chunk.copy_to(room);
    }
    Ok(())
}

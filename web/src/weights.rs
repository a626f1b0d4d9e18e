//! A file of weights that is still arriving. Of a safetensors file at most one tensor is in memory: each is written to the GPU as soon as
//! it has arrived. An ONNX file is kept as a whole, since its graph may follow its tensors.

use crate::failure::{Kind, failure, thrown};
use ocelli::weights::{Format, Safetensors, StreamEvent, StreamReader};
use wasm_bindgen::prelude::*;

/// Bytes that are needed to recognise the format.
const START: usize = 4096;

/// A file whose network is not known yet.
#[wasm_bindgen]
pub struct Weights {
    /// Its length in bytes; 0 if unknown.
    total: u64,
    state: State,
}

enum State {
    /// Fewer bytes than the format is recognised by.
    Start(Vec<u8>),
    /// A safetensors file whose header is incomplete.
    Header(Box<StreamReader>),
    /// Enough to make the network.
    Known(Known),
    /// An ONNX file: its bytes so far.
    Whole(Vec<u8>),
}

/// A file of which enough has arrived to make its network.
pub(crate) enum Known {
    /// The header of a safetensors file, and the bytes after it that have arrived.
    Header { arriving: Box<StreamReader>, file: Safetensors, rest: Vec<u8> },
    /// A complete file.
    Whole(Vec<u8>),
}

#[wasm_bindgen]
impl Weights {
    /// A file of `total` bytes; 0 if unknown.
    #[wasm_bindgen(constructor)]
    pub fn new(total: f64) -> Weights {
        // NaN and negative numbers become 0; too large ones saturate.
        Self { total: total as u64, state: State::Start(Vec::new()) }
    }

    /// Takes more of the file. Returns whether enough has arrived to make its network, which then takes the rest. Throws `BadWeights`
    /// if it is not a file of weights, and `TooLarge` if the memory does not suffice.
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

    /// Ends the file. Throws `BadWeights` if it is too short to make a network.
    pub fn end(&mut self) -> Result<(), JsValue> {
        if matches!(self.state, State::Start(_)) {
            self.decide()?;
        }
        self.state = match std::mem::replace(&mut self.state, State::Start(Vec::new())) {
            State::Whole(bytes) => State::Known(Known::Whole(bytes)),
            // An error: the header is incomplete.
            State::Header(arriving) => {
                return arriving.finish().map_err(|e| thrown(&e, None, Kind::BadWeights));
            }
            other => other,
        };
        Ok(())
    }

    /// Recognises the format by the start of the file.
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

    /// Takes more of the header of a safetensors file.
    fn header(&mut self, mut bytes: &[u8]) -> Result<(), JsValue> {
        let State::Header(arriving) = &mut self.state else { return Ok(()) };
        let arrived = arriving.take(&mut bytes).map_err(|e| thrown(&e, None, Kind::BadWeights))?;
        if let StreamEvent::Header(file) = arrived {
            let arriving = std::mem::replace(arriving, Box::new(StreamReader::new(None)));
            self.state = State::Known(Known::Header { arriving, file, rest: bytes.to_vec() });
        }
        Ok(())
    }

    /// The file, if enough of it has arrived.
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

/// Appends to the bytes of a file of `total` bytes; 0 if unknown.
fn append(bytes: &mut Vec<u8>, chunk: &js_sys::Uint8Array, total: u64) -> Result<(), JsValue> {
    let (before, more) = (bytes.len(), chunk.length() as usize);
    if bytes.capacity() - before < more {
        // Reserves the whole file, or else doubles as a vector does; a failure is an error instead of an abort.
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

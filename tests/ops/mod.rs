//! Every operation against its f64 twin, on the adapter of this machine.

mod harness;
mod relu;

//! The table of a run: one row an epoch.

use serde::{Deserialize, Serialize};
use std::io::Write;

/// One row of `metrics.csv`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The epoch, counted from 1. The last epoch of a run may be incomplete.
    pub epoch: u64,
    /// Steps done.
    pub step: u64,
    /// Learning rate of the last step.
    pub lr: f64,
    /// Mean training loss over the steps of the epoch.
    pub train_loss: f64,
    /// Training accuracy over the steps of the epoch.
    pub train_top1: f64,
    /// Mean loss on the validation pictures.
    pub val_loss: f64,
    /// Top-1 accuracy on the validation pictures.
    pub val_top1: f64,
    /// Top-5 accuracy on the validation pictures.
    pub val_top5: f64,
    /// Training pictures a second, without the validation.
    pub images_per_s: f64,
    /// The share of the training time in which the GPU waited for data, from 0 to 1; `None` in rows of older versions.
    #[serde(default)]
    pub data_wait: Option<f64>,
}

const HEADER: &str = "epoch,step,lr,train_loss,train_top1,val_loss,val_top1,val_top5,images_per_s,data_wait";

/// Writes the whole table.
///
/// # Errors
/// Those of the writer.
pub fn write(out: &mut (impl Write + ?Sized), rows: &[Row]) -> std::io::Result<()> {
    writeln!(out, "{HEADER}")?;
    for r in rows {
        writeln!(
            out,
            "{},{},{},{:.6},{:.6},{:.6},{:.6},{:.6},{:.1},{}",
            r.epoch,
            r.step,
            r.lr,
            r.train_loss,
            r.train_top1,
            r.val_loss,
            r.val_top1,
            r.val_top5,
            r.images_per_s,
            r.data_wait.map_or_else(String::new, |share| format!("{share:.4}"))
        )?;
    }
    Ok(())
}

//! The verdict on an adapter, and the file that keeps it beside the choices of the tuner.

use super::{Extent, SelfTest};
use crate::autotune::adapter_file::AdapterFile;
use crate::error::Result;
use crate::gpu::{AdapterInfo, Excluded, Gpu};
use crate::tensor::Precision;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// What the self-test has found on an adapter. It is valid for one driver and one version of this library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// When the test ended, in seconds since 1970.
    pub unix_seconds: u64,
    /// The number of cases.
    pub tests: usize,
    /// Whether it was tested with [`Extent::Full`].
    #[serde(default)]
    pub full: bool,
    /// The cases with a wrong result.
    pub failures: Vec<Failure>,
}

/// A case with a wrong result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The core or the operation.
    pub name: String,
    /// What was computed.
    pub case: String,
    /// The precision of the activations.
    pub precision: Precision,
    /// The first wrong number, or why the kernel does not run.
    pub fault: String,
    /// The names of the kernels that no plan uses from now on.
    pub excluded: Excluded,
}

impl SelfTest {
    /// The verdict, which can be kept and applied to a device.
    pub fn verdict(&self) -> Verdict {
        let failure = |outcome: &super::Outcome| Failure {
            name: outcome.name.clone(),
            case: outcome.case.clone(),
            precision: outcome.precision,
            fault: outcome.fault.clone().unwrap_or_default(),
            excluded: outcome.excluded.iter().cloned().collect(),
        };
        Verdict {
            unix_seconds: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
            tests: self.outcomes.len(),
            full: self.extent == Extent::Full,
            failures: self.faults().map(failure).collect(),
        }
    }

    /// Whether an earlier failure is of a case that this test has not run.
    fn has_not_run(&self, failure: &Failure) -> bool {
        !self.outcomes.iter().any(|outcome| {
            (&outcome.name, &outcome.case, outcome.precision)
                == (&failure.name, &failure.case, failure.precision)
        })
    }

    /// Writes the verdict to the file of the adapter in `folder`, and returns it. Earlier failures of cases that were not tested
    /// this time, such as those of [`Extent::Full`] or of half precision, stay.
    ///
    /// # Errors
    /// [`crate::error::Error::Io`] if the system refuses.
    pub fn keep(&self, info: &AdapterInfo, folder: &Path) -> Result<Verdict> {
        let mut verdict = self.verdict();
        if let Some(earlier) = Verdict::read(info, folder) {
            verdict.failures.extend(earlier.failures.into_iter().filter(|f| self.has_not_run(f)));
        }
        verdict.write(info, folder)?;
        Ok(verdict)
    }
}

impl Verdict {
    fn file(info: &AdapterInfo, folder: &Path) -> AdapterFile {
        AdapterFile::of("selftest", info, folder)
    }

    /// The verdict in `folder` ([`crate::autotune::cache_folder`]) on an adapter with its driver. `None` if this version has not
    /// tested it, or if the file cannot be read.
    pub fn read(info: &AdapterInfo, folder: &Path) -> Option<Self> {
        Self::file(info, folder).read()
    }

    /// Writes the verdict to the file of the adapter in `folder`. [`SelfTest::keep`] also keeps what an earlier test has found.
    ///
    /// # Errors
    /// [`crate::error::Error::Io`] if the system refuses.
    pub fn write(&self, info: &AdapterInfo, folder: &Path) -> Result<()> {
        Self::file(info, folder).write(self)
    }

    /// The kernels that compute wrongly.
    pub fn excluded(&self) -> Excluded {
        self.failures.iter().flat_map(|failure| failure.excluded.names()).map(str::to_owned).collect()
    }

    /// Excludes the kernels that compute wrongly from all plans that are made for the device from now on. A plan that cannot do
    /// without one of them is refused with an error.
    pub fn apply(&self, gpu: &Gpu) {
        gpu.exclude(self.excluded());
    }
}

//! The algorithms that the tuner measures for a problem.

use super::algorithm::Algorithm;
use super::heuristic::direct_loads;
use super::problem::ConvProblem;
use super::tiles::GemmKernel;
use super::winograd_tiles::WinogradTile;
use crate::kernels::{KernelFamily, RecordOptions};

/// The most algorithms that are measured for one problem.
const CANDIDATES: usize = 8;

impl RecordOptions {
    /// The algorithms that may be the fastest, at most eight: the heuristic's algorithm first, then the others by their
    /// likelihood.
    pub fn candidates(&self, problem: &ConvProblem) -> Vec<Algorithm> {
        let first = self.heuristic(problem);
        let mut gemms = Vec::new();
        for algorithm in self.gemms(problem) {
            if algorithm != first && !gemms.contains(&algorithm) {
                gemms.push(algorithm);
            }
        }
        let mut gemms = gemms.into_iter();
        let [four, two] = [WinogradTile::F4x4, WinogradTile::F2x2].map(|tile| {
            let winograd = Algorithm::Winograd { tile };
            (winograd != first && self.supports(winograd, problem)).then_some(winograd)
        });
        // Where Winograd's algorithm is possible, its larger tile is the most likely to win. The smaller tile takes the
        // fourth place.
        let mut candidates = vec![first];
        candidates.extend(four);
        candidates.extend(gemms.by_ref().take(3 - candidates.len()));
        candidates.extend(two);
        candidates.extend(gemms);
        candidates.truncate(CANDIDATES);
        candidates
    }

    /// The GEMM algorithms, the heuristic's first.
    fn gemms(&self, problem: &ConvProblem) -> Vec<Algorithm> {
        let own = self.gemm(problem);
        let kernels = self.kernels(problem, own);
        let mut gemms = vec![own];
        let Algorithm::SplitK { kernel, splits, k_chunk } = own else {
            gemms.extend(kernels.into_iter().map(Algorithm::Gemm));
            return gemms;
        };
        let halved = if k_chunk == u32::MAX { k_chunk } else { k_chunk / 2 };
        let divisions =
            [(2 * splits, k_chunk), (splits, u32::MAX), (splits.div_ceil(2), k_chunk), (splits, halved)];
        // A map of one pixel cannot be divided.
        let divisions = divisions.into_iter().filter(|_| problem.map() != [1, 1]);
        let mut others =
            kernels.into_iter().filter(|other| *other != kernel).map(|k| self.split_k(problem, k));
        gemms.extend(others.by_ref().take(2));
        gemms.extend(divisions.map(|(splits, k_chunk)| Algorithm::SplitK { kernel, splits, k_chunk }));
        gemms.extend(others);
        gemms
    }

    /// The kernels that can compute a problem, the most likely first.
    fn kernels(&self, problem: &ConvProblem, own: Algorithm) -> Vec<GemmKernel> {
        let mut direct = GemmKernel::DIRECT.to_vec();
        direct.sort_by_key(|kernel| direct_loads(problem, *kernel));
        let kernels = match self.family {
            KernelFamily::Tiled => {
                // Tiles of a similar size as the heuristic's are the most likely. The direct kernel is excluded: it is
                // some forty times slower, so one dispatch could exceed the limit of a watchdog.
                let size = |kernel: &GemmKernel| GemmKernel::TILED.iter().position(|k| k == kernel);
                let own = own.kernel().as_ref().and_then(size).unwrap_or(CANDIDATES);
                let mut tiled = GemmKernel::TILED.to_vec();
                tiled.sort_by_key(|kernel| size(kernel).unwrap_or(CANDIDATES).abs_diff(own));
                [GemmKernel::COOPERATIVE.to_vec(), GemmKernel::ROWS.to_vec(), tiled].concat()
            }
            KernelFamily::Direct => direct,
            KernelFamily::Subgroup => [GemmKernel::SUBGROUP.to_vec(), direct].concat(),
        };
        kernels.into_iter().filter(|kernel| self.has(*kernel, problem)).collect()
    }
}

//! A device that is lost while a network is trained, as after a reset of its driver.

use crate::support::fixtures::{folder, write_pictures};
use crate::training::{bits, config};
use ocelli::gpu::{Gpu, GpuOptions, wgpu};
use ocelli::train::{Config, Control, Event, Finished, Length, train};
use ocelli::weights::read_tensors;
use ocelli::{Error, Result};
use std::path::Path;
use std::sync::Arc;

/// What was heard of a run: of each loss how often it had happened; after which step the run went on.
#[derive(Default)]
struct Heard {
    losses: Vec<usize>,
    from: Vec<u64>,
    steps: Vec<u64>,
}

/// Trains, and destroys the device whenever one of these events comes: the step that is done, or 0 for the start.
fn train_with_losses(config: &Config, out: &Path, mut at: Vec<u64>) -> (Result<Finished>, Heard) {
    let gpu = Arc::new(Gpu::open(&GpuOptions::default()).unwrap());
    let mut device: wgpu::Device = gpu.device().clone();
    let mut heard = Heard::default();
    let result = train(&gpu, config, out, false, &mut |event| {
        let now = match event {
            Event::DeviceLost { why, time, most } => {
                assert!(matches!(why, Error::Gpu(_)) && why.to_string().contains("lost"), "{why}");
                assert_eq!(most, 3);
                heard.losses.push(time);
                None
            }
            Event::Reopened { gpu, step } => {
                device = gpu.device().clone();
                heard.from.push(step);
                None
            }
            Event::Planned { .. } => Some(0),
            Event::Step { step, .. } => {
                heard.steps.push(step);
                Some(step)
            }
            _ => None,
        };
        if now.is_some() && at.first() == now.as_ref() {
            at.remove(0);
            device.destroy();
        }
        Control::Continue
    });
    (result, heard)
}

#[test]
fn a_run_whose_device_was_lost_ends_with_the_same_bits() {
    let folder = folder();
    let data = folder.path().join("data");
    write_pictures(&data, 3, 7, 2, 8);
    let config = Config { augment: "pad=1,mirror".parse().unwrap(), momentum: 0.9, ..config(&data) };
    let whole = folder.path().join("whole");
    let (result, heard) = train_with_losses(&config, &whole, Vec::new());
    assert!(result.is_ok() && heard.losses.is_empty() && heard.steps.last() == Some(&10));
    let wanted = bits(&whole);
    // The state of the optimizer too. The header has times.
    let state = |out: &Path| {
        let (tensors, _) = read_tensors(out.join("checkpoint.safetensors")).unwrap();
        let bits = |data: Vec<f32>| data.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        tensors.into_iter().map(|(name, tensor)| (name, bits(tensor.data))).collect::<Vec<_>>()
    };
    for (i, (at, from)) in [
        // Before the first step, within the first epoch, and in the second one. An epoch has 5 steps.
        (vec![0], vec![0]),
        (vec![3], vec![0]),
        (vec![7], vec![5]),
        (vec![10], vec![5]),
        (vec![2, 5, 8], vec![0, 0, 5]),
    ]
    .into_iter()
    .enumerate()
    {
        let out = folder.path().join(format!("run {i}"));
        let (result, heard) = train_with_losses(&config, &out, at.clone());
        let finished = result.unwrap_or_else(|e| panic!("{at:?}: {e}"));
        assert_eq!(finished.rows.len(), 2, "{at:?}");
        assert_eq!(heard.from, from, "{at:?}");
        assert_eq!(heard.losses, (1..=at.len()).collect::<Vec<_>>(), "{at:?}");
        assert!(bits(&out) == wanted, "{at:?}: other bits");
        assert!(state(&out) == state(&whole), "{at:?}: another state");
    }
}

#[test]
fn a_device_that_is_lost_again_and_again_ends_the_run_which_can_be_resumed() {
    let folder = folder();
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    write_pictures(&data, 3, 7, 2, 8);
    let config = Config { length: Length::Epochs(2), ..config(&data) };
    let (result, heard) = train_with_losses(&config, &out, vec![1, 6, 7, 9]);
    let error = result.unwrap_err();
    assert_eq!((heard.losses, heard.from), (vec![1, 2, 3], vec![0, 5, 5]));
    let said = error.to_string();
    assert!(matches!(error, Error::Gpu(_)) && error.exit_code() == 71, "{error:?}");
    assert!(said.contains("3 times within 10 minutes") && said.contains("--resume"), "{said}");
    let gpu = Arc::new(Gpu::open(&GpuOptions::default()).unwrap());
    train(&gpu, &config, &out, true, &mut |_| Control::Continue).unwrap();
    let whole = folder.path().join("whole");
    train(&gpu, &config, &whole, false, &mut |_| Control::Continue).unwrap();
    assert!(bits(&out) == bits(&whole), "other bits");
}

#[test]
fn a_run_can_be_stopped_after_its_device_was_lost() {
    let folder = folder();
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    write_pictures(&data, 3, 7, 2, 8);
    let gpu = Arc::new(Gpu::open(&GpuOptions::default()).unwrap());
    let mut lost = false;
    let result = train(&gpu, &config(&data), &out, false, &mut |event| {
        match event {
            Event::Step { step: 2, .. } => gpu.device().destroy(),
            Event::DeviceLost { .. } => lost = true,
            _ => {}
        }
        if lost { Control::Stop } else { Control::Continue }
    });
    assert!(lost && matches!(result, Err(Error::Stopped(_))), "{result:?}");
    assert!(gpu.is_lost() && gpu.is_replaceable());
}

//! The program as other programs use it: exit codes, what stands on standard output, JSON.

use crate::support::fixtures::{folder, ocelli, run, shared, skipped, write_pictures};
use serde_json::Value as Json;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Each line of standard output as JSON.
fn json(stdout: &str) -> Vec<Json> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn keys(value: &Json) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn has_keys(value: &Json, wanted: &[&str]) {
    let mut wanted = wanted.to_vec();
    wanted.sort_unstable();
    let mut found = keys(value);
    found.sort_unstable();
    assert_eq!(found, wanted);
}

/// One sentence for people, in one line on standard error, nothing on standard output.
pub(crate) fn fails(folder: &Path, arguments: &[&str], code: i32, says: &[&str]) {
    let (got, stdout, stderr) = run(folder, arguments);
    assert_eq!(got, code, "{arguments:?}\n{stderr}");
    assert_eq!(stdout, "", "{arguments:?}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    for part in says {
        assert!(stderr.contains(part), "{arguments:?} does not say \"{part}\":\n{stderr}");
    }
}

/// Trains resnet20 for some steps on three colours.
fn train<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let start =
        ["train", "--arch", "resnet20", "--data", "data", "--out", out, "--batch-size", "2", "--lr", "0.01"];
    start.into_iter().chain(more.iter().copied()).collect()
}

#[test]
fn train_eval_and_predict_work_together() {
    let folder = folder();
    let here = folder.path();
    write_pictures(&here.join("data"), 3, 2, 2, 8);
    let (code, stdout, stderr) = run(here, &train("run", &["--steps", "4", "--seed", "5"]));
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.starts_with("best validation top-1: "), "{stdout}");
    for part in ["adapter: ", "epoch 1: step 3", "epoch 2: step 4", "weights and metrics are in run"] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
    let table = fs::read_to_string(here.join("run/metrics.csv")).unwrap();
    let columns = "epoch,step,lr,train_loss,train_top1,val_loss,val_top1,val_top5,images_per_s,data_wait";
    assert!(table.starts_with(&format!("{columns}\n1,3,0.001,")), "{table}");
    let config: Json = serde_json::from_slice(&fs::read(here.join("run/config.json")).unwrap()).unwrap();
    assert_eq!((&config["arch"], &config["seed"]), (&"resnet20".into(), &5.into()));

    let weights = ["--weights", "run/last.safetensors"];
    let arguments = ["eval", "--data", "data", "--json", "--batch-size", "4"];
    let (code, stdout, stderr) = run(here, &[&arguments[..], &weights].concat());
    assert_eq!(code, 0, "{stderr}");
    let [result] = &json(&stdout)[..] else { panic!("one object: {stdout}") };
    let wanted = "images correct_top1 correct_top5 top1 top5 loss calibration_error";
    has_keys(result, &wanted.split(' ').collect::<Vec<_>>());
    assert_eq!((&result["images"], &result["correct_top5"]), (&6.into(), &6.into()));
    assert_eq!(result["top1"].as_f64(), result["correct_top1"].as_f64().map(|n| n / 6.0));
    let last = table.lines().last().unwrap().split(',').collect::<Vec<_>>();
    assert!(
        (result["loss"].as_f64().unwrap() - last[5].parse::<f64>().unwrap()).abs() < 2e-6,
        "{table} {stdout}"
    );
    let (code, stdout, stderr) = run(here, &[&["--quiet"], &arguments[..3], &weights].concat());
    assert_eq!((code, stderr.as_str()), (0, ""), "quiet means quiet");
    assert!(stdout.starts_with("6 images: top-1 "), "{stdout}");
    assert_eq!(run(here, &[&arguments[..], &weights, &["--split", "train"]].concat()).0, 0);

    let images = ["data/val/class0/000.png", "data/val/class2/001.png"];
    let arguments = ["predict", "--top", "2", "--json", "--logits"];
    let (code, stdout, stderr) = run(here, &[&arguments[..], &images, &weights].concat());
    assert_eq!(code, 0, "{stderr}");
    let lines = json(&stdout);
    assert_eq!(lines.len(), 2);
    for (line, image) in lines.iter().zip(images) {
        has_keys(line, &["image", "predictions", "logits"]);
        assert_eq!(line["image"], image);
        let predictions = line["predictions"].as_array().unwrap();
        assert_eq!(predictions.len(), 2);
        predictions.iter().for_each(|p| has_keys(p, &["index", "label", "probability"]));
        let logits: Vec<f64> =
            line["logits"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        let largest = (0..3).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
        assert_eq!(predictions[0]["index"], largest);
        assert_eq!(predictions[0]["label"], format!("class{largest}"));
        let sum: f64 = logits.iter().map(|x| (x - logits[largest]).exp()).sum();
        assert!((predictions[0]["probability"].as_f64().unwrap() - 1.0 / sum).abs() < 1e-6);
    }
    let (_, stdout, _) = run(here, &[&arguments[..4], &images[..1], &weights].concat());
    has_keys(&json(&stdout)[0], &["image", "predictions"]);
    fs::write(here.join("labels.txt"), "eins\nzwei\ndrei\n").unwrap();
    let (code, stdout, _) =
        run(here, &[&["predict", "--labels", "labels.txt"], &images[..1], &weights].concat());
    assert_eq!(code, 0);
    assert!(stdout.contains("eins (0)") && stdout.contains("drei (2)"), "{stdout}");
    fs::write(here.join("labels.txt"), "eins\n").unwrap();
    fails(
        here,
        &[&["predict", "--labels", "labels.txt"], &images[..1], &weights].concat(),
        65,
        &["labels.txt", "1 names for 3 classes"],
    );
    // A bad picture among good ones is told; the others get their answer.
    fs::write(here.join("bad.jpg"), "no").unwrap();
    let (code, stdout, stderr) =
        run(here, &[&["predict", "--json", "bad.jpg"], &images[1..], &weights].concat());
    assert_eq!((code, json(&stdout).len()), (65, 1));
    assert!(stderr.contains("bad.jpg: this is neither JPEG, PNG"), "{stderr}");
    fails(here, &[&["predict", "none.png"], &weights[..]].concat(), 66, &["none.png"]);
    let (code, _, stderr) = run(here, &[&["predict", "none.png", "bad.jpg"], &weights[..]].concat());
    assert_eq!(code, 66, "the first error decides: {stderr}");

    // Labels go by the names of the classes: with one class less, the others keep their places.
    let all = run(here, &[&["eval", "--data", "data", "--json"], &weights[..]].concat()).1;
    for split in ["train", "val"] {
        fs::rename(here.join(format!("data/{split}/class0")), here.join(format!("{split}-class0"))).unwrap();
    }
    let two = run(here, &[&["eval", "--data", "data", "--json"], &weights[..]].concat()).1;
    let (all, two) = (&json(&all)[0], &json(&two)[0]);
    let correct = |r: &Json| r["correct_top1"].as_u64().unwrap();
    let class0 = predicted(here, "val-class0", 0, &weights);
    assert_eq!((two["images"].as_u64(), correct(two) + class0), (Some(4), correct(all)));
    for split in ["train", "val"] {
        fs::rename(here.join(format!("data/{split}/class1")), here.join(format!("data/{split}/one")))
            .unwrap();
    }
    let eval = ["eval", "--data", "data", weights[0], weights[1]];
    fails(here, &eval, 65, &["does not know", "(one)", "--labels"]);
    fs::write(here.join("labels.txt"), "zero\none\nclass2\n").unwrap();
    let named = run(here, &[&eval[..], &["--labels", "labels.txt", "--json"]].concat()).1;
    assert_eq!(correct(&json(&named)[0]), correct(two));
}

/// How many pictures of a folder are given one class.
fn predicted(here: &Path, folder: &str, class: u64, weights: &[&str]) -> u64 {
    let paths = fs::read_dir(here.join(folder)).unwrap().map(|e| e.unwrap().path().display().to_string());
    let paths: Vec<String> = paths.collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let (_, stdout, _) = run(here, &[&["predict", "--json"], &paths[..], weights].concat());
    json(&stdout).iter().filter(|line| line["predictions"][0]["index"] == class).count() as u64
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let folder = folder();
    let here = folder.path();
    write_pictures(&here.join("data"), 3, 3, 1, 10);
    let bits = ["1", "5"].map(|threads| {
        let run = train(threads, &["--steps", "3", "--augment", "standard", "--size", "8"]);
        let output = ocelli(here).args(run).env("RAYON_NUM_THREADS", threads).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::read(here.join(threads).join("last.safetensors")).unwrap()
    });
    assert_eq!(bits[0], bits[1]);
    let file = ocelli::weights::read(here.join("1/last.safetensors")).unwrap();
    assert_eq!(file.metadata.unwrap().input, [8, 8, 3]);
}

#[cfg(unix)]
#[test]
fn a_closed_standard_error_is_no_panic() {
    let folder = folder();
    let here = folder.path();
    let program = env!("CARGO_BIN_EXE_ocelli");
    for (arguments, code) in [("show nothing", 2), ("predict none.png --weights none", 66)] {
        let script = format!("exec {program} {arguments} 2>&-");
        let status = std::process::Command::new("sh").args(["-c", &script]).current_dir(here).status();
        assert_eq!(status.unwrap().code(), Some(code), "{arguments}");
    }
}

/// Every multiply-add of the table is one of a kernel's, and every kernel is held against a ceiling.
/// What `--profile` prints; `adapter` chooses that of this name.
fn profiles(here: &Path, adapter: &str, name: &str) {
    let bench = [
        "bench",
        "--seconds",
        "0",
        "--arch",
        "resnet20",
        "--size",
        "8",
        "--batch-size",
        "2",
        "--profile",
        "--mode",
    ];
    let (_, stdout, _) = run(here, &["show", "resnet20", "--size", "8", "--json"]);
    let macs = 2 * json(&stdout)[0]["macs"].as_u64().unwrap();
    // The gradient of the first layer's input is nobody's, and the gradients are as large as the layer.
    let first = 2 * 8 * 8 * 16 * 27;
    for (mode, macs) in [("infer", macs), ("train", 3 * macs - first)] {
        let (code, stdout, stderr) = run(here, &[&bench[..], &[mode, "--json"]].concat());
        assert_eq!(code, 0, "{stderr}");
        let profile = &json(&stdout)[0]["profile"];
        has_keys(&profile["roofline"], &["gflops_per_s", "gbytes_per_s"]);
        assert!(profile["roofline"]["gflops_per_s"].as_f64().unwrap() > 0.0, "{stdout}");
        assert!(profile["roofline"]["gbytes_per_s"].as_f64().unwrap() > 0.0, "{stdout}");
        let kernels = profile["kernels"].as_array().unwrap();
        kernels.iter().for_each(|k| has_keys(k, &["name", "calls", "ms", "macs", "bytes"]));
        assert_eq!(kernels.iter().map(|k| k["macs"].as_u64().unwrap()).sum::<u64>(), macs, "{mode}");
        assert!(kernels.iter().all(|k| k["bytes"].as_u64().unwrap() > 0), "{stdout}");
        let layers = profile["layers"].as_array().unwrap();
        layers.iter().for_each(|l| has_keys(l, &["layer", "kernels"]));
        let of_layers = layers.iter().flat_map(|l| l["kernels"].as_array().unwrap());
        assert_eq!(of_layers.map(|k| k["macs"].as_u64().unwrap()).sum::<u64>(), macs, "{mode}");
        for kernel in kernels.iter().filter(|k| k["macs"].as_u64().unwrap() > 0) {
            assert!(
                ["conv2d.y", "conv2d.dx", "conv2d.dw"].contains(&kernel["name"].as_str().unwrap()),
                "{kernel}"
            );
        }
    }
    let by_layer = bench.map(|word| if word == "--profile" { "--profile=layers" } else { word });
    let by_kernel = ["of ceiling", "conv2d.y", "products: ", "the best copy here"];
    let of_layers = ["y GFLOP/s", "layer3.2.conv2", "products: "];
    for (bench, mode, texts) in [(bench, "infer", &by_kernel[..]), (by_layer, "train", &of_layers)] {
        let (code, stdout, stderr) = run(here, &[&bench[..], &[mode, "--adapter", adapter]].concat());
        assert!(code == 0 && stderr.contains(name), "{stderr}");
        texts.iter().for_each(|text| assert!(stdout.contains(text), "{text}: {stdout}"));
    }
}

#[test]
fn show_bench_and_devices_print_the_agreed_json() {
    let folder = folder();
    let here = folder.path();
    let (code, stdout, _) = run(here, &["show", "resnet20", "--json"]);
    let [result] = &json(&stdout)[..] else { panic!("one object: {stdout}") };
    assert_eq!(code, 0);
    has_keys(result, &["arch", "input", "classes", "parameters", "macs", "layers"]);
    assert_eq!(result["input"], serde_json::json!([32, 32, 3]));
    assert_eq!((&result["parameters"], &result["macs"]), (&269_722.into(), &40_551_040u64.into()));
    let layers = result["layers"].as_array().unwrap();
    layers.iter().for_each(|l| has_keys(l, &["name", "op", "output", "parameters", "macs", "bytes"]));
    assert_eq!(layers.last().unwrap()["output"], serde_json::json!([1, 1, 10]));
    let (code, stdout, _) = run(here, &["show", "--json"]);
    let names: Vec<Json> = json(&stdout).iter().map(|l| l["arch"].clone()).collect();
    assert_eq!((code, names.len()), (0, ocelli::models::ARCHS.len()));
    let (_, stdout, _) = run(here, &["show", "alexnet", "--classes", "5", "--size", "67"]);
    assert!(stdout.contains("input 67x67x3, 5 classes") && stdout.contains("total: "), "{stdout}");
    let (_, big, _) = run(here, &["show", "vgg11"]);
    assert_eq!(
        big.lines().filter(|l| l.starts_with("classifier.0 ")).count(),
        1,
        "pieces are one line: {big}"
    );
    assert!(big.contains("102,764,544"), "{big}");
    assert!(
        stdout.contains("recipe paper: batches of 128, 90 epochs, learning rate 0.01 (step)"),
        "{stdout}"
    );

    let (code, stdout, _) = run(here, &["devices", "--json"]);
    let adapters = json(&stdout);
    assert_eq!((code, &adapters[0]["index"]), (0, &0.into()));
    assert!(adapters[0]["max_binding_bytes"].as_u64().unwrap() >= 128 << 20);
    let name = adapters[0]["name"].as_str().unwrap();
    for mode in ["infer", "train"] {
        let arguments =
            ["bench", "--seconds", "0", "--arch", "resnet20", "--size", "8", "--batch-size", "2", "--json"];
        let (code, stdout, stderr) =
            run(here, &[&arguments[..], &["--adapter", "0", "--mode", mode]].concat());
        assert!(code == 0 && stderr.contains(name), "{stderr}");
        let [result] = &json(&stdout)[..] else { panic!("one object: {stdout}") };
        has_keys(
            result,
            &[
                "arch",
                "mode",
                "batch_size",
                "size",
                "precision",
                "steps",
                "ms_median",
                "ms_min",
                "images_per_s",
                "gflops_per_s",
                "gpu_bytes",
                "dispatches",
                "first_step_ms",
                "tune_ms",
                "adapter",
                "driver",
            ],
        );
        assert_eq!((&result["mode"], &result["size"]), (&mode.into(), &8.into()));
        assert_eq!(result["precision"], "f32");
        for key in ["ms_median", "ms_min", "images_per_s", "gflops_per_s", "gpu_bytes", "first_step_ms"] {
            assert!(result[key].as_f64().unwrap() > 0.0, "{key}: {stdout}");
        }
    }
    profiles(here, &name[..4].to_lowercase(), name);

    let bench = ["bench", "--arch", "resnet20", "--mode", "infer"];
    fails(here, &[&bench[..], &["--adapter", "Voodoo 2"]].concat(), 69, &["Voodoo 2", name]);
    fails(here, &[&bench[..], &["--adapter", "99"]].concat(), 69, &["99"]);
}

#[test]
fn bad_input_ends_in_one_clear_sentence() {
    let folder = folder();
    let here = folder.path();
    write_pictures(&here.join("data"), 2, 2, 1, 8);
    fs::write(here.join("text.safetensors"), "these are no weights, only words\n").unwrap();
    let image = "data/val/class0/000.png";

    fails(here, &["train", "--arch", "resnet20"], 2, &["--data", "--out"]);
    fails(here, &["trian"], 2, &["train"]);
    fails(here, &train("r", &["--epochs", "1", "--steps", "1"]), 2, &["--steps"]);
    fails(here, &train("r", &["--lr", "-1"]), 2, &["lr"]);
    fails(here, &train("r", &["--lr", "nan"]), 2, &["--lr"]);
    fails(here, &train("r", &["--schedule", "linear"]), 2, &["constant", "cosine"]);
    fails(here, &train("r", &["--limit", "0"]), 2, &["--limit"]);
    fails(here, &["eval", "--weights", "w", "--data", "data", "--split", "best"], 2, &["train, val or test"]);
    fails(here, &["show", "resnet21"], 2, &["resnet21", "did you mean"]);
    fails(here, &["show", "alexnet", "--size", "20"], 2, &["alexnet at 20x20"]);
    fails(here, &["show", "resnet20", "--classes", "0"], 2, &["--classes"]);
    fails(here, &["show", "--size", "64"], 2, &["--size", "resnet20"]);
    fails(here, &train("r", &["--classes", "1000000000000"]), 2, &["1000000000000 classes"]);
    fails(here, &train("r", &["--size", "0"]), 2, &["--size"]);
    fails(here, &["bench", "--arch", "resnet20", "--mode", "infer", "--batch-size", "0"], 2, &["batch"]);
    for seconds in ["-1", "nan", "1e9", "soon"] {
        fails(
            here,
            &["bench", "--arch", "resnet20", "--mode", "infer", "--seconds", seconds],
            2,
            &["--seconds"],
        );
    }
    fails(here, &["predict", image, "--weights", "w", "--top", "0"], 2, &["--top"]);
    // At 32x32 the last map of resnet18 is one pixel: a batch of one has no variance.
    let alone = ["bench", "--arch", "resnet18", "--mode", "train", "--size", "32", "--batch-size", "1"];
    fails(here, &alone, 2, &["resnet18 at 32x32", "batch norm", "batch of at least 2"]);

    let no_data = ["train", "--arch", "resnet20", "--out", "r", "--data", "nowhere"];
    fails(here, &no_data, 66, &["nowhere", "no such folder"]);
    fails(here, &train("r", &["--batch-size", "2", "--weights", "none"]), 2, &["--batch-size"]);
    fails(here, &train("r", &["--weights", "none"]), 66, &["none"]);
    fails(
        here,
        &train("r", &["--weights", "text.safetensors"]),
        65,
        &["text.safetensors", "these are no weights"],
    );
    fails(here, &["eval", "--weights", "text.safetensors", "--data", "data"], 65, &["text.safetensors"]);
    fails(here, &["predict", image, "--weights", "none"], 66, &["none"]);
    let large = ["train", "--arch", "resnet20", "--data", "data", "--out", "r", "--batch-size", "9"];
    fails(here, &large, 65, &["9 pictures", "at most 4"]);
    fs::create_dir_all(here.join("data/val/class2")).unwrap();
    fs::create_dir_all(here.join("data/train/class2")).unwrap();
    fails(here, &train("r", &[]), 65, &["data/train/class2", "no pictures"]);
    fs::remove_dir(here.join("data/val/class2")).unwrap();
    fs::remove_dir(here.join("data/train/class2")).unwrap();
    assert!(!here.join("r").exists(), "a run that cannot start leaves no folder");

    fs::write(here.join("file"), "").unwrap();
    fails(here, &train("file/run", &[]), 74, &["file/run"]);
    fails(here, &train("r", &["--adapter", "none such"]), 69, &["none such"]);
    // Too large for any adapter, and said before anything is made.
    let huge = ["bench", "--arch", "resnet20", "--mode", "train", "--batch-size", "100000"];
    fails(here, &huge, 71, &["MiB", "smaller batch"]);
}

#[test]
fn without_a_driver_the_program_says_what_to_install() {
    let folder = folder();
    let here = folder.path();
    let output = ocelli(here)
        .args(["bench", "--arch", "resnet20", "--mode", "infer"])
        .env("VK_ICD_FILENAMES", "/nonexistent.json")
        .env("VK_DRIVER_FILES", "/nonexistent.json")
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    if cfg!(target_os = "linux") {
        assert_eq!(output.status.code(), Some(69), "{stderr}");
        assert!(stderr.contains("apt-get install") && stderr.contains("mesa-vulkan-drivers"), "{stderr}");
    }
}

#[test]
fn weights_of_another_network_are_listed_by_name() {
    let path = match shared("cifar-resnets/resnet20-cifar10.safetensors") {
        Ok(path) => path,
        Err(reason) => return skipped("weights_of_another_network_are_listed_by_name", &reason),
    };
    let folder = folder();
    let here = folder.path();
    write_pictures(&here.join("data"), 10, 1, 1, 8);
    let weights = path.canonicalize().unwrap();
    let weights = weights.to_str().unwrap();
    let arguments = [
        "train",
        "--arch",
        "alexnet",
        "--data",
        "data",
        "--out",
        "r",
        "--batch-size",
        "1",
        "--weights",
        weights,
    ];
    // AlexNet at its own size may not fit the adapter; either way it is one sentence and no file.
    let (code, stdout, stderr) = run(here, &arguments);
    assert!(code == 65 || code == 71, "{stderr}");
    assert_eq!(stdout, "");
    let arguments = [&train("r", &[])[..], &["--weights", weights]].concat();
    let arguments: Vec<&str> =
        arguments.iter().map(|a| if *a == "resnet20" { "resnet32" } else { a }).collect();
    fails(
        here,
        &arguments,
        65,
        &["missing: layer1.3.conv1.weight", "52 more", "resnet20-cifar10.safetensors"],
    );
    // Without metadata the network is recognised, and its classes are numbered.
    let (code, stdout, stderr) =
        run(here, &["predict", "data/val/class3/000.png", "--weights", weights, "--json", "--top", "10"]);
    assert_eq!(code, 0, "{stderr}");
    let result = &json(&stdout)[0];
    assert_eq!(result["predictions"].as_array().unwrap().len(), 10);
    assert!(result["predictions"][0]["label"].as_str().unwrap().starts_with("class "));
}

#[test]
fn a_killed_run_goes_on_to_the_same_bits() {
    let folder = folder();
    let here = folder.path();
    write_pictures(&here.join("data"), 3, 4, 1, 8);
    let more = ["--epochs", "3", "--seed", "2"];
    assert_eq!(run(here, &train("whole", &more)).0, 0);

    // Killed after its first epoch, whatever it is doing then.
    let mut child =
        ocelli(here).args(train("parts", &more)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while !here.join("parts/metrics.csv").exists() {
        assert!(start.elapsed() < Duration::from_secs(120), "no epoch");
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let rows = fs::read_to_string(here.join("parts/metrics.csv")).unwrap().lines().count();
    assert!(rows < 4, "killed too late to show anything");
    // What a kill between the making and the renaming of a file would leave.
    fs::write(here.join("parts/.ocelli-abc.tmp"), "half").unwrap();

    // Stopped with Ctrl-C, with a checkpoint and a code of its own.
    #[cfg(unix)]
    {
        let child = ocelli(here)
            .args(train("parts", &[&more[..], &["--resume"]].concat()))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(1500));
        let status = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(status.unwrap().success());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        match output.status.code() {
            Some(75) => assert!(stderr.contains("--resume goes on"), "{stderr}"),
            // It may have been done by then.
            code => assert_eq!(code, Some(0), "{stderr}"),
        }
    }
    let (code, _, stderr) = run(here, &train("parts", &[&more[..], &["--resume"]].concat()));
    assert_eq!(code, 0, "{stderr}");
    for name in ["last.safetensors", "best.safetensors"] {
        assert_eq!(
            fs::read(here.join("whole").join(name)).unwrap(),
            fs::read(here.join("parts").join(name)).unwrap(),
            "{name}"
        );
    }
    let leftovers: Vec<_> = fs::read_dir(here.join("parts"))
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|n| n.ends_with(".tmp"))
        .collect();
    assert_eq!(leftovers, Vec::<String>::new());
}

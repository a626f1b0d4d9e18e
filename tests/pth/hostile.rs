//! Damaged and hostile files: each ends in one sentence, soon, and without much memory.

use super::made::{archive, archive_as, good, legacy, mapping, tensor, text, zipped};
use super::{files, read_all, refused, says};
use ocelli::Error;
use ocelli::weights::Source;
use ocelli::weights::pth::{Averages, Pth, PthOptions};
use std::fs;
use std::time::{Duration, Instant};
use zip::CompressionMethod;

/// Both forms of a pickle are refused for the same reason.
fn both(pickle: &[u8], what: &str) {
    says(zipped(pickle), what);
    says(legacy(pickle), what);
}

#[test]
fn files_made_by_hand_are_sound() {
    for file in [zipped(&good()), legacy(&good())] {
        let file = Pth::parse(file).unwrap();
        assert_eq!(file.rows("w", 0..2).unwrap(), [1.0, 2.0, 3.0, 4.0]);
    }
}

// --- Damage ------------------------------------------------------------------------------------------------

#[test]
fn a_file_that_is_cut_is_refused_wherever_it_is_cut() {
    for start in ["state_dict-zip", "state_dict-legacy", "checkpoint"] {
        for path in files(start) {
            let whole = fs::read(&path).unwrap();
            for length in 0..whole.len() {
                refused(whole[..length].to_vec());
            }
        }
    }
}

#[test]
fn a_changed_byte_is_an_error_or_another_content() {
    let start = Instant::now();
    let (mut same, mut read, mut errors) = (0, 0, 0);
    for kind in ["state_dict-zip", "state_dict-legacy-p", "checkpoint-protocol4", "module"] {
        for path in files(kind) {
            let whole = fs::read(&path).unwrap();
            let content = Pth::parse(whole.clone()).and_then(|file| read_all(&file)).ok();
            for i in 0..whole.len() {
                for mask in [0x01, 0xf0] {
                    let mut bytes = whole.clone();
                    bytes[i] ^= mask;
                    match Pth::parse(bytes).and_then(|file| read_all(&file)) {
                        Err(error) => {
                            assert!(matches!(error, Error::Data(_)), "byte {i} ^ {mask}: {error:?}");
                            errors += 1;
                        }
                        Ok(other) if Some(&other) == content.as_ref() => same += 1,
                        Ok(_) => read += 1,
                    }
                }
            }
        }
    }
    println!("{errors} errors, {read} other contents, {same} without effect, in {:?}", start.elapsed());
    assert!(errors > 0 && read > 0 && start.elapsed() < Duration::from_secs(120));
}

// --- Pickles -----------------------------------------------------------------------------------------------

#[test]
fn nothing_is_called() {
    let one = text("echo hello");
    let calls: [(&[u8], &str); 12] = [
        (b"cos\nsystem\n", "wants to call os.system"),
        (b"cposix\nsystem\n", "wants to call posix.system"),
        (b"c__builtin__\neval\n", "wants to call __builtin__.eval"),
        (b"cbuiltins\ngetattr\n", "wants to call builtins.getattr"),
        (b"csubprocess\nPopen\n", "whole object of the class subprocess.Popen"),
        (b"ctorch.storage\n_load_from_bytes\n", "torch.storage._load_from_bytes"),
        (b"ctorch\nload\n", "wants to call torch.load"),
        (b"ctorch.hub\nload\n", "wants to call torch.hub.load"),
        (b"cnumpy.core.multiarray\nscalar\n", "wants to call numpy.core.multiarray.scalar"),
        (b"ctorch._utils\n_rebuild_qtensor\n", "torch._utils._rebuild_qtensor"),
        (b"ctorch\nComplexFloatStorage\n", "class torch.ComplexFloatStorage"),
        (b"\x8c\x02os\x8c\x06system\x93", "wants to call os.system"),
    ];
    for (name, what) in calls {
        let call = [&b"\x80\x04"[..], name, &one, b"\x85R."].concat();
        both(&call, what);
        // The same as a plain pickle, and hidden in what is not needed.
        says(call, what);
        let hidden = [&b"("[..], name, &one, b"\x85Rt"].concat();
        let what = what.rsplit(' ').next().unwrap();
        both(&mapping(&[("optimizer", &hidden), ("w", &tensor("0", 4, 0, &[4], &[1]))]), what);
    }
    both(b"\x80\x02(cos\nsystem\no.", "os.system");
    both(b"\x80\x02(X\x01\0\0\0aios\nsystem\n.", "INST");
    both(&[&b"\x80\x02"[..], &one, &one, b"\x85R."].concat(), "something that is no function");
    both(&[&b"\x80\x02ctorch\nFloatStorage\n"[..], &one, b"\x85R."].concat(), "arguments");
    let long = format!("\u{80}\u{2}c{}\n\u{7}\u{1b}[31m{}\n.", "a".repeat(10_000), "b".repeat(10_000));
    let long: Vec<u8> = long.chars().map(|c| c as u8).collect();
    both(&long, "\\u{7}\\u{1b}[31mbbb");
}

#[test]
fn opcodes_are_known_or_refused_by_name() {
    let names =
        [(b'P', "PERSID"), (0x82, "EXT1"), (0x92, "NEWOBJ_EX"), (0x97, "NEXT_BUFFER"), (0xff, "0xff")];
    for (code, name) in names {
        both(&[0x80, 2, code, b'.'], name);
        both(&[0x80, 2, code, b'.'], "byte ");
    }
    both(b"\x80\x06N.", "protocol 6");
    let without_operands: [&[u8]; 14] =
        [b".", b"0", b"1", b"2", b"t", b"a", b"e", b"s", b"u", b"R", b"b", b"Q", b"\x87", b"(]a."];
    for code in without_operands {
        both(&[b"\x80\x02", code].concat(), "without its");
    }
    both(b"\x80\x02h\x05.", "memo that is empty");
    both(b"\x80\x02p1\n.", "without its operands");
    both(b"\x80\x02NKx\x86R.", "without its operands");
    both(b"\x80\x02NNNs.", "that has none");
    both(b"\x80\x02}(Nu.", "a key without its value");
    both(b"\x80\x02NQ.", "no tuple");
    both(b"\x80\x02X\x06\0\0\0modulecos\nsystem\n\x86Q.", "os.system");
    both(b"\x80\x02X\x06\0\0\0moduleN\x86Q.", "holds a module");
}

#[test]
fn counts_are_believed_only_as_far_as_there_are_bytes() {
    let huge: [&[u8]; 8] = [
        b"X\xff\xff\xff\xff",
        b"X\xff\xff\xff\x7f",
        b"B\xff\xff\xff\xff",
        b"T\xff\xff\xff\xff",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x96\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x8b\xff\xff\xff\xff",
        b"I123",
    ];
    for code in huge {
        both(&[b"\x80\x04", code].concat(), "the pickle does not end within");
    }
    // A frame of any length means nothing.
    let framed = [&b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xff"[..], &good()[2..]].concat();
    assert!(Pth::parse(zipped(&framed)).is_ok());
}

#[test]
fn nesting_and_repetition_are_bounded() {
    let deep = |n: usize, open: &[u8], close: &[u8]| {
        [&b"\x80\x02"[..], &open.repeat(n), &close.repeat(n - 1), b"."].concat()
    };
    for n in [10_000, 200_000] {
        both(&deep(n, b"]", b"a"), "it holds a list");
        both(&deep(n, b")", b"\x86"), "it holds a list");
        both(&[&b"\x80\x02)"[..], &b"\x85".repeat(n), b"."].concat(), "it holds a list");
        both(&[&b"\x80\x02"[..], &b"(".repeat(n), b"N."].concat(), "neither tensors nor a mapping");
    }
    // A list in itself.
    both(b"\x80\x02]q\0h\0a.", "it holds a list");
    both(b"\x80\x02}q\0X\x01\0\0\0ah\0s.", "its keys are a");
    let many = 3 << 20;
    both(&[&b"\x80\x02"[..], &b"N".repeat(many), b"."].concat(), "more than 2097152 objects");
    both(&[&b"\x80\x02"[..], &b"]".repeat(many), b"."].concat(), "more than 524288 lists");
    both(&[&b"\x80\x02]N"[..], &b"\x94".repeat(many), b"."].concat(), "more than 524288 objects");
    // Copies of a long list that cost few bytes each.
    let pairs =
        [&b"\x80\x02("[..], &b"NN\x86".repeat(100_000), b"l\x85q\x01ccollections\nOrderedDict\nq\0"].concat();
    both(&[&pairs, &b"h\0h\x01R0".repeat(100_000)[..], b"."].concat(), "more than 2097152 objects");
    let one = tensor("0", 4, 0, &[1; 8], &[0; 8]);
    let function = one.iter().position(|b| *b == b'(').unwrap();
    let again = [
        &b"\x80\x02"[..],
        &one[..function],
        b"q\0",
        &one[function..one.len() - 1],
        b"q\x01R0",
        &b"h\0h\x01R0".repeat(200_000),
        b"N.",
    ]
    .concat();
    both(&again, "more than 65536 tensors");
}

#[test]
fn a_pickle_has_a_longest_length() {
    let long = [&good()[..], &vec![b'.'; 17 << 20]].concat();
    says(zipped(&long), "more than 16777216");
    let text = [&b"\x80\x02B\xff\xff\xff\0"[..], &vec![0; 17 << 20]].concat();
    says(legacy(&text), "does not end within 16777216 bytes");
}

// --- Tensors -----------------------------------------------------------------------------------------------

#[test]
fn tensors_lie_within_their_storages() {
    let max = i64::MAX;
    let bad: [(i64, &[i64], &[i64], &str); 14] = [
        (0, &[5], &[1], "leaves its storage of 4 numbers"),
        (1, &[4], &[1], "leaves its storage"),
        (4, &[], &[], "leaves its storage"),
        (max, &[2], &[max], "leaves its storage"),
        (0, &[2, 2], &[3, 1], "leaves its storage"),
        (0, &[2, 2], &[max, max], "leaves its storage"),
        (0, &[1 << 40], &[0], "repeats the numbers"),
        (0, &[1 << 40, 1 << 40], &[0, 0], "is endless"),
        (0, &[1 << 40, 1 << 40, 0], &[0, 0, 0], "is endless"),
        (0, &[0, 1 << 40, 1 << 40], &[0, 0, 0], "is endless"),
        (0, &[-1], &[1], "without a usable shape"),
        (0, &[2], &[-1], "without usable strides"),
        (0, &[2, 2], &[1], "without usable strides"),
        (0, &[1; 9], &[1; 9], "without a usable shape"),
    ];
    for (offset, shape, strides, what) in bad {
        both(&mapping(&[("w", &tensor("0", 4, offset, shape, strides))]), what);
    }
    both(&mapping(&[("w", &tensor("0", 4, -1, &[1], &[1]))]), "without an offset");
    both(&mapping(&[("w", &tensor("0", -4, 0, &[1], &[1]))]), "without a size");
    both(&mapping(&[("w", &tensor("0", max, 0, &[1], &[1]))]), "endless");
    // What is odd but sound.
    for (shape, strides) in
        [(&[0, 7][..], &[max, max][..]), (&[1, 2], &[max, 3]), (&[2, 2], &[0, 1]), (&[2], &[0])]
    {
        let file = Pth::parse(zipped(&mapping(&[("w", &tensor("0", 4, 0, shape, strides))]))).unwrap();
        assert_eq!(read_all(&file).unwrap()["w"].len() as i64, shape.iter().product::<i64>());
    }
}

#[test]
fn storages_are_as_long_as_the_pickle_says() {
    for elements in [3, 5, 1 << 40] {
        let pickle = mapping(&[("w", &tensor("0", elements, 0, &[3], &[1]))]);
        says(zipped(&pickle), &format!("w: data/0: it has 16 bytes and not {elements} numbers"));
        says(legacy(&pickle), &format!("it has 4 numbers in one place and {elements} in another"));
    }
    let other = mapping(&[("w", &tensor("1", 4, 0, &[3], &[1]))]);
    says(zipped(&other), "data/1: it is missing");
    says(legacy(&other), "no tensor uses it");
    let two = mapping(&[("w", &tensor("0", 4, 0, &[3], &[1])), ("v", &tensor("1", 4, 0, &[3], &[1]))]);
    says(zipped(&two), "data/1: it is missing");
    says(legacy(&two), "storage 1: it is not there");
    // Up and out of the folder of the storages.
    let up = mapping(&[("w", &tensor("../data.pkl", 4, 0, &[3], &[1]))]);
    says(zipped(&up), "it is missing");
    let mut short = legacy(&mapping(&[("w", &tensor("0", 1 << 60, 0, &[3], &[1]))]));
    let at = short.len() - 24;
    short[at..at + 8].copy_from_slice(&(1u64 << 60).to_le_bytes());
    says(short, "longer than the file");
    let again = [&b"\x80\x02](X\x01\0\0\x000X\x01\0\0\x000e."[..], &4u64.to_le_bytes(), &[0; 16]].concat();
    let whole = legacy(&good());
    let doubled = [&whole[..whole.len() - 35], &again, &4u64.to_le_bytes(), &[0; 16]].concat();
    says(doubled, "occurs twice");
}

#[test]
fn what_holds_no_state_dict_lists_what_it_holds() {
    let w = tensor("0", 4, 0, &[4], &[1]);
    let inner = &mapping(&[("w", &w)])[2..];
    let inner = &inner[..inner.len() - 1];
    for key in ["state_dict", "model_state_dict", "model", "net", "network", "weights", "params"] {
        for form in [zipped, legacy] {
            let file =
                Pth::parse(form(&mapping(&[("epoch", b"K\x05"), ("best", &w), (key, inner)]))).unwrap();
            assert!(file.entries().keys().eq(["w"]), "{key}");
        }
    }
    both(&mapping(&[("epoch", b"K\x05"), ("best", inner)]), "its keys are epoch, best");
    both(&mapping(&[("epoch", b"K\x05"), ("w", &w)]), "its keys are epoch, w");
    both(b"\x80\x02}(K\x01K\x02u.", "its keys are (no text)");
    both(b"\x80\x02}.", "the mapping in it is empty");
    both(&[b"\x80\x02", &w[..], b"."].concat(), "a single tensor");
    both(b"\x80\x02K\x01.", "neither tensors nor a mapping");
    both(&mapping(&[("w", &w), ("w", &w)]), "w: this name occurs twice");
    both(&mapping(&[("model", inner), ("model", inner)]), "the key model occurs twice");
    let names: Vec<String> = (0..500).map(|i| format!("{i}")).collect();
    let many: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"N"[..])).collect();
    both(&mapping(&many), "10, 11 and 488 more");
}

#[test]
fn averaged_weights_beside_plain_ones_are_taken_and_named() {
    let w = tensor("0", 4, 0, &[4], &[1]);
    let inside = |name: &str| {
        let whole = mapping(&[(name, &w)]);
        whole[2..whole.len() - 1].to_vec()
    };
    let (plain, averages) = (inside("plain"), inside("averages"));
    let folder = crate::support::fixtures::folder();
    let path = folder.path().join("both.pth");
    for (key, average) in [("state_dict", "state_dict_ema"), ("model", "model_ema"), ("model", "ema")] {
        let both = mapping(&[("epoch", b"K\x05"), (key, &plain), (average, &averages)]);
        std::fs::write(&path, zipped(&both)).unwrap();
        for (wanted, name) in [(None, "averages"), (Some(true), "averages"), (Some(false), "plain")] {
            let file = Pth::open(&path, PthOptions::default().averaged(wanted)).unwrap();
            assert!(file.entries().keys().eq([name]), "{key} {wanted:?}");
            let taken = name == "averages";
            let said = Averages::Both { taken, average: average.to_owned(), plain: key.to_owned() };
            assert_eq!(*file.averages(), said);
        }
        let alone = Pth::parse(zipped(&mapping(&[("epoch", b"K\x05"), (average, &averages)]))).unwrap();
        assert_eq!(*alone.averages(), Averages::Only);
        // Beside the plain ones, wherever these are: in a mapping of their own, or the file itself.
        let both = mapping(&[("state_dict", &plain), (average, &averages)]);
        let within = mapping(&[("epoch", b"K\x05"), (key, &both[2..both.len() - 1])]);
        let flat = mapping(&[("plain", &w), ("more", &w), (average, &averages)]);
        for (bytes, around, plain) in
            [(within, format!("{key}."), format!("{key}.state_dict")), (flat, "".into(), "".into())]
        {
            let file = Pth::parse(zipped(&bytes)).unwrap();
            assert!(file.entries().keys().eq(["averages"]), "{key} {average}");
            let said = Averages::Both { taken: true, average: format!("{around}{average}"), plain };
            assert_eq!(*file.averages(), said);
        }
        // What is no mapping of names is said, and is nothing that could be asked for.
        let list = [b"](", &w[..], b"e"].concat();
        let shadow = mapping(&[("decay", b"K\x05"), ("shadow_params", &list)]);
        let unread = mapping(&[(key, &plain), (average, &shadow[2..shadow.len() - 1])]);
        std::fs::write(&path, zipped(&unread)).unwrap();
        assert_eq!(
            *Pth::open(&path, PthOptions::default()).unwrap().averages(),
            Averages::Unread { average: average.to_owned() }
        );
        let error = Pth::open(&path, PthOptions::default().averaged(Some(true))).unwrap_err().to_string();
        assert!(error.contains(average) && error.contains("cannot be read"), "{error}");
        let inner = mapping(&[("state_dict", &plain)]);
        let nested = mapping(&[("epoch", b"K\x05"), (key, &inner[2..inner.len() - 1])]);
        assert!(Pth::parse(zipped(&nested)).unwrap().entries().keys().eq(["plain"]));
    }
}

// --- Archives ----------------------------------------------------------------------------------------------

#[test]
fn archives_of_other_kinds_are_told_apart() {
    let good = good();
    let good = good.as_slice();
    says(archive(&[("readme.txt", b"hello")]), "no data.pkl");
    says(archive(&[("a/b/data.pkl", good)]), "no data.pkl");
    says(archive(&[("a/data.pkl", good), ("b/data.pkl", good)]), "several data.pkl");
    says(archive(&[("a/data.pkl", good), ("a/constants.pkl", b"")]), "TorchScript");
    says(archive(&[("a/data.pkl", good), ("a/code/x.py", b"")]), "TorchScript");
    says(archive(&[("a/data.pkl", good), ("a/byteorder", b"big")]), "big-endian");
    says(archive(&[("a/data.pkl", good), ("a/byteorder", b"odd")]), "byte order");
    says(archive(&[("a/data.pkl", good), ("a/byteorder", &[b' '; 100])]), "more than 16");
    says(archive(&[("a/data.pkl", b"")]), "does not end");
    let named = archive(&[("\u{e9}t\u{e9} 1/data.pkl", good), ("\u{e9}t\u{e9} 1/data/0", &[0; 16])]);
    assert!(Pth::parse(named).is_ok(), "the folder has any name");
    let big = [&b"\x80\x02}X\r\0\0\0little_endian\x89s."[..]].concat();
    let legacy = legacy(good);
    says([&legacy[..21], &big, &legacy[25..]].concat(), "big-endian");
    says([&legacy[..15], b"\x80\x02K\x01.", &legacy[21..]].concat(), "version");
    says(good.to_vec(), "none that torch.save made");
}

/// Where the central directory starts, and where the record of a file in it does.
fn directory(bytes: &[u8], name: &str) -> usize {
    let record =
        |at: &usize| bytes[*at..].starts_with(b"PK\x01\x02") && bytes[at + 46..].starts_with(name.as_bytes());
    (0..bytes.len() - 46).find(record).unwrap()
}

#[test]
fn archives_that_lie_are_refused() {
    let whole = zipped(&good());
    let change = |name: &str, at: usize, to: &[u8]| {
        let mut bytes = whole.clone();
        let at = directory(&bytes, name) + at;
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    // Compression, encryption, sizes, the place of the file.
    says(change("a/data/0", 10, &[8, 0]), "data/0: it is compressed");
    says(change("a/data.pkl", 10, &[8, 0]), "data.pkl: it is compressed");
    says(change("a/data/0", 8, &[1, 0]), "data/0: it is encrypted");
    says(change("a/data/0", 20, &[255; 3]), "data/0: it is compressed");
    says(change("a/data/0", 20, &[0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0]), "data/0: it is longer than the file");
    says(
        change("a/data.pkl", 20, &[0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0]),
        "data.pkl: it is longer than the file",
    );
    says(change("a/data/0", 42, &[0xff, 0xff, 0xff, 0]), "cannot be read");
    says(change("a/data.pkl", 16, &[1, 2, 3, 4]), "data.pkl: it cannot be read");
    let unchecked = change("a/data.pkl", 16, &[0; 4]);
    assert!(Pth::parse(unchecked).is_ok(), "PyTorch can be told to write no checksums");
    let mut twice = archive(&[("a/data.pkl", &good()), ("a/data/0", &[0; 16]), ("a/data/1", &[1; 16])]);
    let at = directory(&twice, "a/data/1");
    twice[at + 46..at + 54].copy_from_slice(b"a/data/0");
    says(twice, "twice");
    // More files than there are, at the end of the file.
    let end = whole.len() - 22;
    for count in [3u16, 255, 65535] {
        let mut bytes = whole.clone();
        bytes[end + 8..end + 10].copy_from_slice(&count.to_le_bytes());
        bytes[end + 10..end + 12].copy_from_slice(&count.to_le_bytes());
        says(bytes, "cannot be read");
    }
    // A directory without an end.
    let records = whole[directory(&whole, "a/data/0")..end].repeat(200_000);
    let mut bytes = [&whole[..end], &records, &whole[end..]].concat();
    let end = bytes.len() - 22;
    bytes[end + 8..end + 12].copy_from_slice(&[255; 4]);
    refused(bytes);
    // Every end of a directory is another start.
    let ends = [&whole[..], &whole[whole.len() - 22..].repeat(3000)].concat();
    let start = Instant::now();
    let _ = Pth::parse(ends);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    let compressed =
        archive_as(CompressionMethod::Stored, &[("a/data.pkl", &good()), ("a/data/0", &[0; 15])]);
    says(compressed, "it has 15 bytes and not 4 numbers");
}

//! Power cuts, at every moment of a short story and with every result a disk may leave.

use super::super::chain::seal_of;
use super::super::recovery::Failed;
use super::super::scan::Tail;
use super::model::{Before, Fault, Model, Op, moments};
use super::*;

/// A start, batches of several records, and batches of one.
fn story(model: &Model) {
    let (mut writer, _) = taken_up(model).ok().unwrap();
    for batch in [3, 1] {
        let intents: Vec<Receipt> = (0..batch).map(|_| writer.seal(&intent("story"))).collect();
        writer.flush().unwrap();
        model.acked(intents.last().unwrap().seq);
        let last = intents.iter().map(|intent| writer.seal(&outcome(intent.seq))).last().unwrap();
        writer.flush().unwrap();
        model.acked(last.seq);
    }
}

/// Starts on what a crash left. Checks that nothing told to be there is lost, that nothing is taken for
/// tampering, and that the log is sound again. Gives what the start asked of the disk.
fn survives(image: &[u8], acked: Option<u64>) -> Vec<Op> {
    let model = Model::of(image);
    let opened = match taken_up(&model) {
        Ok((_, opened)) => opened,
        Err(Failed::Tampered(broken)) => panic!("a crash was taken for tampering: {broken}"),
        Err(failed) => panic!("the start failed: {}", failed.within(Path::new("the model"))),
    };
    assert!(acked.is_none_or(|acked| opened.records > acked), "acknowledged records were lost");
    assert!(model.bytes().starts_with(image), "what was there was altered");
    let after = model.survey();
    assert_eq!(after.broken, None);
    assert_eq!(after.tail, Tail::Whole);
    assert_eq!(after.open.keys().copied().collect::<Vec<_>>(), opened.open, "each change is handed on");
    assert!(after.stray.is_empty());
    if let Some(mended) = opened.recovered {
        assert_eq!(after.recoveries.last().map(|recovery| recovery.seq), Some(mended.seq));
    }
    assert!(after.install.is_some());
    model.ops()
}

#[test]
fn no_power_cut_loses_what_was_acknowledged_or_looks_like_tampering() {
    let model = Model::default();
    story(&model);
    let mut crashes = 0;
    for before in moments(b"", &model.ops()) {
        for image in before.crashes(1) {
            survives(&image, before.acked);
            crashes += 1;
        }
    }
    assert!(crashes > 2000, "{crashes}");
}

/// Fifty records, in batches of one to three as they come with one caller and with some.
#[test]
fn no_power_cut_in_a_story_of_fifty_records_loses_or_accuses() {
    let model = Model::default();
    let (mut writer, opened) = taken_up(&model).ok().unwrap();
    assert_eq!(opened.records, 0);
    let mut records = 3;
    let mut batches = [1, 3, 2, 1].into_iter().cycle();
    while records < 50 {
        let size = batches.next().unwrap();
        let intents: Vec<u64> = (0..size).map(|_| writer.seal(&intent("t")).seq).collect();
        writer.flush().unwrap();
        model.acked(*intents.last().unwrap());
        let last = intents.iter().map(|intent| writer.seal(&outcome(*intent))).last().unwrap();
        writer.flush().unwrap();
        model.acked(last.seq);
        records += 2 * intents.len();
    }
    let moments = moments(b"", &model.ops());
    let crashes = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for half in 0..2 {
            let (moments, crashes) = (&moments, &crashes);
            scope.spawn(move || {
                for before in moments.iter().skip(half).step_by(2) {
                    for image in before.crashes(1) {
                        survives(&image, before.acked);
                        crashes.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let crashes = crashes.into_inner();
    assert!(records >= 50 && crashes > 15_000, "{crashes}");
}

#[test]
fn no_second_power_cut_during_the_start_does_either() {
    let model = Model::default();
    story(&model);
    for before in moments(b"", &model.ops()) {
        for image in before.crashes(797) {
            let ops = survives(&image, before.acked);
            for second in moments(&image, &ops) {
                for image in second.crashes(307) {
                    survives(&image, before.acked);
                }
            }
        }
    }
}

#[test]
fn what_a_failed_sync_left_in_memory_alone_is_not_believed() {
    let model = Model::default();
    let (mut writer, _) = taken_up(&model).ok().unwrap();
    let begun: Vec<Receipt> = (0..3).map(|_| writer.seal(&intent("a"))).collect();
    writer.flush().unwrap();
    let (durable, acked) = (model.bytes(), begun.last().map(|last| last.seq));
    model.break_at(Fault::Sync);
    for intent in begun {
        writer.seal(&outcome(intent.seq));
    }
    assert!(writer.flush().is_err());
    let read = model.bytes();
    let before = Before { pending: read[durable.len()..].to_vec(), durable, acked };
    let crashes = before.crashes(1);
    assert!(crashes.len() > 500, "{}", crashes.len());
    for there in crashes {
        let model = Model::after_a_failed_sync(&read, &there);
        taken_up(&model).ok().unwrap();
        // It found what is there, and so a power cut later all of it fits.
        survives(&model.cut_off(), acked);
    }
}

#[test]
fn a_start_that_is_cut_off_a_hundred_times_is_a_start_at_last() {
    let model = Model::default();
    story(&model);
    let mut image = model.bytes();
    image.truncate(image.len() - 100);
    for round in 0..100 {
        let before = image.len();
        let model = Model::of(&image);
        taken_up(&model).ok().unwrap();
        image = model.bytes();
        // In the middle of the recovery record.
        image.truncate(before + 200 + round);
    }
    survives(&image, None);
    let model = Model::of(&image);
    taken_up(&model).ok().unwrap();
    assert_eq!(model.survey().recoveries.len(), 1);
}

#[test]
fn cut_at_any_byte_the_log_keeps_every_whole_record_before() {
    let model = Model::default();
    let (mut writer, _) = taken_up(&model).ok().unwrap();
    let opened = writer.seal(&intent("a"));
    writer.flush().unwrap();
    writer.seal(&outcome(opened.seq));
    writer.flush().unwrap();
    let whole = model.bytes();
    for length in 0..=whole.len() {
        let image = &whole[..length];
        // A record whose newline alone is missing is a record.
        let lines = [image, b"\n"].concat();
        let lines: Vec<&[u8]> = lines.split(|&byte| byte == b'\n').collect();
        let records = lines.iter().filter(|line| seal_of(line).is_some()).count();
        assert_eq!(Model::of(image).survey().records(), records as u64, "cut at {length}");
        let at_end_of_line = length == 0 || image.ends_with(b"\n");
        let model = Model::of(image);
        taken_up(&model).ok().unwrap();
        assert!(model.bytes().starts_with(image));
        let after = model.survey();
        assert_eq!((&after.broken, &after.tail), (&None, &Tail::Whole), "cut at {length}");
        assert_eq!(after.recoveries.len(), usize::from(!at_end_of_line), "cut at {length}");
    }
}

use std::path::PathBuf;

use causeway_apply::Durable;

use super::*;
use crate::testing::{Harm, copy_closed, files, harm, recover, rows, tiny, trace, traced};
use crate::{Db, Settings};

/// An index with a checkpoint at 40, another at 80, and everything up to 100 flushed into files of its own.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    // Large memtables: files appear where this says so.
    let db = Db::open(home.path(), &Settings::default()).unwrap();
    for batch in 1..=100 {
        trace(&db, batch);
        if batch == 40 || batch == 80 {
            db.checkpoint().unwrap();
        }
    }
    home
}

fn tables(home: &tempfile::TempDir, part: &str) -> PathBuf {
    files(&home.path().join("tables"), part).pop().unwrap()
}

#[test]
fn a_damaged_file_is_seen_at_open_and_the_newest_checkpoint_takes_its_place() {
    let cases = [
        ("CURRENT", Harm::Gone),
        ("CURRENT", Harm::Empty),
        ("CURRENT", Harm::Flip(3)),
        ("MANIFEST", Harm::Gone),
        ("MANIFEST", Harm::Empty),
        ("MANIFEST", Harm::Flip(20)),
        (".sst", Harm::Gone),
        (".sst", Harm::Empty),
        (".sst", Harm::Half),
    ];
    for (file, how) in cases {
        let home = home();
        harm(&tables(&home, file), how);
        let refused = Db::open(home.path(), &tiny()).unwrap_err();
        assert!(refused.is_damage(), "{file} {how:?}: {refused}");
        let mut steps = Vec::new();
        let (db, rebuilt) = Db::open_or_rebuild(home.path(), &tiny(), Position(40), &mut |step| {
            steps.push(format!("{step:?}"));
        })
        .unwrap();
        assert_eq!(rebuilt.unwrap().from, Some(Position(80)), "{file} {how:?}");
        assert_eq!(traced(&db), 80);
        assert!(steps.first().unwrap().starts_with("Begun"), "{steps:?}");
        assert!(steps.contains(&"Restored { from: Some(Position(80)) }".to_owned()), "{steps:?}");
        // It goes on from there, and through a restart.
        (81..=120).for_each(|batch| trace(&db, batch));
        drop(db);
        let (db, rebuilt) = recover(home.path(), 40).unwrap();
        assert_eq!((traced(&db), rebuilt), (120, None));
    }
}

#[test]
fn a_database_that_is_gone_is_not_taken_for_a_new_one() {
    let home = home();
    std::fs::remove_dir_all(home.path().join("tables")).unwrap();
    assert!(Db::open(home.path(), &tiny()).unwrap_err().is_damage());
    let (db, _) = recover(home.path(), 40).unwrap();
    assert_eq!(traced(&db), 80);
}

#[test]
fn damage_that_only_a_read_can_find_makes_the_next_open_rebuild() {
    let home = home();
    let db = Db::open(home.path(), &tiny()).unwrap();
    let live = db.rocks.live_files().unwrap();
    drop(db);
    // Nothing reads sessions at open, and what was flushed last is in no checkpoint.
    let sessions = live.iter().filter(|file| file.column_family_name == "session").map(|file| &file.name);
    harm(&home.path().join(format!("tables{}", sessions.max().unwrap())), Harm::Flip(40));
    let db = Db::open(home.path(), &tiny()).unwrap();
    let error = rows(&db).unwrap_err();
    assert_eq!((error.operation, error.family), ("scan", Family::Session), "{error}");
    drop(db);
    let (db, rebuilt) = recover(home.path(), 40).unwrap();
    assert!(rebuilt.unwrap().reason.contains("scan"));
    assert_eq!(traced(&db), 80);
}

#[test]
fn a_flipped_byte_anywhere_in_any_file_never_changes_what_is_read() {
    let healthy = home();
    let db = Db::open(healthy.path(), &tiny()).unwrap();
    let live = db.rocks.live_files().unwrap();
    drop(db);
    let newest = |family: Family| {
        let of_family = live.iter().filter(|file| file.column_family_name == family.name()).map(|file| &file.name);
        of_family.max().unwrap().trim_start_matches('/').to_owned()
    };
    let mut found = 0;
    // One that is read at open, one with a prefix filter, one without; the list of files, which holds it all together.
    let files =
        [newest(Family::Meta), newest(Family::Entry), newest(Family::Session), name(&tables(&healthy, "MANIFEST"))];
    for file in files {
        let length = healthy.path().join("tables").join(&file).metadata().unwrap().len();
        for at in (0..length).step_by(usize::try_from(length / 14).unwrap()) {
            let home = tempfile::tempdir().unwrap();
            copy_closed(healthy.path(), home.path());
            harm(&home.path().join("tables").join(&file), Harm::Flip(at));
            // The open sees it, or a read does and the next open acts on it, or the byte meant nothing.
            let first = recover(home.path(), 40).unwrap().0;
            let clean = rows(&first).is_ok();
            drop(first);
            let (db, rebuilt) = recover(home.path(), 40).unwrap();
            assert_eq!(rebuilt.is_none(), clean, "{file} {at}");
            let last = traced(&db);
            // 80 is the checkpoint; a list of files that lost its tail is an older state, whole.
            assert!([40, 80, 100].contains(&last), "{file} {at}: {last}");
            found += u32::from(last < 100);
        }
    }
    assert!(found > 30, "only {found} of the flips mattered");
}

fn name(file: &Path) -> String {
    file.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn a_bad_checkpoint_is_passed_over_for_the_one_before_and_removed() {
    let home = home();
    let newest = home.path().join("checkpoints/00000000000000000080-0");
    let older = files(&home.path().join("checkpoints/00000000000000000040-0"), ".sst");
    let own =
        files(&newest, ".sst").into_iter().find(|file| older.iter().all(|other| other.file_name() != file.file_name()));
    harm(&own.unwrap(), Harm::Flip(40));
    let mut steps = Vec::new();
    let rebuilt = rebuild(home.path(), &tiny(), Position(0), &mut |step| steps.push(format!("{step:?}"))).unwrap();
    assert_eq!((rebuilt.from, rebuilt.rejected), (Some(Position(40)), vec![Position(80)]));
    assert!(steps.iter().any(|step| step.starts_with("Rejected { checkpoint: Position(80)")), "{steps:?}");
    assert!(!newest.try_exists().unwrap());
    assert_eq!(traced(&Db::open(home.path(), &tiny()).unwrap()), 40);
}

#[test]
fn with_no_good_checkpoint_the_tables_are_empty_if_the_log_has_everything() {
    let home = home();
    for checkpoint in files(&home.path().join("checkpoints"), "") {
        harm(&files(&checkpoint, "MANIFEST").pop().unwrap(), Harm::Half);
    }
    harm(&tables(&home, "CURRENT"), Harm::Gone);
    let before = files(home.path(), "");
    // The log begins above zero: empty tables would silently lack what came before.
    let refused = recover(home.path(), 40).unwrap_err();
    assert!(matches!(refused, Error::Unrecoverable { log_first: Position(40), .. }), "{refused}");
    assert_eq!(files(home.path(), ""), before);
    assert_eq!(files(&home.path().join("checkpoints"), "").len(), 2);
    let (db, rebuilt) = recover(home.path(), 0).unwrap();
    assert_eq!(rebuilt.unwrap().rejected, [Position(80), Position(40)]);
    assert_eq!(traced(&db), 0);
}

#[test]
fn tables_that_end_below_the_log_are_replaced_or_refused() {
    let home = home();
    let (_, rebuilt) = recover(home.path(), 100).unwrap();
    assert_eq!(rebuilt, None);
    let refused = recover(home.path(), 101).unwrap_err();
    assert!(refused.to_string().contains("it ends at 100"), "{refused}");
    // Refused, not lost.
    assert_eq!(traced(&recover(home.path(), 100).unwrap().0), 100);
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(recover(empty.path(), 1), Err(Error::Unrecoverable { .. })));
}

#[test]
fn a_rebuild_that_was_cut_off_begins_again() {
    let home = home();
    harm(&tables(&home, "CURRENT"), Harm::Empty);
    let directory = Directory::open(home.path()).unwrap();
    // As far as it comes before the new tables are whole.
    directory.distrust("its rebuild was cut off").unwrap();
    std::fs::remove_dir_all(directory.tables()).unwrap();
    std::fs::create_dir(directory.tables()).unwrap();
    let some = files(&directory.checkpoint(*directory.checkpoints().unwrap().last().unwrap()), ".sst").pop().unwrap();
    std::fs::hard_link(&some, directory.tables().join(some.file_name().unwrap())).unwrap();
    let (db, rebuilt) = recover(home.path(), 40).unwrap();
    assert_eq!(rebuilt.unwrap().from, Some(Position(80)));
    assert_eq!(traced(&db), 80);
}

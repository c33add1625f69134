use super::*;

fn write(file: &Arc<dyn File>, at: u64, bytes: &[u8]) -> io::Result<()> {
    file.write_at(&mut [IoSlice::new(bytes)], at)
}

#[test]
fn what_was_synced_survives_every_crash() {
    for seed in 0..200 {
        let sim = Sim::new(seed);
        let (dir, path) = (Path::new("/d"), Path::new("/d/f"));
        sim.create_dir(dir).unwrap();
        let file = sim.open(path, Mode::Create).unwrap();
        write(&file, 0, &[1; 3000]).unwrap();
        file.sync_data().unwrap();
        sim.sync_dir(dir).unwrap();
        write(&file, 3000, &[2; 3000]).unwrap();
        sim.crash();
        let contents = sim.contents(path).unwrap();
        assert_eq!(contents[..3000], [1; 3000], "seed {seed}");
        assert!(contents[3000..].iter().all(|&byte| byte == 0 || byte == 2), "seed {seed}");
        assert!(write(&file, 0, b"x").is_err(), "a handle from before the crash is dead");
    }
}

#[test]
fn what_was_not_synced_is_kept_lost_or_torn_by_the_seed() {
    let (mut kept, mut lost, mut torn) = (0, 0, 0);
    for seed in 0..200 {
        let sim = Sim::new(seed);
        let (dir, path) = (Path::new("/d"), Path::new("/d/f"));
        sim.create_dir(dir).unwrap();
        let file = sim.open(path, Mode::Create).unwrap();
        write(&file, 0, &[0; 4096]).unwrap();
        file.sync_data().unwrap();
        sim.sync_dir(dir).unwrap();
        write(&file, 0, &[7; 4096]).unwrap();
        sim.crash();
        match sim.contents(path).unwrap().into_iter().map(usize::from).sum::<usize>() / 7 {
            0 => lost += 1,
            4096 => kept += 1,
            _ => torn += 1,
        }
    }
    assert!(kept > 20 && lost > 20 && torn > 20, "kept {kept}, lost {lost}, torn {torn}");
}

#[test]
fn a_name_is_durable_only_once_its_directory_is_synced() {
    let mut lost = 0;
    for seed in 0..100 {
        let sim = Sim::new(seed);
        sim.create_dir(Path::new("/d")).unwrap();
        let file = sim.open(Path::new("/d/f"), Mode::Create).unwrap();
        write(&file, 0, b"x").unwrap();
        file.sync_data().unwrap();
        sim.crash();
        lost += u32::from(sim.contents(Path::new("/d/f")).is_none());
    }
    assert!((20..80).contains(&lost), "{lost} of 100 lost");
}

#[test]
fn after_a_failed_sync_no_later_one_brings_the_data_back() {
    let sim = Sim::new(1);
    sim.create_dir(Path::new("/d")).unwrap();
    let file = sim.open(Path::new("/d/f"), Mode::Create).unwrap();
    sim.sync_dir(Path::new("/d")).unwrap();
    write(&file, 0, b"lost").unwrap();
    sim.fail(Op::Sync, 0, 1, io::ErrorKind::Other);
    assert!(file.sync_data().is_err());
    sim.crash();
    assert_eq!(sim.contents(Path::new("/d/f")).unwrap(), b"");
}

#[test]
fn a_full_disk_takes_what_fits_and_says_so() {
    let sim = Sim::new(1);
    sim.set_capacity(Some(10));
    let file = sim.open(Path::new("/f"), Mode::Create).unwrap();
    let error = write(&file, 4, &[1; 10]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(sim.contents(Path::new("/f")).unwrap(), [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]);
    write(&file, 0, &[2; 4]).unwrap();
}

#[test]
fn the_same_seed_and_calls_give_the_same_losses() {
    let run = |seed| {
        let sim = Sim::new(seed);
        let file = sim.open(Path::new("/f"), Mode::Create).unwrap();
        sim.sync_dir(Path::new("/")).unwrap();
        for i in 0..20 {
            write(&file, i * 700, &[u8::try_from(i).unwrap() + 1; 700]).unwrap();
        }
        sim.crash();
        sim.contents(Path::new("/f"))
    };
    assert!((0..50).all(|seed| run(seed) == run(seed)));
    assert!((0..50).any(|seed| run(seed) != run(seed + 1)));
}

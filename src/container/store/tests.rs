use super::super::record::sample;
use super::*;

struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Root {
        let path = std::env::temp_dir().join(format!("runw-store-{name}-{}", std::process::id()));
        Root(path)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn id(text: &str) -> Id {
    text.parse().unwrap()
}

#[test]
fn a_name_is_given_once() {
    let root = Root::new("once");
    let store = Store::make(&root.0).unwrap();
    let first = store.create(&id("a")).unwrap();
    let second = store.create(&id("a")).unwrap_err();
    assert_eq!(second.to_string(), "container with given ID already exists");
    first.remove().unwrap();
    store.create(&id("a")).unwrap();
}

#[test]
fn opening_makes_nothing() {
    let root = Root::new("nothing");
    assert!(Store::open(&root.0).unwrap().is_none());
    assert!(!root.0.exists());
    let store = Store::make(&root.0).unwrap();
    let missing = store.folder(&id("a")).unwrap_err();
    assert_eq!(missing.to_string(), "container does not exist");
}

#[test]
fn a_record_goes_from_creating_to_complete() {
    let root = Root::new("record");
    let store = Store::make(&root.0).unwrap();
    let folder = store.create(&id("a")).unwrap();
    assert_eq!(folder.load().unwrap(), None);
    let record = sample("a");
    folder.save(&record).unwrap();
    assert!(folder.load().unwrap().unwrap().creating);
    folder.commit().unwrap();
    let saved = store.folder(&id("a")).unwrap().load().unwrap().unwrap();
    assert_eq!(
        saved,
        Saved {
            record,
            creating: false
        }
    );
}

#[test]
fn the_lock_keeps_others_out_until_it_is_dropped() {
    let root = Root::new("lock");
    let store = Store::make(&root.0).unwrap();
    let held = store.create(&id("a")).unwrap();
    let other = store.folder(&id("a")).unwrap().try_lock().unwrap();
    assert!(other.is_err());
    held.unlock();
    assert!(store.folder(&id("a")).unwrap().try_lock().unwrap().is_ok());
}

#[test]
fn a_create_under_way_is_told_from_one_that_was_killed() {
    let root = Root::new("killed");
    let store = Store::make(&root.0).unwrap();
    let held = store.create(&id("a")).unwrap();
    let mut record = sample("a");
    record.init.pid = 0;
    held.save(&record).unwrap();
    let status = || store.folder(&id("a")).unwrap().status().unwrap().1;
    assert_eq!(status(), Status::Creating);
    assert_eq!(held.status().unwrap().1, Status::Stopped);
    held.unlock();
    assert_eq!(status(), Status::Stopped);
}

#[test]
fn who_waited_for_a_deleted_container_is_told() {
    let root = Root::new("deleted");
    let store = Store::make(&root.0).unwrap();
    let held = store.create(&id("a")).unwrap();
    let late = store.folder(&id("a")).unwrap();
    held.remove().unwrap();
    assert_eq!(late.lock().unwrap_err().to_string(), "container does not exist");
}

#[test]
fn a_broken_record_names_its_file() {
    let root = Root::new("broken");
    let store = Store::make(&root.0).unwrap();
    let folder = store.create(&id("a")).unwrap();
    std::fs::write(folder.path().join(RECORD), "{").unwrap();
    let error = folder.load().unwrap_err().to_string();
    assert!(
        error.contains("state.json") && error.contains("not a container's record"),
        "{error}"
    );
}

#[test]
fn ids_are_folders_with_proper_names() {
    let root = Root::new("ids");
    let store = Store::make(&root.0).unwrap();
    for name in ["b", "a"] {
        store.create(&id(name)).unwrap();
    }
    std::fs::write(root.0.join("file"), "").unwrap();
    std::fs::create_dir(root.0.join("no id")).unwrap();
    assert_eq!(store.ids().unwrap(), [id("a"), id("b")]);
}

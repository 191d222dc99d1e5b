use super::*;

/// A folder that looks like resctrl; unlike the real one it does not fill new groups with files.
struct Fake(Resctrl);

impl Fake {
    fn new(test: &str) -> Fake {
        let root = std::env::temp_dir().join(format!("runw-rdt-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for resource in ["L3", "MB"] {
            fs::create_dir_all(root.join("info").join(resource)).unwrap();
            fs::write(root.join("info").join(resource).join("num_closids"), "8").unwrap();
        }
        fs::create_dir_all(root.join("info/L3_MON")).unwrap();
        fs::write(root.join("info/MB/bandwidth_gran"), "10\n").unwrap();
        fs::write(root.join("info/last_cmd_status"), "ok\n").unwrap();
        fs::create_dir(root.join("mon_groups")).unwrap();
        Fake(Resctrl { root })
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.root.join(file)).unwrap()
    }

    fn class(&self, name: &str, schemata: &str) {
        fs::create_dir_all(self.0.root.join(name).join("mon_groups")).unwrap();
        fs::write(self.0.root.join(name).join("schemata"), schemata).unwrap();
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0.root);
    }
}

fn rdt(clos: Option<&str>, schemata: &[&str]) -> IntelRdt {
    IntelRdt {
        clos_id: clos.map(str::to_owned),
        schemata: schemata.iter().map(|s| (*s).to_owned()).collect(),
        enable_monitoring: false,
    }
}

#[test]
fn a_group_of_the_containers_own_is_made_and_marked_for_removal() {
    let fake = Fake::new("own");
    let group = fake.0.join(&rdt(None, &["L3:0=f", "MB:0=20"]), "c", 42).unwrap();
    assert_eq!(fake.read("c/schemata"), "L3:0=f\nMB:0=20\n");
    assert_eq!(fake.read("c/tasks"), "42");
    assert_eq!(group.made, [fake.0.root.join("c")]);
}

#[test]
fn a_named_class_stays() {
    let fake = Fake::new("named");
    let group = fake.0.join(&rdt(Some("gold"), &["L3:0=f"]), "c", 42).unwrap();
    assert_eq!(fake.read("gold/schemata"), "L3:0=f\n");
    assert!(group.made.is_empty());
    fake.class("ready", "L3:0=ff\n");
    fake.0.join(&rdt(Some("ready"), &[]), "c", 7).unwrap();
    assert_eq!(fake.read("ready/schemata"), "L3:0=ff\n");
    let e = fake.0.join(&rdt(Some("absent"), &[]), "c", 7).unwrap_err().to_string();
    assert!(
        e.contains("linux.intelRdt.closID") && e.contains("does not exist"),
        "{e}"
    );
}

#[test]
fn the_root_class_is_the_root_folder() {
    let fake = Fake::new("root");
    let group = fake.0.join(&rdt(Some("/"), &[]), "c", 42).unwrap();
    assert_eq!(fake.read("tasks"), "42");
    assert!(group.made.is_empty());
}

#[test]
fn monitoring_has_a_group_that_goes_with_the_container() {
    let fake = Fake::new("mon");
    fake.class("gold", "");
    let group = fake
        .0
        .join(
            &IntelRdt {
                enable_monitoring: true,
                ..rdt(Some("gold"), &[])
            },
            "c",
            42,
        )
        .unwrap();
    let monitor = fake.0.root.join("gold/mon_groups/c");
    assert_eq!(fs::read_to_string(monitor.join("tasks")).unwrap(), "42");
    group.add(43).unwrap();
    assert_eq!(fake.read("gold/tasks"), "43");
    assert_eq!(fs::read_to_string(monitor.join("tasks")).unwrap(), "43");
    // The real file system has the files of a group go with its folder.
    fs::remove_file(monitor.join("tasks")).unwrap();
    group.remove().unwrap();
    assert!(!monitor.exists() && fake.0.root.join("gold").exists());
    group.remove().unwrap();
}

#[test]
fn an_existing_class_with_other_values_is_refused() {
    let fake = Fake::new("other");
    fake.class("gold", "    L3:0=0ff;1=fff\n    MB:0=  30;1= 100\n");
    fake.0.join(&rdt(Some("gold"), &["L3:0=ff"]), "c", 1).unwrap();
    let e = fake
        .0
        .join(&rdt(Some("gold"), &["L3:0=f0"]), "c", 1)
        .unwrap_err()
        .to_string();
    assert!(e.contains("other values"), "{e}");
}

#[test]
fn resources_the_machine_lacks_and_reserved_names_are_refused() {
    let fake = Fake::new("lacks");
    let e = fake.0.join(&rdt(None, &["L2:0=f"]), "c", 1).unwrap_err().to_string();
    assert_eq!(
        e,
        "config.json: linux.intelRdt: this machine does not control L2, only: L3, MB"
    );
    assert!(fake.0.join(&rdt(None, &[]), "info", 1).is_err());
    assert!(!fake.0.root.join("c").exists());
}

#[test]
fn values_are_compared_as_numbers() {
    let current = "L3:0=00ff;1=fff\n    MB:0=  30;1= 100\n";
    assert!(is_in_force("L3:1=FFF;0=ff", current, 10));
    assert!(!is_in_force("L3:2=ff", current, 10));
    assert!(is_in_force("MB:0=21", current, 10));
    assert!(!is_in_force("MB:0=20", current, 10));
    assert!(!is_in_force("MB:0=31", current, 10));
    assert!(!is_in_force("L2:0=ff", current, 10));
    assert!(!is_in_force("rubbish", current, 10));
}

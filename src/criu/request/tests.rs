use super::*;

/// The options of an encoded request.
fn options(request: &Request<'_>) -> Vec<(u64, String, i32)> {
    let bytes = request.encode();
    let all = fields(&bytes).unwrap();
    let (_, inside) = all.iter().find(|(field, _)| *field == 2).unwrap();
    let inside = inner(*inside).unwrap();
    inside
        .into_iter()
        .map(|(field, v)| (field, v.text(), v.int()))
        .collect()
}

#[test]
fn a_dump_carries_what_was_chosen_and_nothing_else() {
    let sample = Options {
        log_file: "dump.log",
        pid: Some(7),
        root: Some("/b/rootfs".into()),
        page_server: Some(("::1".into(), 27)),
        external_mounts: vec![("/a".into(), "/a".into())],
        choices: Choices {
            shell_job: true,
            cgroups: CgroupMode::Ignore,
            network_lock: Some(NetworkLock::Skip),
            ..Choices::default()
        },
        ..Options::default()
    };
    let sent = options(&Request::Dump(&sample));
    let number = |field| sent.iter().find(|(f, ..)| *f == field).map(|(_, _, n)| *n);
    assert_eq!(
        (number(1), number(2), number(34), number(64)),
        (Some(-1), Some(7), Some(0), Some(3))
    );
    assert_eq!(
        (number(7), number(5), number(26), number(15)),
        (Some(1), None, None, None)
    );
    let text = |field| sent.iter().find(|(f, ..)| *f == field).map(|(_, t, _)| t.as_str());
    assert_eq!(
        (text(10), text(13), text(51)),
        (Some("dump.log"), Some("/b/rootfs"), None)
    );
    assert_eq!(text(23), Some("\n\u{2}/a\u{12}\u{2}/a"));
    assert_eq!(text(11), Some("\n\u{3}::1\u{10}\u{1b}"));
}

#[test]
fn a_restore_makes_the_tree_a_child_of_the_caller() {
    let sample = Options {
        parent_image: Some("../1".into()),
        ..Options::default()
    };
    let sent: Vec<u64> = options(&Request::Restore(&sample)).iter().map(|(f, ..)| *f).collect();
    assert!([6, 14, 15, 26].iter().all(|field| sent.contains(field)), "{sent:?}");
}

#[test]
fn answers_of_criu_are_understood() {
    let notify = Message::new()
        .number(1, kind::NOTIFY)
        .flag(2, true)
        .message(5, &Message::new().text(1, "post-restore").number(2, 42))
        .into_bytes();
    let notify = Response::decode(&notify).unwrap();
    assert_eq!(
        (notify.script.as_str(), notify.pid, notify.success),
        ("post-restore", 42, true)
    );
    let failed = Message::new()
        .number(1, kind::DUMP)
        .number(2, 0)
        .number(7, 13)
        .text(9, "no");
    let failed = Response::decode(&failed.into_bytes()).unwrap();
    assert_eq!(
        (failed.success, failed.errno, failed.complaint.as_str()),
        (false, 13, "no")
    );
    let version = Message::new().message(10, &Message::new().number(1, 4).number(2, 1));
    assert_eq!(Response::decode(&version.into_bytes()).unwrap().version, (4, 1));
    let restored = Message::new().message(4, &Message::new().number(1, 9));
    assert_eq!(Response::decode(&restored.into_bytes()).unwrap().pid, 9);
    let features = Message::new().message(8, &Message::new().number(1, 0).number(2, 1));
    let features = Response::decode(&features.into_bytes()).unwrap();
    assert!(!features.mem_track && features.lazy_pages);
}

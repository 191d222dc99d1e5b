//! Configs that a runtime must refuse.

use super::bundle::Bundle;

/// Creating the container fails with exit code 1 and one line on stderr that has one of `words`, and for us the
/// JSON path of the culprit; and nothing is left behind: no state, cgroup, mount or process.
#[track_caller]
pub fn assert_refused(bundle: &Bundle, json_path: &str, words: &[&str]) {
    let output = bundle.create().fails_with_one_of(words).at(json_path);
    assert!(
        output.stdout.is_empty(),
        "an error does not belong on stdout\n{}",
        output.story()
    );
    bundle.assert_no_trace();
    assert!(!bundle.pid_file().exists(), "a failed create leaves no pid file");
}

//! Logs of the processes that a test uses, whose ends are shown when it fails. Output of a test that passes is not shown.

use std::cell::RefCell;
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::Once;

/// So much of the end of a log is shown when a test fails, in lines.
const LOG_TAIL: usize = 150;

thread_local! {
    /// The logs of what the test of this thread uses.
    static LOGS: RefCell<Vec<PathBuf>> = const { RefCell::new(Vec::new()) };
}

/// Has a panic on this thread show the end of this log.
pub(crate) fn show_on_panic(log: PathBuf) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            before(info);
            LOGS.with_borrow(|logs| logs.iter().for_each(|log| print_tail(log)));
        }));
    });
    LOGS.with_borrow_mut(|logs| {
        if !logs.contains(&log) {
            logs.push(log);
        }
    });
}

/// The log goes with its owner.
pub(crate) fn forget(log: &Path) {
    LOGS.with_borrow_mut(|logs| logs.retain(|known| known != log));
}

#[expect(clippy::print_stderr, reason = "it is what a failed test has to say")]
fn print_tail(log: &Path) {
    let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    eprintln!("--- the end of {}", log.display());
    for line in &lines[lines.len().saturating_sub(LOG_TAIL)..] {
        eprintln!("{line}");
    }
    eprintln!("---");
}

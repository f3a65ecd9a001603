//! Other people's programs: grpcurl, PostgreSQL's dump, grep. `cargo xtask test` provides and names them; without it
//! they are looked for on the PATH. A missing one fails the test that needs it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::Value;

use crate::{Finished, Shop, finish};

/// A call over gRPC, made by a process of its own.
const GRPCURL_DEADLINE: Duration = Duration::from_secs(60);
/// A dump of what one test has stored.
const DUMP_DEADLINE: Duration = Duration::from_secs(120);
/// As in the data folder's own description of its server.
const ADMIN_ROLE: &str = "storeline_admin";

/// grpcurl without TLS.
pub async fn grpcurl(arguments: &[&str]) -> Finished {
    let program = std::env::var_os("STORELINE_TEST_GRPCURL").unwrap_or_else(|| "grpcurl".into());
    let mut command = Command::new(program);
    command.arg("-plaintext").args(arguments);
    finish(command, GRPCURL_DEADLINE).await
}

/// Every database of the shop's own server as SQL text.
///
/// # Panics
/// When the shop's data folder does not lead to its server, or the dump fails.
pub async fn dump(shop: &Shop) -> String {
    let mut command = postgres_tool(shop, "pg_dumpall");
    command.arg("--no-role-passwords");
    finish(command, DUMP_DEADLINE).await.ok()
}

/// Changes the database of a service behind the shop's back.
///
/// # Panics
/// When the shop's data folder does not lead to its server, or the statement fails.
pub async fn tamper(shop: &Shop, service: &str, statement: &str) {
    let mut command = postgres_tool(shop, "psql");
    command.args(["--no-psqlrc", "--set=ON_ERROR_STOP=1", "--command", statement]);
    command.arg(format!("--dbname=storeline_{service}"));
    finish(command, DUMP_DEADLINE).await.ok();
}

/// Asks the database of a service, and returns the rows as psql prints them without decoration.
///
/// # Panics
/// When the shop's data folder does not lead to its server, or the statement fails.
pub async fn ask(shop: &Shop, service: &str, statement: &str) -> String {
    let mut command = postgres_tool(shop, "psql");
    command.args([
        "--no-psqlrc",
        "--set=ON_ERROR_STOP=1",
        "--tuples-only",
        "--no-align",
        "--command",
        statement,
    ]);
    command.arg(format!("--dbname=storeline_{service}"));
    finish(command, DUMP_DEADLINE).await.ok().trim().to_owned()
}

/// Asks a database by its URL, and returns the rows as psql prints them without decoration.
///
/// # Panics
/// When the statement fails.
pub async fn ask_database(url: &str, statement: &str) -> String {
    let mut command = Command::new(postgres_program("psql"));
    command.args(["--no-psqlrc", "--set=ON_ERROR_STOP=1", "--tuples-only", "--no-align", "--command"]);
    command.args([statement, url]);
    finish(command, DUMP_DEADLINE).await.ok().trim().to_owned()
}

fn postgres_program(name: &str) -> PathBuf {
    std::env::var_os("STORELINE_TEST_POSTGRES_BIN").map(PathBuf::from).unwrap_or_default().join(name)
}

/// One of PostgreSQL's programs, pointed at the shop's own server.
fn postgres_tool(shop: &Shop, name: &str) -> Command {
    let state: Value = serde_json::from_str(&shop.secret("postgres.json")).expect("postgres.json is JSON");
    let mut command = Command::new(postgres_program(name));
    command
        .args(["--host=127.0.0.1", "--no-password"])
        .arg(format!("--port={}", state["port"]))
        .arg(format!("--username={ADMIN_ROLE}"))
        .env("PGPASSWORD", shop.secret("postgres-admin.password"));
    command
}

/// The files below `folder` that hold one of `needles`, byte by byte.
///
/// # Panics
/// When grep cannot be run.
pub async fn files_with(folder: &Path, needles: &[String]) -> Vec<String> {
    let mut command = Command::new("grep");
    command.args(["--recursive", "--text", "--files-with-matches", "--fixed-strings"]);
    for needle in needles {
        command.arg("-e").arg(needle);
    }
    command.arg("--").arg(folder).env("LC_ALL", "C");
    // PostgreSQL may remove a file while grep is on its way to it, which is no match.
    finish(command, DUMP_DEADLINE).await.stdout.lines().map(str::to_owned).collect()
}

/// Shorter pieces of base64 are found by chance.
const SHORTEST_PIECE: usize = 12;

/// How a text may stand in a dump: as it is, in hexadecimal, and, if it is long enough to be told from chance, inside of
/// base64 at each of its three alignments.
pub fn disguises(text: &str) -> Vec<String> {
    let hexadecimal: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut disguises = vec![text.to_owned(), hexadecimal];
    for before in 0..3 {
        let padded = [&vec![0; before][..], text.as_bytes()].concat();
        let encoded = STANDARD_NO_PAD.encode(&padded);
        // The characters at both ends depend on the neighbours as well.
        let whole = padded.len() / 3 * 4;
        let begin = if before == 0 { 0 } else { 4 };
        let piece = &encoded[begin..whole];
        if piece.len() >= SHORTEST_PIECE {
            disguises.push(piece.to_owned());
        }
    }
    disguises
}

/// The PATH for scripts, with the tools that were named in front.
///
/// # Panics
/// When a named tool's folder cannot stand in a PATH.
pub fn path() -> OsString {
    let named = ["STORELINE_TEST_GRPCURL", "STORELINE_TEST_CURL"].into_iter().filter_map(std::env::var_os);
    let folders: Vec<PathBuf> =
        named.filter_map(|tool| Path::new(&tool).parent().map(Path::to_owned)).collect();
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(folders.into_iter().chain(std::env::split_paths(&inherited)))
        .expect("plain folder names")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_in_base64_wherever_it_stands() {
        let secret = "Unter den Linden 77";
        for before in ["", "a", "ab", "abc", "abcd"] {
            for after in ["", "x", "xy", "xyz"] {
                let stored = STANDARD_NO_PAD.encode(format!("{before}{secret}{after}"));
                assert!(disguises(secret).iter().any(|disguise| stored.contains(disguise)), "{stored}");
            }
        }
    }
}

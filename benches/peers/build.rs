//! Takes the tables of two libraries from their own packages. One has them only in an example file, the other makes them
//! with a literal that PostgreSQL below 16 does not read, which is written in decimal here.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The crate's statements, in the order of its own migrator.
const DISINTEGRATE: [&str; 5] = [
    "seq_event_event_id",
    "table_event",
    "idx_event_type",
    "fn_event_store_current_epoch",
    "fn_event_store_begin_epoch",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let cargo = std::env::var("CARGO")?;
    // Only what this target needs: the packages of other platforms may never have been fetched.
    let target = std::env::var("TARGET")?;
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline", "--filter-platform", &target])
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;

    let folder = folder_of(&metadata, "disintegrate-postgres")?.join("src/event_store/sql");
    let mut disintegrate = String::new();
    for name in DISINTEGRATE {
        let statement = std::fs::read_to_string(folder.join(format!("{name}.sql")))?;
        disintegrate.push_str(&statement.replace("0xFFFFFFFF", "4294967295"));
        disintegrate.push_str(";\n");
    }
    std::fs::write(out.join("disintegrate.sql"), disintegrate)?;

    let example = std::fs::read_to_string(folder_of(&metadata, "postgres-es")?.join("db/init.sql"))?;
    let tables = example.split(';').filter(|statement| statement.contains("CREATE TABLE"));
    let tables: String = tables.map(|statement| format!("{statement};\n")).collect();
    let begin = tables.find("CREATE TABLE").ok_or("postgres-es has no tables in its example")?;
    std::fs::write(out.join("postgres_es.sql"), &tables[begin..])?;
    Ok(())
}

fn folder_of(metadata: &serde_json::Value, package: &str) -> Result<PathBuf, Box<dyn Error>> {
    let packages = metadata["packages"].as_array().ok_or("cargo metadata has no packages")?;
    let found = packages.iter().find(|candidate| candidate["name"] == package);
    let manifest = found.and_then(|found| found["manifest_path"].as_str()).ok_or("a package is missing")?;
    Ok(Path::new(manifest).parent().ok_or("a manifest has no folder")?.to_owned())
}

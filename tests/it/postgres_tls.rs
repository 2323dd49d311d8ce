//! TLS to `PostgreSQL`, channel binding, client certificates, several hosts: for the control plane and
//! the data plane alike.

use std::any::Any;
use std::fmt::Write as _;
use std::future::Future;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SignatureAlgorithm,
};
use rowgate::dev::postgres::{Cluster, ClusterOptions};
use rowgate::pg::connect::Connector;
use rowgate::pg::control;
use rowgate::pg::sql::OwnSql;
use rowgate::pg::tls::tls_server_end_point;
use rowgate::pg::url::ConnectUrl;

use super::harness::cluster::{binaries, connect};

/// Logs in with a password.
const USER: &str = "somebody";
const PASSWORD: &str = "test-password";
/// Logs in with a certificate.
const CERTIFIED: &str = "certified";
const LIMIT: Duration = Duration::from_secs(5);

/// An open connection: its backend, and what keeps it open.
struct Open {
    pid: i32,
    _connection: Box<dyn Any>,
}

type Attempt = Pin<Box<dyn Future<Output = Result<Open, String>>>>;
/// Connects with a URL; the error's text says why not.
type Connect = fn(ConnectUrl) -> Attempt;

/// Both planes must behave alike.
const PLANES: [(&str, Connect); 2] = [("control", control_plane), ("data", data_plane)];

fn control_plane(url: ConnectUrl) -> Attempt {
    Box::pin(async move {
        let client = control::connect(&url).await.map_err(|error| error.to_string())?;
        let row = client.query_one("select pg_backend_pid()", &[]).await.unwrap();
        Ok(Open { pid: row.get(0), _connection: Box::new(client) })
    })
}

fn data_plane(url: ConnectUrl) -> Attempt {
    Box::pin(async move {
        let connector = Connector {
            url,
            settings: Arc::new([]),
            session_keys: None,
            prepare: Some(OwnSql("select 1")),
            timeout: LIMIT,
            slots: None,
        };
        let connection = connector.connect().await.map_err(|error| error.to_string())?;
        Ok(Open { pid: connection.pid(), _connection: Box::new(connection) })
    })
}

/// A server with a certificate for `localhost`, but not for `127.0.0.1`.
struct TlsServer {
    cluster: Cluster,
    directory: tempfile::TempDir,
}

impl TlsServer {
    fn shared() -> &'static Self {
        static SERVER: OnceLock<TlsServer> = OnceLock::new();
        SERVER.get_or_init(|| {
            let directory = tempfile::tempdir().unwrap();
            let data_dir = std::env::temp_dir().join(format!("rowgate-tls-{}", std::process::id()));
            let options =
                ClusterOptions { durable: false, ephemeral: true, ..ClusterOptions::new(data_dir) };
            let cluster = Cluster::start(&binaries(), &options).unwrap();
            let server = Self { cluster, directory };
            server.issue_certificates();
            std::thread::scope(|scope| {
                let configure = || runtime().block_on(server.configure());
                scope.spawn(configure).join().expect("configuring the TLS server failed");
            });
            server
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn issue_certificates(&self) {
        let ca = authority("Rowgate test authority");
        let stranger = authority("A stranger's authority");
        let key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let server = server.signed_by(&key, &ca).unwrap();
        let client_key = KeyPair::generate().unwrap();
        let mut client = CertificateParams::new([]).unwrap();
        client.distinguished_name.push(DnType::CommonName, CERTIFIED);
        let client = client.signed_by(&client_key, &ca).unwrap();
        for (name, pem) in [
            ("ca.pem", ca.pem()),
            ("stranger.pem", stranger.pem()),
            ("server.pem", server.pem()),
            ("server.key", key.serialize_pem()),
            ("client.pem", client.pem()),
            ("client.key", client_key.serialize_pem()),
        ] {
            std::fs::write(self.file(name), pem).unwrap();
        }
    }

    /// Hands the server's files to the server's user and switches TLS on.
    async fn configure(&self) {
        let home = self.cluster.dir();
        let owner = std::fs::metadata(home.join("data")).unwrap();
        let mut sql = String::new();
        for (setting, name) in [
            ("ssl_ca_file", "ca.pem"),
            ("ssl_cert_file", "server.pem"),
            ("ssl_key_file", "server.key"),
        ] {
            let path = home.join(name);
            std::fs::copy(self.file(name), &path).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
            writeln!(sql, "alter system set {setting} = '{}';", path.display()).unwrap();
        }
        let superuser = connect(&self.cluster.superuser_url()).await;
        for statement in sql.lines().chain(["alter system set ssl = on"]) {
            superuser.batch_execute(statement).await.unwrap();
        }
        let roles = format!(
            "create role {USER} login password '{PASSWORD}'; create role {CERTIFIED} login; \
             grant pg_read_all_stats to {USER}"
        );
        superuser.batch_execute(&roles).await.unwrap();
        let row = superuser.query_one("show hba_file", &[]).await.unwrap();
        let hba = row.get::<_, String>(0);
        let rules = std::fs::read_to_string(&hba).unwrap();
        std::fs::write(&hba, format!("hostssl all {CERTIFIED} all cert\n{rules}")).unwrap();
        superuser.batch_execute("select pg_reload_conf()").await.unwrap();
        // The postmaster takes up the files in its own time.
        for _ in 0..100 {
            let url = format!("{}?sslmode=require", self.cluster.superuser_url());
            if control_plane(ConnectUrl::parse(&url).unwrap()).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the server did not switch TLS on");
    }

    /// A URL for this server, with `{ca}`, `{stranger}` … replaced by paths.
    fn url(&self, user: &str, host: &str, parameters: &str) -> ConnectUrl {
        let mut parameters = parameters.to_owned();
        for name in ["ca.pem", "stranger.pem", "server.pem", "client.pem", "client.key"] {
            let path = self.file(name).display().to_string();
            parameters = parameters.replace(&format!("{{{name}}}"), &path);
        }
        let login = if user == CERTIFIED { user.to_owned() } else { format!("{user}:{PASSWORD}") };
        let port = self.cluster.port();
        let text = format!("postgresql://{login}@{host}:{port}/postgres?{parameters}");
        ConnectUrl::parse(&text).unwrap()
    }

    async fn is_encrypted(&self, open: &Open) -> bool {
        let superuser = connect(&self.cluster.superuser_url()).await;
        let query = "select ssl from pg_stat_ssl where pid = $1";
        superuser.query_one(query, &[&open.pid]).await.unwrap().get(0)
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Both planes connect, encrypted or not.
#[track_caller]
fn connects(user: &str, host: &str, parameters: &str, encrypted: bool) {
    let server = TlsServer::shared();
    for (plane, connect) in PLANES {
        runtime().block_on(async {
            let url = server.url(user, host, parameters);
            let open = connect(url).await.unwrap_or_else(|e| panic!("{plane}, {parameters}: {e}"));
            assert_eq!(server.is_encrypted(&open).await, encrypted, "{plane}, {parameters}");
        });
    }
}

/// Both planes refuse, for a reason that contains one of `reasons`.
#[track_caller]
fn refuses(user: &str, host: &str, parameters: &str, reasons: &[&str]) {
    let server = TlsServer::shared();
    for (plane, connect) in PLANES {
        let outcome = runtime().block_on(connect(server.url(user, host, parameters)));
        let Err(reason) = outcome else { panic!("{plane}, {parameters}: connected") };
        let is_expected = reasons.iter().any(|expected| reason.contains(expected));
        assert!(is_expected, "{plane}, {parameters}: {reason}");
        assert!(!reason.contains(PASSWORD), "{plane}: {reason}");
    }
}

#[test]
fn disable_speaks_plain_text_and_prefer_encrypts_where_it_can() {
    connects(USER, "127.0.0.1", "sslmode=disable", false);
    connects(USER, "127.0.0.1", "sslmode=prefer", true);
    connects(USER, "127.0.0.1", "", true);
}

#[test]
fn require_encrypts_without_asking_who_it_is() {
    connects(USER, "127.0.0.1", "sslmode=require", true);
}

#[test]
fn require_with_an_authority_verifies_it() {
    connects(USER, "127.0.0.1", "sslmode=require&sslrootcert={ca.pem}", true);
    refuses(USER, "127.0.0.1", "sslmode=require&sslrootcert={stranger.pem}", &["UnknownIssuer"]);
}

#[test]
fn verify_ca_wants_the_right_authority_and_any_name() {
    connects(USER, "127.0.0.1", "sslmode=verify-ca&sslrootcert={ca.pem}", true);
    refuses(USER, "127.0.0.1", "sslmode=verify-ca&sslrootcert={stranger.pem}", &["UnknownIssuer"]);
    refuses(
        USER,
        "localhost",
        "sslmode=verify-ca&sslrootcert=/nonexistent.pem",
        &["/nonexistent.pem"],
    );
}

#[test]
fn verify_full_wants_the_right_authority_and_the_right_name() {
    connects(USER, "localhost", "sslmode=verify-full&sslrootcert={ca.pem}", true);
    refuses(USER, "127.0.0.1", "sslmode=verify-full&sslrootcert={ca.pem}", &["not valid for name"]);
    refuses(
        USER,
        "localhost",
        "sslmode=verify-full&sslrootcert={stranger.pem}",
        &["UnknownIssuer"],
    );
}

#[test]
fn verification_without_a_file_trusts_the_system_only() {
    for parameters in ["sslmode=verify-full", "sslmode=verify-ca", "sslrootcert=system"] {
        refuses(USER, "localhost", parameters, &["UnknownIssuer", "no trusted certificates"]);
    }
}

#[test]
fn the_servers_own_certificate_may_be_the_root() {
    connects(USER, "localhost", "sslmode=verify-full&sslrootcert={server.pem}", true);
    refuses(
        USER,
        "127.0.0.1",
        "sslmode=verify-full&sslrootcert={server.pem}",
        &["not valid for name"],
    );
}

#[test]
fn channel_binding_needs_tls() {
    for parameters in ["sslmode=require&channel_binding=require", "channel_binding=disable"] {
        connects(USER, "127.0.0.1", parameters, true);
    }
    let without = "sslmode=disable&channel_binding=require";
    refuses(USER, "127.0.0.1", without, &["channel binding", "channel_binding"]);
}

#[test]
fn a_client_certificate_stands_in_for_a_password() {
    let certificate = "sslmode=require&sslcert={client.pem}&sslkey={client.key}";
    connects(CERTIFIED, "127.0.0.1", certificate, true);
    refuses(CERTIFIED, "127.0.0.1", "sslmode=require", &["certificate", "28000"]);
}

#[test]
fn a_server_without_tls_is_refused_where_tls_is_demanded() {
    let plain = PlainServers::start();
    for (plane, connect) in PLANES {
        for mode in ["require", "verify-ca", "verify-full"] {
            let url = plain.url(&[plain.writable.port()], &format!("sslmode={mode}"));
            let outcome = runtime().block_on(connect(url));
            let Err(reason) = outcome else { panic!("{plane}, {mode}: connected") };
            assert!(reason.contains("TLS") || reason.contains("trusted"), "{plane}: {reason}");
        }
        let prefer = plain.url(&[plain.writable.port()], "sslmode=prefer");
        assert!(runtime().block_on(connect(prefer)).is_ok(), "{plane}");
    }
    plain.hosts_are_tried_in_order_until_one_fits();
}

/// A server that takes writes, one that does not, and a port where there is none.
struct PlainServers {
    writable: Cluster,
    read_only: Cluster,
    nobody: u16,
}

impl PlainServers {
    fn start() -> Self {
        let start = |name: &str, settings: &[(&str, &str)]| {
            let dir = std::env::temp_dir().join(format!("rowgate-{name}-{}", std::process::id()));
            let settings = settings.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
            let options = ClusterOptions {
                durable: false,
                ephemeral: true,
                settings,
                ..ClusterOptions::new(dir)
            };
            Cluster::start(&binaries(), &options).unwrap()
        };
        let nobody =
            std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self {
            writable: start("writable", &[]),
            read_only: start("read-only", &[("default_transaction_read_only", "on")]),
            nobody,
        }
    }

    /// A URL that names several servers, for a role that both have.
    fn url(&self, ports: &[u16], parameters: &str) -> ConnectUrl {
        let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let text =
            format!("postgresql://{USER}:{PASSWORD}@{}/postgres?{parameters}", hosts.join(","));
        self.ensure_user();
        ConnectUrl::parse(&text).unwrap()
    }

    fn ensure_user(&self) {
        for cluster in [&self.writable, &self.read_only] {
            runtime().block_on(async {
                let sql = format!(
                    "set transaction_read_only = off; \
                     do $$ begin create role {USER} login password '{PASSWORD}'; \
                     exception when duplicate_object then null; end $$"
                );
                connect(&cluster.superuser_url()).await.batch_execute(&sql).await.unwrap();
            });
        }
    }

    fn hosts_are_tried_in_order_until_one_fits(&self) {
        let (nobody, read_only, writable) =
            (self.nobody, self.read_only.port(), self.writable.port());
        for (attributes, expected) in [
            ("any", Some(read_only)),
            ("read-write", Some(writable)),
            ("read-only", Some(read_only)),
            ("primary", Some(read_only)),
            ("standby", None),
            ("prefer-standby", Some(read_only)),
        ] {
            for (plane, connect) in PLANES {
                let url = self.url(
                    &[nobody, read_only, writable],
                    &format!("sslmode=disable&target_session_attrs={attributes}"),
                );
                let found = runtime().block_on(async {
                    let open = connect(url).await.ok()?;
                    Some(if self.runs(&self.writable, &open).await { writable } else { read_only })
                });
                assert_eq!(found, expected, "{plane}, {attributes}");
            }
        }
    }

    /// Whether the connection's backend belongs to this cluster.
    async fn runs(&self, cluster: &Cluster, open: &Open) -> bool {
        let query = "select exists (select from pg_stat_activity where pid = $1 and usename = $2)";
        let superuser = connect(&cluster.superuser_url()).await;
        superuser.query_one(query, &[&open.pid, &USER]).await.unwrap().get(0)
    }
}

/// A self-signed certificate's channel binding, which must be its SHA-256 or SHA-384.
fn end_point(algorithm: &'static SignatureAlgorithm) -> Option<Vec<u8>> {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let certificate = CertificateParams::new(["db".to_owned()]).unwrap().self_signed(&key).unwrap();
    let hash = tls_server_end_point(certificate.der())?;
    let expected = match hash.len() {
        32 => aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate.der()),
        48 => aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA384, certificate.der()),
        other => panic!("{other} bytes"),
    };
    assert_eq!(hash, expected.as_ref());
    Some(hash)
}

#[test]
fn the_channel_binding_hashes_the_certificate_by_its_signatures_algorithm() {
    assert_eq!(end_point(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap().len(), 32);
    assert_eq!(end_point(&PKCS_ECDSA_P384_SHA384).unwrap().len(), 48);
    assert_eq!(end_point(&PKCS_ED25519), None, "RFC 5929 leaves it undefined");
    assert_eq!(tls_server_end_point(b"no certificate"), None);
}

#[test]
fn the_channel_binding_of_an_rsa_pss_signature_uses_its_hash() {
    // rcgen makes no such signature. OpenSSL: req -x509 -sha512 -sigopt rsa_padding_mode:pss
    let der = include_bytes!("postgres_tls/rsa_pss_sha512.der");
    let expected = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, der);
    assert_eq!(tls_server_end_point(der).as_deref(), Some(expected.as_ref()));
}

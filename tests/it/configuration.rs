//! `rowgate.toml`, environment and flags: what wins, what is refused, and in which words.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use rowgate::config::{
    ConcurrentRequests, Config, ConfigError, ConfigSources, DatabaseUrls, Environment, Flag,
    IssuerConfig, KeySource, KeysConfig, LogFormat, known_keys,
};
use rowgate::pg::url::ConnectUrl;

const EXAMPLE: &str = include_str!("../../rowgate.example.toml");

/// What every complete configuration needs.
const MINIMAL: [(&str, &str); 3] = [
    ("DATABASE_AUTHENTICATED_URL", "postgresql://authenticated:planted-secret@db/app"),
    ("DATABASE_ANONYMOUS_URL", "postgresql://anonymous:planted-secret@db/app"),
    ("ROWGATE_ISSUER_URL", "https://issuer.example"),
];

/// Sources in the making.
struct Sources {
    directory: tempfile::TempDir,
    sources: ConfigSources,
    environment: Vec<(String, String)>,
}

impl Sources {
    fn empty() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory, sources: ConfigSources::default(), environment: Vec::new() }
    }

    fn minimal() -> Self {
        MINIMAL.iter().fold(Self::empty(), |sources, (name, value)| sources.variable(name, value))
    }

    fn file(mut self, toml: &str) -> Self {
        self.sources.file = Some(self.write("rowgate.toml", toml));
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.environment.retain(|(other, _)| other != name);
        self
    }

    fn flag(mut self, name: &str, key: &str, value: &str) -> Self {
        let flag = Flag { name: name.to_owned(), key: key.to_owned(), value: value.to_owned() };
        self.sources.flags.push(flag);
        self
    }

    /// Writes a file beside `rowgate.toml`.
    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn sources(&self) -> ConfigSources {
        let environment: Environment = self.environment.iter().cloned().collect();
        ConfigSources { environment, ..self.sources.clone() }
    }

    fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&self.sources())
    }

    fn config(&self) -> Config {
        self.load().unwrap()
    }

    /// The error's text with the directory cut out; never holds what the tests plant.
    fn error(&self) -> String {
        let error = self.load().expect_err("the configuration was accepted");
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(!text.contains("planted"), "a secret shows: {text}");
        }
        error.to_string().replace(&format!("{}/", self.directory.path().display()), "")
    }
}

fn defaults() -> Config {
    let url = |text: &str| ConnectUrl::parse(text).unwrap();
    Config::with_defaults(
        url(MINIMAL[0].1),
        url(MINIMAL[1].1),
        vec![IssuerConfig::new("https://issuer.example")],
    )
}

fn same(left: &Config, right: &Config) {
    assert_eq!(format!("{left:#?}"), format!("{right:#?}"));
}

/// The keys of the example; with those in comments, `# key = value`, if `commented`.
fn keys_of_example(commented: bool) -> (BTreeSet<String>, String) {
    let is_key = |line: &str| {
        let name: String =
            line.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
        !name.is_empty() && line[name.len()..].starts_with(" = ")
    };
    let mut keys = BTreeSet::new();
    let mut toml = String::new();
    let mut section = String::new();
    let mut of_this_table = BTreeSet::new();
    for line in EXAMPLE.lines() {
        let bare = line.strip_prefix("# ").filter(|_| commented).unwrap_or(line);
        if bare.starts_with('[') {
            section = bare.trim_matches(['[', ']']).to_owned();
            of_this_table.clear();
        } else if is_key(bare) {
            let name = bare.split(' ').next().unwrap();
            assert!(of_this_table.insert(name), "{section}.{name} stands there twice");
            keys.insert(format!("{section}.{name}"));
        } else {
            continue;
        }
        toml.push_str(bare);
        toml.push('\n');
    }
    (keys, toml)
}

#[test]
fn the_example_holds_the_defaults() {
    same(&Sources::minimal().file(EXAMPLE).config(), &defaults());
}

#[test]
fn the_example_documents_every_key_and_no_other() {
    let (documented, _) = keys_of_example(true);
    // Secrets that have a variable but, on purpose, no key in the file.
    let secrets = ["seal.key", "issuer.secret"];
    let known: BTreeSet<String> =
        known_keys().into_iter().filter(|key| !secrets.contains(key)).map(str::to_owned).collect();
    assert_eq!(documented, known);
}

#[test]
fn the_examples_commented_keys_work_as_written() {
    let (_, toml) = keys_of_example(true);
    let without_files: String =
        toml.lines().filter(|line| !line.contains("_file = ")).map(|l| format!("{l}\n")).collect();
    let config = Sources::empty().file(&without_files).config();
    assert_eq!(config.auth.issuers[0].audiences, ["my-app"]);
    let jwks_url = "https://issuer.example/.well-known/jwks.json";
    assert_eq!(config.auth.issuers[0].keys, KeysConfig::at(jwks_url));
    assert_eq!(config.auth.issuers[0].algorithms, IssuerConfig::new("x").algorithms);
    assert_eq!(config.auth.issuers.len(), 6);
    assert_eq!(config.database.owner.unwrap().user(), "app_owner");
}

#[test]
fn every_default_has_its_line_in_the_example() {
    let (with_default, _) = keys_of_example(false);
    for section in ["server", "auth", "cors", "limits", "log"] {
        for key in known_keys().into_iter().filter(|key| key.starts_with(&format!("{section}."))) {
            assert!(with_default.contains(key), "{key} is commented out");
        }
    }
}

#[test]
fn environment_wins_over_file_and_flags_win_over_both() {
    let file = "[server]\nlisten = '127.0.0.1:1'\nmax_connections = 7\n[log]\nformat = 'pretty'";
    let config = Sources::minimal()
        .file(file)
        .variable("ROWGATE_SERVER_LISTEN", "127.0.0.1:2")
        .variable("ROWGATE_LOG_FORMAT", "json")
        .flag("--listen", "server.listen", "127.0.0.1:3")
        .config();
    assert_eq!(config.server.listen.port(), 3);
    assert_eq!(config.server.max_connections, 7);
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn durations_and_sizes_have_units() {
    let config = Sources::minimal()
        .file("[limits]\ndeadline = '500ms'\nrequest_bytes = 4096\nanswer_bytes = '2GiB'")
        .variable("ROWGATE_DATABASE_MAX_LIFETIME", "2h")
        .variable("ROWGATE_LIMITS_HEADER_BYTES", "16KiB")
        .config();
    assert_eq!(config.limits.deadline, Duration::from_millis(500));
    assert_eq!(config.limits.request_bytes, 4096);
    assert_eq!(config.limits.answer_bytes, 2 << 30);
    assert_eq!(config.limits.header_bytes, 16 << 10);
    assert_eq!(config.database.max_lifetime, Duration::from_hours(2));
    let kept = |kept| Sources::minimal().variable("ROWGATE_ISSUER_KEYS_KEPT", kept);
    assert_eq!(kept("876600h").config().auth.issuers[0].keys.kept.as_secs(), 876_600 * 3600);
    let error = kept("18446744073709551615s").error();
    assert!(error.contains("at most"), "{error}");
}

#[test]
fn every_problem_is_reported_with_place_key_value_and_expected_form() {
    let error = Sources::minimal()
        .file(
            "[server]\nlisten = '80'\nheader_timeout = 10\n\n[limits]\ndeadline = '0s'\n\
             header_bytes = '1KiB'\nrequest_bytes = '10MB'\n[log]\nfilter = 'debg'\nformat = 'xml'\n\
             [cors]\nallowed_origins = ['https://app.example/path']\n[auth]\nanonymous = 'yes'",
        )
        .variable("ROWGATE_DATABASE_POOL_SIZE", "0")
        .flag("--set", "database.search_path", "")
        .error();
    insta::assert_snapshot!(error);
}

#[test]
fn unknown_keys_are_refused_wherever_they_stand_and_never_show_their_value() {
    let error = Sources::minimal()
        .without("ROWGATE_ISSUER_URL")
        .file(
            "listen = 'planted'\n[server]\nlissten = 'planted'\n[servr]\nadmin_listen = 'planted'\n\
             [database]\npool_sise = 'planted'\n[limits.inner]\nx = 'planted'\n\
             [[issuer]]\nurl = 'https://issuer.example'\naudiences = ['planted']",
        )
        .variable("ROWGATE_SERVER_LISTN", "planted")
        .variable("ROWGATE_NONSENSE", "planted")
        .flag("--set", "log.fromat", "planted")
        .error();
    insta::assert_snapshot!(error);
}

#[test]
fn variables_read_elsewhere_are_not_unknown() {
    Sources::minimal()
        .variable("ROWGATE_PG_BIN", "/x")
        .variable("ROWGATE_CONFIG", "/y")
        .variable("OTHER", "z")
        .config();
}

#[test]
fn missing_logins_and_issuers_are_said_together() {
    insta::assert_snapshot!(Sources::empty().error());
}

#[test]
fn a_toml_error_names_line_and_column_but_shows_no_line() {
    let error = Sources::minimal().file("[server]\nlisten = \"planted\n").error();
    assert!(error.starts_with("rowgate.toml:2:"), "{error}");
}

#[test]
fn a_missing_file_is_an_error() {
    let mut sources = Sources::minimal();
    sources.sources.file = Some("/nonexistent/rowgate.toml".into());
    let error = sources.error();
    assert!(error.contains("/nonexistent/rowgate.toml"), "{error}");
}

#[test]
fn passwords_in_the_file_or_on_the_command_line_are_refused() {
    let url = "postgresql://authenticated:planted@db/app";
    let file = format!("[database]\nauthenticated_url = '{url}'\n[seal]\nkey = 'k1:planted'");
    let error = Sources::minimal()
        .without("DATABASE_AUTHENTICATED_URL")
        .file(&file)
        .flag("--set", "database.owner_url", "user=o password=planted host=db")
        .error();
    insta::assert_snapshot!(error);
}

#[test]
fn urls_without_a_password_may_stand_in_the_file() {
    let config = Sources::minimal()
        .without("DATABASE_AUTHENTICATED_URL")
        .file("[database]\nauthenticated_url = 'postgresql://authenticated@db/app'")
        .variable("PGPASSWORD", "from-the-environment")
        .config();
    assert_eq!(config.database.authenticated.password(), Some(b"from-the-environment".as_slice()));
    assert_eq!(config.database.anonymous.password(), Some(b"planted-secret".as_slice()));
}

#[test]
fn secrets_may_stand_in_files_of_their_own() {
    let sources = Sources::minimal().without("DATABASE_ANONYMOUS_URL");
    let anonymous = sources.write("anonymous", "postgresql://nobody:planted@db/app\n");
    sources.write("seal", &format!("k1:{}\n", "0a".repeat(32)));
    let config = sources
        .variable("DATABASE_ANONYMOUS_URL_FILE", &anonymous.display().to_string())
        .file("[seal]\nkey_file = 'seal'")
        .config();
    assert_eq!(config.database.anonymous.user(), "nobody");
    assert_eq!(config.seal.keys[0].kid, "k1");
    assert_eq!(config.seal.keys[0].key, [10; 32]);
    assert!(!format!("{config:?}").contains("planted"));
}

#[test]
fn an_extension_that_needs_a_connection_of_its_own_excludes_a_pooler() {
    let pooled = "[database]\npooler = 'transaction'\n[seal]\nmethod = ";
    let refused = Sources::minimal().file(&format!("{pooled}'pg_session_jwt'")).error();
    assert!(refused.contains("seal.method") && refused.contains("database.pooler"), "{refused}");
    Sources::minimal().file(&format!("{pooled}'own'")).config();
    let misspelt = Sources::minimal().file("[seal]\nmethod = 'jwt'").error();
    assert!(misspelt.contains("auto, own or pg_session_jwt"), "{misspelt}");
}

#[test]
fn bad_secrets_and_bad_files_of_secrets_are_named_but_not_shown() {
    let sources = Sources::empty();
    let empty = sources.write("empty", "\n").display().to_string();
    let error = sources
        .variable("ROWGATE_SEAL_KEY", "k1:planted")
        .variable("DATABASE_URL", "postgresql://o:planted@db/app?sslmode=planted")
        .variable("DATABASE_AUTHENTICATED_URL_FILE", &empty)
        .variable("DATABASE_ANONYMOUS_URL", "postgresql://a@db/app")
        .variable("ROWGATE_DATABASE_ANONYMOUS_URL", "postgresql://b:planted@db/app")
        .variable("ROWGATE_ISSUER_URL", "https://issuer.example")
        .error();
    insta::assert_snapshot!(error);
}

#[test]
fn login_roles_must_differ_and_belong_to_one_database() {
    let sources = Sources::minimal()
        .without("DATABASE_ANONYMOUS_URL")
        .variable("DATABASE_ANONYMOUS_URL", "postgresql://authenticated@db/other");
    insta::assert_snapshot!(sources.error());
    let nameless = Sources::minimal()
        .without("DATABASE_ANONYMOUS_URL")
        .variable("DATABASE_ANONYMOUS_URL", "postgresql://db/app");
    assert!(nameless.error().contains("names no role"), "{}", nameless.error());
}

#[test]
fn an_issuer_may_come_from_the_environment_alone() {
    let config = Sources::minimal()
        .without("ROWGATE_ISSUER_URL")
        .variable("ROWGATE_ISSUER_URL", "https://issuer.example/")
        .variable("ROWGATE_ISSUER_AUDIENCE", "app, api")
        .variable("ROWGATE_ISSUER_ALGORITHMS", "ES384,EdDSA")
        .variable("ROWGATE_ISSUER_LEEWAY", "0s")
        .config();
    let [issuer] = config.auth.issuers.as_slice() else { panic!("{:?}", config.auth) };
    assert_eq!(issuer.url, "https://issuer.example/");
    assert_eq!(issuer.keys.source, KeySource::Discovery);
    assert_eq!(issuer.audiences, ["app", "api"]);
    assert_eq!(issuer.algorithms, [Algorithm::ES384, Algorithm::EdDSA]);
    assert_eq!(issuer.leeway, Duration::ZERO);
}

#[test]
fn the_environment_may_change_the_only_issuer_but_not_one_of_several() {
    let one = "[[issuer]]\nurl = 'https://a.example'\naudience = 'app'\n";
    let sources = Sources::minimal().file(one);
    let config = sources.config();
    assert_eq!(config.auth.issuers[0].url, "https://issuer.example");
    assert_eq!(config.auth.issuers[0].audiences, ["app"]);
    let error = sources.file(&format!("{one}[[issuer]]\nurl = 'https://b.example'")).error();
    assert!(error.contains("several [[issuer]]s"), "{error}");
}

#[test]
fn unusable_issuers_are_refused() {
    let error = Sources::minimal()
        .without("ROWGATE_ISSUER_URL")
        .file(
            "[[issuer]]\nurl = 'https://a.example'\nalgorithms = ['HS256']\n\
             [[issuer]]\nurl = 'https://a.example'\nleeway = '1h'\n\
             [[issuer]]\nurl = 'accounts'\n\
             [[issuer]]\njwks_url = 'https://c.example'\n\
             [[issuer]]\nurl = 'https://d.example'\njwks_url = 'http://d.example/keys'",
        )
        .error();
    insta::assert_snapshot!(error);
}

const SECRET: &str = "planted-secret-of-at-least-32-bytes";

#[test]
fn keys_of_an_issuer_come_from_one_place() {
    let keys = |toml: &str| {
        let issuer = format!("[[issuer]]\nurl = 'https://a.example'\n{toml}");
        Sources::minimal().without("ROWGATE_ISSUER_URL").file(&issuer)
    };
    let source = |toml: &str| keys(toml).config().auth.issuers[0].keys.source.clone();
    assert_eq!(source(""), KeySource::Discovery);
    assert_eq!(
        source("jwks_url = 'https://b.example/k'"),
        KeySource::JwksUrl("https://b.example/k".into())
    );
    // Relative to the file.
    let found = |source: KeySource| match source {
        KeySource::JwksFile(path) | KeySource::PublicKeyFile(path) => {
            path.is_absolute() && path.ends_with("keys")
        }
        _ => false,
    };
    assert!(found(source("jwks_file = 'keys'")));
    assert!(found(source("public_key_file = 'keys'")));

    let kept = keys("keys_kept = '90m'").config().auth.issuers[0].keys.kept;
    assert_eq!(kept, Duration::from_mins(90));
    for two in [
        "jwks_url = 'https://b.example/k'\njwks_file = 'keys'",
        "jwks_file = 'keys'\npublic_key_file = 'keys'",
    ] {
        let error = keys(two).error();
        assert!(error.contains("keep one of"), "{error}");
    }
}

#[test]
fn a_shared_secret_comes_from_a_file_or_the_environment_and_never_shows() {
    let secret = |config: Config| {
        let IssuerConfig { keys, algorithms, .. } = &config.auth.issuers[0];
        assert_eq!(*algorithms, [Algorithm::HS256]);
        assert!(!format!("{keys:?}").contains("planted"));
        match &keys.source {
            KeySource::Secret(secret) => String::from_utf8(secret.bytes().to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        secret(Sources::minimal().variable("ROWGATE_ISSUER_SECRET", SECRET).config()),
        SECRET
    );
    let with_end = Sources::minimal().variable("ROWGATE_ISSUER_SECRET", &format!(" {SECRET}\n"));
    assert_eq!(secret(with_end.config()), SECRET, "white space around it does not count");
    let sources = Sources::minimal().without("ROWGATE_ISSUER_URL").file(
        "[[issuer]]\nurl = 'https://a.example'\nsecret_file = 'secret'\n\
         [[issuer]]\nurl = 'https://b.example'",
    );
    sources.write("secret", &format!("{SECRET}\n"));
    assert_eq!(secret(sources.config()), SECRET);
    assert_eq!(sources.config().auth.issuers[1].keys.source, KeySource::Discovery);

    let in_toml = format!("[[issuer]]\nurl = 'https://a.example'\nsecret = '{SECRET}'");
    let in_toml = Sources::minimal().without("ROWGATE_ISSUER_URL").file(&in_toml).error();
    let in_argv = Sources::minimal().flag("--set", "issuer.secret", SECRET).error();
    for error in [in_toml, in_argv] {
        assert!(error.contains("does not belong here"), "{error}");
    }
}

#[test]
fn a_shared_secret_and_public_keys_are_never_mixed() {
    let with = |secret: &str, algorithms: &str| {
        Sources::minimal()
            .variable("ROWGATE_ISSUER_SECRET", secret)
            .variable("ROWGATE_ISSUER_ALGORITHMS", algorithms)
    };
    assert!(with("planted", "HS256").error().contains("too short"));
    assert!(with(&format!("planted{}", " ".repeat(32)), "HS256").error().contains("too short"));
    for public in [
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----",
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
    ] {
        let error = with(public, "HS256").error();
        assert!(error.contains("whoever knows it could sign"), "{error}");
    }
    with("{not an object, but a secret all the same}", "HS256").config();
    assert!(with(SECRET, "HS256,RS256").error().contains("needs public keys"));
    assert!(with(SECRET, "HS512").error().contains("shorter than the hash"));
    let long = SECRET.repeat(2);
    let config = with(&long, "HS256,HS512").config();
    assert_eq!(config.auth.issuers[0].algorithms, [Algorithm::HS256, Algorithm::HS512]);
    let public = Sources::minimal().variable("ROWGATE_ISSUER_ALGORITHMS", "ES256,HS256").error();
    assert!(public.contains("uses a shared secret"), "{public}");
    let beside = with(SECRET, "HS256")
        .variable("ROWGATE_ISSUER_JWKS_URL", "https://issuer.example/jwks")
        .error();
    assert!(beside.contains("keep one of"), "{beside}");
}

#[test]
fn administrative_commands_need_no_issuer() {
    let sources = Sources::empty().variable("DATABASE_URL", "postgresql://owner:planted@db/app");
    let urls = DatabaseUrls::load(&sources.sources()).unwrap();
    assert_eq!(urls.owner.unwrap().to_string(), "owner@db:5432/app");
    assert!(urls.authenticated.is_none());
}

#[test]
fn limits_on_callers_and_addresses_are_numbers_or_words() {
    let limits = |value: &str| {
        let file = format!("[limits]\nconcurrent_requests = {value}");
        Sources::minimal().file(&file).load().map(|config| config.limits.concurrent_requests)
    };
    assert_eq!(limits("7").unwrap(), ConcurrentRequests::AtMost(7));
    assert_eq!(limits("'half'").unwrap(), ConcurrentRequests::HalfThePool);
    assert_eq!(limits("'off'").unwrap(), ConcurrentRequests::Unlimited);
    assert!(limits("0").is_err() && limits("'all'").is_err());
    let config = Sources::minimal()
        .file("[server]\nconnections_per_address = 'off'\n[limits]\nrows = 5\nparameters = 9")
        .variable("ROWGATE_SERVER_TRUSTED_PROXIES", "192.0.2.0/24,2001:db8::1")
        .config();
    assert_eq!((config.server.connections_per_address, config.limits.rows), (None, Some(5)));
    assert_eq!(config.limits.parameters, 9);
    let trusts = |address: &str| {
        let address = address.parse().unwrap();
        config.server.trusted_proxies.iter().any(|network| network.contains(address))
    };
    assert!(trusts("192.0.2.9") && trusts("2001:db8::1") && !trusts("127.0.0.1"));
    let file = "[server]\ntrusted_proxies = ['10.0.0.0/99']\n[limits]\nparameters = 65536";
    let error = Sources::minimal().file(file).error();
    assert!(error.contains("server.trusted_proxies") && error.contains("limits.parameters"));
}

#[test]
fn threads_are_a_number_or_left_to_the_machine() {
    let threads = |value: &str| {
        let file = format!("[server]\nthreads = {value}");
        Sources::minimal().file(&file).load().map(|config| config.server.threads)
    };
    assert_eq!(Sources::minimal().config().server.threads, None);
    assert_eq!(threads("'auto'").unwrap(), None);
    assert_eq!(threads("3").unwrap(), Some(3));
    for value in ["0", "257", "'half'", "-1"] {
        assert!(threads(value).is_err(), "{value}");
    }
}

const ROLE: &str = "[[role]]\nclaim = 'app_role'\nvalue = 'support'\nrole = 'support_agent'\n";

#[test]
fn roles_are_mapped_in_order_and_log_in_by_variables_of_their_own() {
    let config = Sources::minimal()
        .file(&format!(
            "{ROLE}[[role]]\nclaim = ['realm_access', 'roles']\nvalue = 'staff'\nrole = 'support_agent'\n\
             [[role]]\nclaim = 'https://a.example/r'\nvalue = 'x y'\nrole = 'auditor'\n\
             url = 'postgresql://auditor@db/app'"
        ))
        .variable("DATABASE_ROLE_SUPPORT_AGENT_URL", "postgresql://support_agent:planted@db/app")
        .config();
    let roles: Vec<&str> = config.database.roles.iter().map(|role| role.id.name()).collect();
    assert_eq!(roles, ["support_agent", "auditor"]);
    assert_eq!(config.database.roles[0].url.password(), Some(b"planted".as_slice()));
    let rules: Vec<_> = config
        .auth
        .roles
        .iter()
        .map(|rule| (rule.claim.join("/"), rule.value.as_str(), rule.role.index()))
        .collect();
    assert_eq!(
        rules,
        [
            ("app_role".to_owned(), "support", 0),
            ("realm_access/roles".to_owned(), "staff", 0),
            ("https://a.example/r".to_owned(), "x y", 1),
        ]
    );
    assert!(config.auth.roles.iter().all(|rule| rule.issuer == "https://issuer.example"));
    assert!(!format!("{config:?}").contains("planted"));
}

#[test]
fn unusable_roles_are_refused() {
    let url = "postgresql://support_agent@db/app";
    let refused = |file: &str, words: &str| {
        let sources = Sources::minimal()
            .without("ROWGATE_ISSUER_URL")
            .file(&format!("[[issuer]]\nurl = 'https://a.example'\n{file}"));
        let error = sources.error();
        assert!(error.contains(words), "{file}\n{error}");
    };
    refused(ROLE, "DATABASE_ROLE_SUPPORT_AGENT_URL=");
    refused("[role]\nclaim = 'x'", "headed [[role]]");
    refused("[[role]]\nvalue = 'x'", "role.claim: missing");
    refused(&format!("{ROLE}url = '{url}'\nname = 'x'"), "role.name: unknown key");
    refused(&format!("{ROLE}url = 'postgresql://support_agent:planted@db/app'"), "a password");
    refused(&format!("{ROLE}url = 'postgresql://other@db/app'"), "logs in as \"other\"");
    refused(&format!("{ROLE}url = 'postgresql://support_agent@db/else'"), "another database");
    refused(
        &format!("{ROLE}url = '{url}'\nissuer = 'https://b.example'"),
        "none of the [[issuer]]s",
    );
    refused(
        &format!("[[issuer]]\nurl = 'https://b.example'\n{ROLE}url = '{url}'"),
        "each [[role]] names one",
    );
    for role in ["authenticated", "anonymous", "support_s1"] {
        let file = ROLE.replace("support_agent", role);
        refused(&format!("{file}url = 'postgresql://{role}@db/app'"), "login of another kind");
    }
    let elsewhere = Sources::minimal()
        .without("ROWGATE_ISSUER_URL")
        .variable("DATABASE_AUTHENTICATED_URL", "postgresql://app_user@db/app")
        .file(&format!(
            "[[issuer]]\nurl = 'https://a.example'\n{}url = 'postgresql://authenticated@db/app'",
            ROLE.replace("support_agent", "authenticated")
        ))
        .error();
    assert!(elsewhere.contains("login of another kind"), "{elsewhere}");
    refused(&ROLE.replace("support_agent", "Robert; drop"), "small letters");
    refused(&ROLE.replace("'app_role'", "[]"), "role.claim");
    refused(&ROLE.replace("'support'", "7"), "role.value");
    refused(&format!("{ROLE}url = '{url}'\n{ROLE}url = '{url}'"), "given already");
    refused(&format!("{ROLE}url = '{url}'\n[database]\nslots = 20"), "cannot be combined");
    let error = Sources::minimal().variable("ROWGATE_ROLE_CLAIM", "x").error();
    assert!(error.contains("headed [[role]]"), "{error}");
}

#[test]
fn revocation_needs_a_login_that_can_read_and_an_age_that_allows_for_a_late_answer() {
    let enabled = Sources::minimal().file("[revocation]\nenabled = true");
    assert!(enabled.error().contains("DATABASE_REVOCATION_URL"));
    for name in ["DATABASE_URL", "DATABASE_REVOCATION_URL"] {
        let config = Sources::minimal()
            .file("[revocation]\nenabled = true")
            .variable(name, "postgresql://reader:planted@db/app")
            .config();
        assert!(config.revocation.enabled);
    }
    let error = Sources::minimal().file("[revocation]\nrefresh = '1m'\nmax_age = '1m'").error();
    assert!(error.contains("revocation.max_age"), "{error}");
}

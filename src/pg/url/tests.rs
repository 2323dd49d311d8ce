use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::{any, proptest};
use tokio_postgres::config::{ChannelBinding, Host};

use super::{ConnectUrl, SessionAttributes, TlsMode, UrlError};

fn url(text: &str) -> ConnectUrl {
    ConnectUrl::parse(text).unwrap()
}

fn refusal(text: &str) -> UrlError {
    ConnectUrl::parse(text).unwrap_err()
}

#[test]
fn url_and_key_value_notation_mean_the_same() {
    let from_url = url(
        "postgresql://al%40ice:p%3Aw%2F@db1:5433,[::1]:5434,db3/todos?sslmode=verify-full\
         &channel_binding=require&target_session_attrs=primary&application_name=x%20y&connect_timeout=3",
    );
    let from_keys = url(
        r"user=al@ice password='p:w/' host=db1,::1,db3 port=5433,5434, dbname = todos sslmode=verify-full
          channel_binding=require target_session_attrs=primary application_name='x y' connect_timeout=3",
    );
    for parsed in [&from_url, &from_keys] {
        assert_eq!(parsed.to_string(), "al@ice@db1:5433,[::1]:5434,db3:5432/todos");
        assert_eq!(parsed.password(), Some(b"p:w/".as_slice()));
        assert_eq!(parsed.tls_mode(), TlsMode::VerifyFull);
        assert_eq!(parsed.channel_binding(), ChannelBinding::Require);
        assert_eq!(parsed.session_attributes(), SessionAttributes::Primary);
        assert_eq!(parsed.application_name(), Some("x y"));
        assert_eq!(parsed.connect_timeout().unwrap().as_secs(), 3);
    }
}

#[test]
fn quoted_values_may_hold_quotes_and_backslashes() {
    let parsed = url(r"host=h user=u password='it\'s a \\ b' dbname=d");
    assert_eq!(parsed.password(), Some(br"it's a \ b".as_slice()));
    assert_eq!(parsed.database(), "d");
}

#[test]
fn a_password_may_hold_an_unencoded_at_sign() {
    let parsed = url("postgres://u:p@ss@h/d");
    assert_eq!(parsed.password(), Some(b"p@ss".as_slice()));
    assert_eq!(parsed.to_string(), "u@h:5432/d");
}

#[test]
fn socket_directories_are_hosts() {
    for text in ["postgresql://u@%2Frun%2Fpg:7/d", "postgresql://u@/d?host=/run/pg&port=7"] {
        assert_eq!(url(text).hosts().next(), Some((Host::Unix("/run/pg".into()), 7)));
    }
}

#[test]
fn database_defaults_to_the_user() {
    assert_eq!(url("postgresql://alice@h").database(), "alice");
}

#[test]
fn no_error_contains_a_piece_of_a_password() {
    for text in [
        "postgresql://u:sec/ret@h/d",
        "postgresql://u:sec?ret@h/d",
        "postgresql://u:x?secret=1@h/d",
        "postgresql://u:sec#ret:9/d@h",
        "postgresql://u:sec/ret=1@h?x",
        "mysql://u:secret@h/d",
        "user=u password='secret host=h",
        "host=h user=u password=top secret=1 x",
        "host=h user=u password=top SECRET=1",
        "secret",
        "postgresql://u:secret@h/d?sslmode=secret",
        "postgresql://u:secret@h:secret/d",
        "postgresql://u:secret@h/d?connect_timeout=secret",
    ] {
        let error = format!("{0} {0:?}", refusal(text)).to_lowercase();
        assert!(!error.contains("sec") && !error.contains("ret"), "{text} → {error}");
    }
}

#[test]
fn parameters_that_protect_something_are_never_ignored() {
    for key in ["sslcrl", "requirepeer", "require_auth", "ssl_min_protocol_version", "hostaddr"] {
        let error = refusal(&format!("postgresql://u@h/d?{key}=x"));
        assert!(matches!(&error, UrlError::Unsupported { key: k, .. } if k == key), "{error}");
    }
    assert!(matches!(refusal("host=h gssencmode=require"), UrlError::Value { .. }));
    assert!(matches!(refusal("host=h sslmode=allow"), UrlError::Value { .. }));
    assert_eq!(refusal("postgresql://u@h/d?ssl_mode=x"), UrlError::Unknown("ssl_mode".into()));
}

#[test]
fn parameters_of_other_transports_are_ignored() {
    url("postgresql://u@h/d?gssencmode=disable&krbsrvname=postgres&sslsni=1");
}

#[test]
fn the_systems_authorities_mean_verify_full() {
    assert_eq!(url("host=h sslrootcert=system").tls_mode(), TlsMode::VerifyFull);
    assert!(ConnectUrl::parse("host=h sslrootcert=system sslmode=require").is_err());
}

#[test]
fn hosts_ports_and_client_certificates_must_fit_together() {
    assert!(ConnectUrl::parse("host=a,b,c port=1,2").is_err());
    assert!(ConnectUrl::parse("host=a,,c").is_err());
    assert!(ConnectUrl::parse("postgresql:///d").is_err());
    assert!(ConnectUrl::parse("host=a port=0").is_err());
    assert!(ConnectUrl::parse("host=a sslcert=c.pem").is_err());
    let ports: Vec<u16> = url("host=a,b port=7").hosts().map(|(_, port)| port).collect();
    assert_eq!(ports, [7, 7]);
}

#[test]
fn a_missing_password_comes_from_the_environment_or_the_password_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "# h\nother:*:*:*:no\nh:5432:d:u:a\\:b\n").unwrap();
    let path = file.path().display().to_string();
    let environment = |name: &str| (name == "PGPASSFILE").then(|| path.clone());
    let found =
        |text: &str| url(text).or_password_from(&environment).password().map(<[u8]>::to_vec);
    assert_eq!(found("postgresql://u@h/d"), Some(b"a:b".to_vec()));
    assert_eq!(found("postgresql://u:own@h/d"), Some(b"own".to_vec()));
    assert_eq!(found("postgresql://u@h/e"), None);
    let others = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(file.path(), others).unwrap();
    assert_eq!(found("postgresql://u@h/d"), None, "others could read the file");
    let pgpassword = |name: &str| (name == "PGPASSWORD").then(|| "env".to_owned());
    assert!(url("host=h user=u").or_password_from(&pgpassword).has_password());
}

#[test]
fn prefer_standby_takes_any_server_in_its_second_round() {
    let wanted = SessionAttributes::PreferStandby;
    let rounds: Vec<bool> =
        wanted.passes().iter().map(|p| wanted.accepts(false, false, *p)).collect();
    assert_eq!(rounds, [false, true]);
}

proptest! {
    #[test]
    fn any_password_survives_both_notations(password in any::<String>()) {
        let encoded = utf8_percent_encode(&password, NON_ALPHANUMERIC);
        let quoted = password.replace('\\', r"\\").replace('\'', r"\'");
        for text in [
            format!("postgresql://u:{encoded}@h/d?sslmode=require"),
            format!("host=h user=u password='{quoted}' dbname=d"),
        ] {
            let parsed = url(&text);
            assert_eq!(parsed.password().unwrap_or_default(), password.as_bytes());
            assert!(!format!("{parsed} {parsed:?}").contains(&password) || password.len() < 12);
        }
    }

    #[test]
    fn a_password_written_wrongly_is_never_shown(
        before in "[a-z/?#@:%=& ]{0,6}",
        after in "[a-z/?#@:%=& ]{0,6}",
    ) {
        for text in [
            format!("postgresql://u:{before}hunter{after}@h/d?sslmode=require"),
            format!("host=h user=u password={before}hunter{after} dbname=d"),
        ] {
            if let Err(error) = ConnectUrl::parse(&text) {
                assert!(!format!("{error} {error:?}").contains("hunter"), "{text}: {error}");
            }
        }
    }
}

#[test]
fn a_zero_byte_is_nowhere_part_of_a_url() {
    for text in [
        "postgresql://u%00database%00other@h/app",
        "postgresql://u:p%00@h/app",
        "postgresql://u@h%00/app",
        "postgresql://u@h/app%00",
        "postgresql://u@h/app?application_name=a%00b",
        "user=u\0 host=h",
    ] {
        let error = ConnectUrl::parse(text).unwrap_err().to_string();
        assert!(error.contains("zero byte"), "{text}: {error}");
    }
}

//! Which keys there are: every section but those with rules of their own.

use super::error::ConfigError;
use super::layers::{ConfigSources, Layers};
use super::reader::Reader;
use super::{
    AuthConfig, Config, CorsConfig, DatabaseConfig, LimitsConfig, LogConfig, Pooler,
    RevocationConfig, SealConfig, SealMethod, ServerConfig, database, issuers, roles, values,
};

pub(super) fn load(sources: &ConfigSources) -> Result<Config, ConfigError> {
    let layers = Layers::read(sources)?;
    let mut reader = Reader::new(&layers);
    let config = build(&mut reader);
    reader.refuse_unknown();
    reader.into_result(config)
}

pub(super) fn known_keys() -> Vec<&'static str> {
    let nothing = ConfigSources::default();
    let Ok(layers) = Layers::read(&nothing) else { return Vec::new() };
    let mut reader = Reader::new(&layers);
    build(&mut reader);
    reader.asked
}

fn build(reader: &mut Reader<'_>) -> Option<Config> {
    let server = server(reader);
    let mut database = database::read(reader);
    let mut auth = auth(reader);
    roles::ask(reader);
    if let Some(database) = &mut database {
        roles::read(reader, database, &mut auth);
    }
    let cors = cors(reader);
    let limits = limits(reader);
    let seal = seal(reader, database.as_ref());
    let revocation = revocation(reader, database.as_ref());
    let log = log(reader);
    Some(Config { server, database: database?, auth, cors, limits, seal, revocation, log })
}

fn server(reader: &mut Reader<'_>) -> ServerConfig {
    let mut server = ServerConfig::default();
    reader.set("server.listen", &mut server.listen, values::address);
    reader.set("server.admin_listen", &mut server.admin_listen, values::optional_address);
    reader.set("server.max_connections", &mut server.max_connections, values::count);
    reader.set(
        "server.connections_per_address",
        &mut server.connections_per_address,
        values::count_or_off,
    );
    reader.set("server.trusted_proxies", &mut server.trusted_proxies, values::networks);
    reader.set("server.header_timeout", &mut server.header_timeout, values::duration);
    reader.set("server.body_timeout", &mut server.body_timeout, values::duration);
    reader.set("server.write_timeout", &mut server.write_timeout, values::duration);
    reader.set("server.compress_from", &mut server.compress_from, values::memory_size_or_off);
    reader.set("server.drain_timeout", &mut server.drain_timeout, values::duration);
    reader.set("server.startup_timeout", &mut server.startup_timeout, values::duration);
    reader.set("server.threads", &mut server.threads, values::threads);
    let ephemeral = server.listen.port() == 0;
    if server.admin_listen == Some(server.listen) && !ephemeral {
        let complaint = "the same address as server.listen; give operators a port of their own";
        reader.complain("server.admin_listen", complaint);
    }
    server
}

fn auth(reader: &mut Reader<'_>) -> AuthConfig {
    let mut auth = AuthConfig::new(Vec::new());
    reader.set("auth.anonymous", &mut auth.anonymous, values::flag);
    reader.set("auth.token_cache_entries", &mut auth.token_cache_entries, values::count);
    reader.set("auth.token_cache_bytes", &mut auth.token_cache_bytes, values::size);
    auth.issuers = issuers::read(reader);
    auth
}

fn cors(reader: &mut Reader<'_>) -> CorsConfig {
    let mut cors = CorsConfig::default();
    reader.set("cors.allowed_origins", &mut cors.allowed_origins, values::origins);
    cors
}

fn limits(reader: &mut Reader<'_>) -> LimitsConfig {
    let mut limits = LimitsConfig::default();
    reader.set("limits.request_bytes", &mut limits.request_bytes, values::memory_size);
    reader.set("limits.header_bytes", &mut limits.header_bytes, values::header_size);
    reader.set("limits.answer_bytes", &mut limits.answer_bytes, values::size);
    reader.set("limits.stream_threshold", &mut limits.stream_threshold, values::memory_size);
    reader.set("limits.deadline", &mut limits.deadline, values::duration);
    reader.set("limits.batch_statements", &mut limits.batch_statements, values::count);
    reader.set("limits.parameters", &mut limits.parameters, values::parameters);
    reader.set("limits.rows", &mut limits.rows, values::rows);
    reader.set(
        "limits.concurrent_requests",
        &mut limits.concurrent_requests,
        values::concurrent_requests,
    );
    reader.set("limits.concurrent_waiting", &mut limits.concurrent_waiting, values::count);
    reader.set("limits.concurrent_wait", &mut limits.concurrent_wait, values::duration);
    reader.set("limits.statements", &mut limits.statements, values::statement_kinds);
    reader.set("limits.allow_statements", &mut limits.allow_statements, values::extra_kinds);
    reader.set("limits.allow_functions", &mut limits.allow_functions, values::system_names);
    reader.set("limits.allow_relations", &mut limits.allow_relations, values::system_names);
    reader.set("limits.statement_bytes", &mut limits.statement_bytes, values::memory_size);
    limits
}

fn seal(reader: &mut Reader<'_>, database: Option<&DatabaseConfig>) -> SealConfig {
    let mut seal = SealConfig::default();
    reader.set("seal.method", &mut seal.method, values::seal_method);
    let pooled = database.is_some_and(|database| database.pooler == Pooler::Transaction);
    if pooled && seal.method == SealMethod::PgSessionJwt {
        let complaint = "pg_session_jwt needs connections that are backends of the server's, which \
                         database.pooler = \"transaction\" says they are not";
        reader.complain("seal.method", complaint);
    }
    (seal.keys, seal.key_file) = reader.seal_keys();
    reader.set("seal.refresh", &mut seal.refresh, values::duration);
    seal
}

fn revocation(reader: &mut Reader<'_>, database: Option<&DatabaseConfig>) -> RevocationConfig {
    let mut revocation = RevocationConfig::default();
    reader.set("revocation.enabled", &mut revocation.enabled, values::flag);
    reader.set("revocation.refresh", &mut revocation.refresh, values::duration);
    reader.set("revocation.max_age", &mut revocation.max_age, values::duration);
    reader.set("revocation.rows", &mut revocation.rows, values::count);
    if revocation.max_age < revocation.refresh * 2 {
        let complaint =
            "less than twice revocation.refresh: one late answer would close the gateway";
        reader.complain("revocation.max_age", complaint);
    }
    let has_login = database.is_none_or(|urls| urls.revocation.is_some() || urls.owner.is_some());
    if revocation.enabled && !has_login {
        let complaint = "needs a login that may read auth.revoked: set DATABASE_REVOCATION_URL (a member of \
                         rowgate_revocations), or DATABASE_URL";
        reader.complain("revocation.enabled", complaint);
    }
    revocation
}

fn log(reader: &mut Reader<'_>) -> LogConfig {
    let mut log = LogConfig::default();
    reader.set("log.format", &mut log.format, values::log_format);
    reader.set("log.filter", &mut log.filter, values::log_filter);
    log
}

//! Splits a connection string, in either of libpq's two notations, into key-value pairs.
//!
//! Knows no key's meaning. Errors name positions and parts, never what stood there: it may be a
//! piece of a password.

use percent_encoding::percent_decode_str;

use super::UrlError;

/// One parameter as written, decoded. `host` and `port` are comma-separated lists.
pub(super) type Parameter = (String, String);

/// The parameters of a URL or of a key-value string, in order.
pub(super) fn parameters(text: &str) -> Result<Vec<Parameter>, UrlError> {
    let parameters = of_either(text.trim())?;
    // The protocol ends every text with a zero byte: what follows one would be read as something else.
    if parameters.iter().any(|(key, value)| key.contains('\0') || value.contains('\0')) {
        return Err(syntax("it contains a zero byte"));
    }
    Ok(parameters)
}

fn of_either(text: &str) -> Result<Vec<Parameter>, UrlError> {
    match text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://")) {
        Some(rest) => of_url(rest),
        None if text.contains("://") => Err(syntax("the scheme is not postgresql://")),
        None if text.is_empty() => Err(syntax("it is empty")),
        None => of_key_values(text),
    }
}

fn of_url(rest: &str) -> Result<Vec<Parameter>, UrlError> {
    let (rest, query) = rest.split_once('?').map_or((rest, ""), |(r, q)| (r, q));
    let (authority, database) = rest.split_once('/').map_or((rest, ""), |(a, d)| (a, d));
    let mut parameters = Vec::new();
    let mut add = |key: &str, value: &str| -> Result<(), UrlError> {
        if !value.is_empty() {
            parameters.push((key.to_owned(), decode(value)?));
        }
        Ok(())
    };
    let servers = match authority.rsplit_once('@') {
        Some((login, servers)) => {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            add("user", user)?;
            add("password", password)?;
            servers
        }
        // The login was cut: what would be taken for a host, a database or a parameter is part of it.
        None if database.contains('@') || query.contains('@') => {
            return Err(syntax("a `/` or `?` in a user name or password must be percent-encoded"));
        }
        None => authority,
    };
    if !servers.is_empty() {
        let (hosts, ports) = servers_of(servers)?;
        add("host", &hosts)?;
        add("port", &ports)?;
    }
    add("dbname", database)?;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) =
            pair.split_once('=').ok_or_else(|| syntax("a parameter after `?` has no `=`"))?;
        parameters.push((decode(key)?, decode(value)?));
    }
    Ok(parameters)
}

/// `h1:1,[::1]:2,h3` → (`h1,::1,h3`, `1,2,`).
fn servers_of(servers: &str) -> Result<(String, String), UrlError> {
    let mut hosts = Vec::new();
    let mut ports = Vec::new();
    for server in servers.split(',') {
        let (host, port) = match server.strip_prefix('[') {
            Some(bracketed) => bracketed
                .split_once(']')
                .map(|(host, rest)| (host, rest.strip_prefix(':').unwrap_or(rest)))
                .ok_or_else(|| syntax("an IPv6 address lacks its closing bracket"))?,
            None => server.split_once(':').unwrap_or((server, "")),
        };
        hosts.push(host);
        ports.push(port);
    }
    Ok((hosts.join(","), ports.join(",")))
}

fn decode(text: &str) -> Result<String, UrlError> {
    percent_decode_str(text)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| syntax("a percent-encoded part is not UTF-8"))
}

fn of_key_values(text: &str) -> Result<Vec<Parameter>, UrlError> {
    let mut parameters = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (key, after) = rest
            .split_once('=')
            .ok_or_else(|| syntax("it is neither a URL nor a list of key=value pairs"))?;
        let (value, after) = key_value(after.trim_start())?;
        parameters.push((key.trim().to_owned(), value));
        rest = after.trim_start();
    }
    Ok(parameters)
}

/// One value and what follows it: `'quoted \' text' …` or `plain …`.
fn key_value(text: &str) -> Result<(String, &str), UrlError> {
    let quoted = text.starts_with('\'');
    let body = if quoted { &text[1..] } else { text };
    let mut value = String::new();
    let mut characters = body.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Ok((value, &body[at + 1..])),
            c if c.is_whitespace() && !quoted => return Ok((value, &body[at..])),
            c => value.push(c),
        }
    }
    if quoted { Err(syntax("a quoted value lacks its closing quote")) } else { Ok((value, "")) }
}

fn syntax(what: &str) -> UrlError {
    UrlError::Syntax(what.to_owned())
}

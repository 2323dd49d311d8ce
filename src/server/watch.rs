//! Looks at the login roles again and again while serving.
//!
//! Works over a control connection of its own, off the path of requests; these only read a flag
//! ([`Standing`]). Roles found harmful close the gateway until they are mended. A database that cannot
//! be reached says nothing about its roles, and changes nothing. Must never be the reason for letting a
//! request in that the last look would have kept out.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_postgres::Client;

use super::ServeError;
use crate::config::DatabaseConfig;
use crate::observe::{Event, Observer};
use crate::pg::control;
use crate::pg::roles::{Login, RoleError, RoleReport, Standing, verify_role};
use crate::pg::slots;
use crate::pg::url::ConnectUrl;

/// While a role is harmful it is looked at this often at least, so that mending it is soon noticed.
const CLOSED_INTERVAL: Duration = Duration::from_secs(5);
/// Limit on one look. A session's own limits would be the role's to set.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// What is looked at, and how.
#[derive(Debug)]
pub struct RoleWatch {
    url: ConnectUrl,
    of_users: Vec<String>,
    logins: Vec<Login>,
    interval: Duration,
    observer: Observer,
    /// Kept from look to look: who changes a login's password cannot keep us from looking.
    client: Option<Client>,
    told: Vec<String>,
}

/// What a look came to.
enum Look {
    Harmless,
    Harmful(String),
    /// Nothing was learnt.
    Unreachable(String),
}

impl RoleWatch {
    /// Watches all logins, and the roles of their slots, over connections of the first.
    pub fn new(database: &DatabaseConfig, observer: Observer) -> Self {
        let mut logins = Vec::new();
        for url in database.logins() {
            let base = url.user().to_owned();
            let slots = (1..=database.slots.unwrap_or(0)).map(|number| Login {
                name: slots::login(&base, number),
                base: Some(base.clone()),
            });
            logins.extend(slots);
            logins.push(Login { name: base, base: None });
        }
        Self {
            url: database.authenticated.clone(),
            of_users: database.logins_of_users(),
            logins,
            interval: database.recheck_interval,
            observer,
            client: None,
            told: Vec::new(),
        }
    }

    /// The look at start: roles that are not harmless do not serve.
    pub async fn first(&mut self, client: Client) -> Result<(), ServeError> {
        let reports = self.reports(&client).await;
        self.client = Some(client);
        let reports = reports.map_err(|error| ServeError::Role(error.to_string()))?;
        self.tell(&reports);
        match harm(reports) {
            Some(harm) => Err(ServeError::Role(harm)),
            None => Ok(()),
        }
    }

    /// Goes on looking for as long as somebody holds `standing`.
    pub fn spawn(mut self, standing: &Arc<Standing>) {
        let standing = Arc::downgrade(standing);
        tokio::spawn(async move {
            let mut pause = self.interval;
            loop {
                sleep(pause).await;
                let look = timeout(LOOK_TIMEOUT, self.look()).await;
                // Unanswered questions are none that the role answered well, but a stalled server is not
                // the role's doing either.
                let look =
                    look.unwrap_or_else(|_| Look::Unreachable("no answer in time".to_owned()));
                let Some(harmless) = self.conclude(look, &standing) else { return };
                pause = if harmless { self.interval } else { self.interval.min(CLOSED_INTERVAL) };
            }
        });
    }

    /// Notes and reports what was found. `None` when nobody wants to know any more.
    fn conclude(&self, look: Look, standing: &Weak<Standing>) -> Option<bool> {
        let standing = standing.upgrade()?;
        match look {
            Look::Harmless => {
                if standing.note(true) {
                    self.observer.emit(&Event::RolesMended);
                }
            }
            Look::Harmful(reason) => {
                if standing.note(false) {
                    self.observer.emit(&Event::RolesHarmful { reason });
                }
            }
            Look::Unreachable(reason) => {
                self.observer.emit(&Event::RoleCheckFailed { reason });
            }
        }
        Some(standing.is_harmless())
    }

    async fn look(&mut self) -> Look {
        let client = match self.client.take() {
            Some(client) if !client.is_closed() => client,
            _ => match control::connect(&self.url).await {
                Ok(client) => client,
                Err(error) => return Look::Unreachable(error.to_string()),
            },
        };
        match self.reports(&client).await {
            Ok(reports) => {
                self.client = Some(client);
                self.tell(&reports);
                harm(reports).map_or(Look::Harmless, Look::Harmful)
            }
            Err(error) if is_away(&error) => Look::Unreachable(error.to_string()),
            // The server answered, and did not let the question be asked: a setting of the role's may
            // be the reason (statement_timeout), so this is no time to go on.
            Err(error) => Look::Harmful(error.to_string()),
        }
    }

    async fn reports(&self, client: &Client) -> Result<Vec<RoleReport>, RoleError> {
        let mut reports = Vec::with_capacity(self.logins.len());
        for login in &self.logins {
            reports.push(verify_role(client, login, &self.of_users).await?);
        }
        Ok(reports)
    }

    /// Reports warnings that were not there at the last look.
    fn tell(&mut self, reports: &[RoleReport]) {
        let warnings: Vec<String> =
            reports.iter().flat_map(|report| report.warnings.iter().cloned()).collect();
        for warning in warnings.iter().filter(|warning| !self.told.contains(warning)) {
            self.observer.emit(&Event::RoleWarning { warning: warning.clone() });
        }
        self.told = warnings;
    }
}

fn harm(reports: Vec<RoleReport>) -> Option<String> {
    let faults: Vec<_> = reports.into_iter().flat_map(|report| report.faults).collect();
    (!faults.is_empty()).then(|| RoleError::Harmful(faults).to_string())
}

/// Whether the connection or the server is in trouble, rather than the question: no SQLSTATE, or one of
/// the classes 08 (connection), 53 (resources), 57P (shutting down).
fn is_away(error: &RoleError) -> bool {
    match error {
        RoleError::Catalogue(error) => error.code().is_none_or(|code| {
            ["08", "53", "57P"].iter().any(|class| code.code().starts_with(class))
        }),
        RoleError::Harmful(_) => false,
    }
}

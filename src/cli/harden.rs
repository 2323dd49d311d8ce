//! `rowgate harden`: takes from the roles that requests run as what they do not need.

use super::Failure;
use crate::config::DatabaseUrls;
use crate::harden::{self, Found, Script};
use crate::pg::control;
use crate::pg::url::ConnectUrl;
use crate::policy;

/// Something is left to be done. (1 and 2 say that nothing could be found out.)
const LEFT: u8 = 3;

const HELP: &str = "\
Prints SQL in two parts: what the owner's login (DATABASE_URL) may run, and what takes a superuser.
Run it by hand after reading it, or with --apply. With DATABASE_SUPERUSER_URL (or
DATABASE_SUPERUSER_URL_FILE) set, --apply runs the second part as well; no other command reads that.

A REVOKE that one may not make is only a warning in PostgreSQL, so that afterwards the database is asked
again; what did not take is listed.

Examples:
  rowgate harden > harden.sql
  rowgate harden --apply
  rowgate harden --check --owner-only     in CI, where no superuser can be had

Exit codes: 0 nothing is left (or printed, without --check); 1 failed; 2 bad usage or configuration;
3 something is left to be done (--check, --apply).";

/// Take from the login roles what they do not need: print, apply or check it
///
/// Reads the live database: grants on tables without row-level security, views that read with their
/// owner's rights, functions with their owner's rights, privileges that everyone has by default.
/// Nothing that policies, defaults or the gateway itself need is taken.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Run what may be run, in one transaction for each login, and look again
    #[arg(long)]
    apply: bool,

    /// Print what is left in a line each, and exit with 3 if there is anything
    #[arg(long, conflicts_with = "apply")]
    check: bool,

    /// Leave out what takes a superuser
    #[arg(long)]
    owner_only: bool,
}

/// Prints, applies or checks.
///
/// # Errors
///
/// No connection, a refusal of the database, or, with --check and --apply, something that is left.
pub async fn run(args: Args, urls: &DatabaseUrls) -> Result<(), Failure> {
    let superuser = urls.superuser.as_ref().filter(|_| !args.owner_only);
    let Some(login) = urls.owner.as_ref().or(superuser) else {
        return Err(Failure::usage(
            "this command needs the connection of the tables' owner, which is not configured",
        )
        .with_hint(
            "set DATABASE_URL=postgresql://owner:password@host/database, or DATABASE_URL_FILE",
        ));
    };
    let name = |url: &Option<ConnectUrl>, default: &str| {
        url.as_ref().map_or(default, |url| url.user()).to_owned()
    };
    let roles = [name(&urls.authenticated, "authenticated"), name(&urls.anonymous, "anonymous")];
    let mut client = control::connect(login).await?;
    let mut roles = Vec::from(roles);
    // The first two are known by their logins, which may be named otherwise.
    let further = policy::api_roles(&client).await?;
    roles.extend(
        further.into_iter().skip(2).filter(|role| !roles.contains(role)).collect::<Vec<_>>(),
    );
    let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
    let mut found = harden::survey(&mut client, &roles).await?;
    if !args.apply {
        return report(&args, &found);
    }
    let scope = |found: &[Found]| {
        let (own, others) = Script { found, own_part_only: args.owner_only }.left();
        own + others
    };
    let before = scope(&found);
    harden::apply(&mut client, &found).await?;
    if let Some(url) = superuser {
        let mut client = control::connect(url).await?;
        let rest = harden::survey(&mut client, &roles).await?;
        harden::apply(&mut client, &rest).await?;
    }
    found = harden::survey(&mut client, &roles).await?;
    let script = Script { found: &found, own_part_only: args.owner_only };
    println!("done: {} of {before}", before.saturating_sub(scope(&found)));
    outcome(&script)
}

fn report(args: &Args, found: &[Found]) -> Result<(), Failure> {
    let script = Script { found, own_part_only: args.owner_only };
    if args.check {
        return outcome(&script);
    }
    print!("{script}");
    Ok(())
}

/// One line for each thing that is left.
fn outcome(script: &Script<'_>) -> Result<(), Failure> {
    for found in script.found {
        for task in found.tasks.iter().filter(|task| task.may || !script.own_part_only) {
            let who = if task.may { "owner" } else { "superuser" };
            println!("left ({who}): {}: {}", found.measure.protection, task.object);
        }
        for (object, reason) in &found.kept {
            println!("kept: {object}: {reason}");
        }
    }
    match script.left() {
        (0, 0) => {
            println!("nothing is left to be done");
            Ok(())
        }
        (own, others) => Err(Failure::left(
            LEFT,
            format!(
                "{own} left that this login may do, {others} that takes a superuser or another owner"
            ),
        )),
    }
}

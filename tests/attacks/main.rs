//! Replays the corpus of attacks against real gateways and judges it by what victim and owner then see.
//!
//!     cargo test --test attacks                                  the product as documented
//!     cargo test --test attacks -- --mode admission-off          what the database holds by itself
//!     cargo test --test attacks -- --all-modes --table FILE      attack × mode, as Markdown
//!
//! Exit code 1 if an attack that is not marked `residual` succeeds in a mode that must hold, if a control
//! fails, or if a connection was left in another state than a new one.

mod answer;
mod corpus;
mod judge;
mod replay;
mod report;
mod residue;
mod server;
mod sharpness;
mod stage;
mod trial;

/// The harness of the behaviour tests.
#[allow(dead_code, unused_imports, reason = "the runner uses its own share of the harness")]
#[path = "../it"]
mod it {
    pub mod harness;
}

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use clap::{Parser, ValueEnum};
use corpus::{Attack, Control, Corpus};
use it::harness::issuer::FakeIssuer;
use rowgate::config::StatementKinds;
use server::{Hardening, Server};
use trial::{Bench, Outcome, Verdict};

/// How the system under test is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Mode {
    /// As documented: the default configuration, after the owner's `rowgate harden --apply`.
    Hardened,
    /// The default configuration, on a database with the grants of a tutorial.
    Unhardened,
    /// Every kind of statement is let through; what the database of a tutorial holds by itself.
    AdmissionOff,
    /// The same, after `rowgate harden --apply` by owner and superuser.
    HardenedAdmissionOff,
}

impl Mode {
    fn statements(self) -> StatementKinds {
        match self {
            Self::Hardened | Self::Unhardened => StatementKinds::Data,
            Self::AdmissionOff | Self::HardenedAdmissionOff => StatementKinds::All,
        }
    }

    fn hardening(self) -> Option<Hardening> {
        match self {
            Self::Hardened => Some(Hardening::ByOwner),
            Self::HardenedAdmissionOff => Some(Hardening::BySuperuser),
            Self::Unhardened | Self::AdmissionOff => None,
        }
    }

    /// Whether a success of an attack is a defect; elsewhere it is what is to be found out.
    fn must_hold(self) -> bool {
        self == Self::Hardened
    }

    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Replays the corpus of attacks.
#[derive(Debug, Parser)]
struct Arguments {
    /// Set-ups to try; default: hardened
    #[arg(long, value_enum)]
    mode: Vec<Mode>,
    /// All set-ups
    #[arg(long)]
    all_modes: bool,
    /// Only entries whose id contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Where to write the table of attacks and modes
    #[arg(long)]
    table: Option<PathBuf>,
    /// Clusters that work side by side
    #[arg(long, default_value_t = 3)]
    jobs: usize,
    /// Prints every answer that attackers got
    #[arg(long)]
    verbose: bool,
    /// Only names the test, for test runners
    #[arg(long)]
    list: bool,
    /// What test runners add; without effect
    #[arg(long, hide = true)]
    exact: bool,
    #[arg(long, hide = true)]
    nocapture: bool,
    #[arg(long, hide = true)]
    ignored: bool,
    #[arg(long, hide = true)]
    format: Option<String>,
    #[arg(long, short, hide = true)]
    quiet: bool,
    #[arg(hide = true)]
    filters: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        if !arguments.ignored {
            println!("corpus: test");
        }
        return ExitCode::SUCCESS;
    }
    if arguments.ignored
        || !arguments.filters.iter().all(|filter| "corpus".contains(filter.as_str()))
    {
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run(&arguments))
}

async fn run(arguments: &Arguments) -> ExitCode {
    let corpus = Arc::new(Corpus::load());
    let mut results = Vec::new();
    let modes = modes(arguments);
    for mode in modes {
        let began = Instant::now();
        let outcomes = run_mode(arguments, &corpus, mode).await;
        report::print_summary(mode, &outcomes, began.elapsed());
        results.push((mode, outcomes));
    }
    if let Some(file) = &arguments.table {
        std::fs::write(file, report::table(&results)).unwrap();
    }
    let failed = results.iter().any(|(mode, outcomes)| {
        outcomes.iter().any(|outcome| {
            outcome.verdict == Verdict::Succeeded && (mode.must_hold() || outcome.is_about_us())
        })
    });
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn modes(arguments: &Arguments) -> Vec<Mode> {
    if arguments.all_modes {
        return Mode::value_variants().to_vec();
    }
    if arguments.mode.is_empty() { vec![Mode::Hardened] } else { arguments.mode.clone() }
}

/// An entry of the corpus, in the order in which the report lists them.
enum Entry {
    Attack(Attack),
    Control(Control),
    PlantedResidue,
    RandomStream,
}

async fn run_mode(arguments: &Arguments, corpus: &Arc<Corpus>, mode: Mode) -> Vec<Outcome> {
    let wanted = |id: &str| id.contains(&arguments.only);
    let controls =
        corpus.controls.iter().filter(|entry| wanted(&entry.id)).cloned().map(Entry::Control);
    let attacks =
        corpus.attacks.iter().filter(|entry| wanted(&entry.id)).cloned().map(Entry::Attack);
    let own = [
        ("runner-finds-planted-residue", Entry::PlantedResidue),
        ("own-left-random-stream", Entry::RandomStream),
    ];
    // What is planted needs languages that a superuser's hardening takes away.
    let can_plant = mode != Mode::HardenedAdmissionOff;
    let own = own
        .into_iter()
        .filter(|(id, entry)| wanted(id) && (can_plant || !matches!(entry, Entry::PlantedResidue)))
        .map(|(_, entry)| entry);
    let entries: VecDeque<(usize, Entry)> =
        own.chain(controls).chain(attacks).enumerate().collect();
    let jobs = arguments.jobs.min(entries.len()).max(1);
    let queue = Arc::new(Mutex::new(entries));
    let workers: Vec<_> = (0..jobs)
        .map(|worker| {
            let (queue, corpus) = (Arc::clone(&queue), Arc::clone(corpus));
            let verbose = arguments.verbose;
            tokio::spawn(work(worker, queue, corpus, mode, verbose))
        })
        .collect();
    let mut outcomes = Vec::new();
    for worker in workers {
        outcomes.extend(worker.await.unwrap());
    }
    outcomes.sort_by_key(|(index, _)| *index);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

async fn work(
    worker: usize,
    queue: Arc<Mutex<VecDeque<(usize, Entry)>>>,
    corpus: Arc<Corpus>,
    mode: Mode,
    verbose: bool,
) -> Vec<(usize, Outcome)> {
    let server = Server::start(worker, &corpus, mode.hardening()).await;
    let issuer = Arc::new(FakeIssuer::start().await);
    let bench = Bench { server: &server, issuer, statements: mode.statements() };
    let mut outcomes = Vec::new();
    loop {
        let Some((index, entry)) = queue.lock().unwrap().pop_front() else { break };
        let outcome = match &entry {
            Entry::PlantedResidue => bench.comparison_is_sharp().await,
            Entry::RandomStream => bench.random_stream_ends_with_its_user().await,
            Entry::Attack(attack) => bench.attack(attack).await,
            Entry::Control(control) => bench.control(control).await,
        };
        report::print_line(mode, &outcome, verbose);
        outcomes.push((index, outcome));
    }
    outcomes
}

//! What can be taken from the roles that requests run as, and what each taking stops.
//!
//! A measure is a query for what is still to be done. What a caller then still can is said in words that
//! do not depend on whether it took: those of the query's answer do.

/// Families of functions and views are found by a pattern over their names.
const COMMON: &str = include_str!("../../sql/harden/common.sql");
const FUNCTIONS: &str = include_str!("../../sql/harden/functions.sql");
const VIEWS: &str = include_str!("../../sql/harden/views.sql");
const SETTINGS: &str = include_str!("../../sql/harden/settings.sql");

/// What a query of a measure is given besides the roles.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question {
    /// Nothing.
    Own(&'static str),
    /// A pattern over names of functions; roles of PostgreSQL's own that go on having them.
    Functions(&'static str, &'static [&'static str]),
    /// The same for views.
    Views(&'static str, &'static [&'static str]),
    /// A setting's name, a pattern over its harmless values, and the value to set.
    Setting(&'static str, &'static str, &'static str),
}

/// One protection that can rest in the database.
#[derive(Debug)]
pub struct Measure {
    /// What callers are kept from, as a noun.
    pub protection: &'static str,
    /// What stops them as long as the database does not.
    pub otherwise: &'static str,
    /// What is possible when only that stops them, and it fails.
    pub risk: &'static str,
    /// What remains when the database does.
    pub remains: &'static str,
    /// Whether login roles of their own for connections have the same effect.
    pub solved_by_slots: bool,
    pub(super) question: Question,
}

impl Measure {
    /// The whole query.
    pub(super) fn sql(&self) -> String {
        let body = match self.question {
            Question::Own(sql) => sql,
            Question::Functions(..) => FUNCTIONS,
            Question::Views(..) => VIEWS,
            Question::Setting(..) => SETTINGS,
        };
        format!("{COMMON}{body}")
    }
}

/// What stops a statement that names what it must not.
const ADMISSION: &str = "the gateway's admission of statements";

/// All of them, in the order in which a script lists them.
pub(super) const MEASURES: &[Measure] = &[
    Measure {
        protection: "reading rows past row-level security",
        otherwise: "nothing",
        risk: "every row of these relations is everybody's",
        remains: "rows that the policies themselves show",
        solved_by_slots: false,
        question: Question::Own(include_str!("../../sql/harden/relations.sql")),
    },
    Measure {
        protection: "running functions that have their owner's rights",
        otherwise: "nothing",
        risk: "callers do through them what their owner may do",
        remains: "what triggers, and functions kept on purpose or needed by policies, do",
        solved_by_slots: false,
        question: Question::Own(include_str!("../../sql/harden/definers.sql")),
    },
    Measure {
        protection: "emptying tables, or hanging keys and triggers on them",
        otherwise: ADMISSION,
        risk: "TRUNCATE asks no policy, REFERENCES tells which values there are",
        remains: "deleting the rows that policies show",
        solved_by_slots: false,
        question: Question::Own(include_str!("../../sql/harden/table_extras.sql")),
    },
    Measure {
        protection: "reading and setting sequences",
        otherwise: ADMISSION,
        risk: "last_value tells how many rows others made; setval breaks their inserts",
        remains: "nextval where the default of a serial column needs it, which tells as much",
        solved_by_slots: false,
        question: Question::Own(include_str!("../../sql/harden/sequences.sql")),
    },
    Measure {
        protection: "creating objects in schemas",
        otherwise: ADMISSION,
        risk: "functions and types can be planted that others' statements find first",
        remains: "nothing known",
        solved_by_slots: false,
        question: Question::Own(include_str!("../../sql/harden/schemas.sql")),
    },
    Measure {
        protection: "temporary objects",
        otherwise: "the gateway's admission and cleaning",
        risk: "a temporary table or type stands in for the real one of the same name",
        remains: "nothing known",
        solved_by_slots: false,
        question: Question::Own(include_str!("../../sql/harden/database.sql")),
    },
    Measure {
        protection: "what is created from now on",
        otherwise: "nothing",
        risk: "new functions, or new tables before their policies, are everybody's",
        remains: "what somebody grants by hand",
        solved_by_slots: false,
        question: Question::Own(include_str!("../../sql/harden/defaults.sql")),
    },
    Measure {
        protection: "reaching other servers",
        otherwise: ADMISSION,
        risk: "foreign servers are read with the rights that their user mappings give",
        remains: "what functions kept on purpose do",
        solved_by_slots: false,
        question: Question::Own(include_str!("../../sql/harden/servers.sql")),
    },
    Measure {
        protection: "seeing what other sessions run",
        otherwise: ADMISSION,
        risk: "others' statements, locks and prepared texts are read, literals included",
        remains: "EXPLAIN's estimates",
        solved_by_slots: true,
        question: Question::Views(
            "^pg_(stat_|statio_|stats$|stats_ext|locks$|cursors$|prepared_|replication_|sequences$|\
             backend_memory|shmem_)",
            &["pg_monitor"],
        ),
    },
    Measure {
        protection: "the functions behind those views",
        otherwise: ADMISSION,
        risk: "the same is read without the views, and counters confirm guessed values",
        remains: "EXPLAIN's estimates; which relations and functions there are (pg_class, pg_proc)",
        solved_by_slots: false,
        question: Question::Functions(
            "^pg_(stat_get_|stat_statements|lock_status$|prepared_|cursor$|blocking_pids$|\
             safe_snapshot_blocking|isolation_test|sequence_last_value$|mcv_list_items$|\
             get_replication_slots$|database_size$|tablespace_size$|relation_size$|table_size$|\
             indexes_size$|total_relation_size$|notification_queue_usage$|control_|conf_load_time$|\
             last_committed_xact$|xact_commit_timestamp|get_multixact_members$)|^currtid2?$|^current_query$",
            &["pg_monitor"],
        ),
    },
    Measure {
        protection: "seeing and changing settings by a view",
        otherwise: ADMISSION,
        risk: "update pg_settings is SET in disguise",
        remains: "set_config, which the gateway's own first statement needs (admission refuses it)",
        solved_by_slots: false,
        question: Question::Views("^pg_(settings|file_settings|config)$", &["pg_monitor"]),
    },
    Measure {
        protection: "ending and cancelling other callers' statements",
        otherwise: ADMISSION,
        risk: "all callers log in as one role, which may end its own sessions",
        remains: "nothing known; the gateway then stops statements by CancelRequest and by closing",
        solved_by_slots: true,
        question: Question::Functions(
            "^pg_(cancel|terminate)_backend$|^pg_log_backend_memory_contexts$",
            &["pg_signal_backend"],
        ),
    },
    Measure {
        protection: "waiting, and holding locks that others wait for",
        otherwise: "the gateway's admission and deadline",
        risk: "advisory locks lock the application out; enough of them exhaust the server",
        remains: "row locks and slow statements, until the deadline",
        solved_by_slots: false,
        question: Question::Functions(
            "^pg_sleep|^pg_(try_)?advisory_(xact_)?lock",
            &["pg_monitor"],
        ),
    },
    Measure {
        protection: "SQL from strings",
        otherwise: ADMISSION,
        risk: "what the gateway does not see, it cannot judge",
        remains: "functions of the application that build SQL from their arguments",
        solved_by_slots: false,
        question: Question::Functions(
            "^(query|cursor|table|schema|database)_to_xml|^ts_(stat|rewrite)$|^dblink|^crosstab|\
             ^connectby$|^xpath_table$",
            &["pg_monitor"],
        ),
    },
    Measure {
        protection: "large objects and files",
        otherwise: ADMISSION,
        risk: "large objects are kept beyond any policy, and fill the disk",
        remains: "nothing known",
        solved_by_slots: false,
        question: Question::Functions(
            "^lo_|^lo(read|write)$|^pg_(read_|ls_|stat_file$|file_|relation_filepath$|current_logfile$)",
            &["pg_monitor"],
        ),
    },
    Measure {
        protection: "leaving something behind for the next caller",
        otherwise: "the gateway's admission and cleaning",
        risk: "notifications, snapshots and replication slots outlive a statement",
        remains: "setseed, which the gateway's own reset needs; LISTEN and NOTIFY as statements",
        solved_by_slots: false,
        question: Question::Functions(
            "^pg_notify$|^pg_export_snapshot$|^pg_logical_|^pg_replication_|\
             ^pg_(create|drop|copy)_.*slot$|^binary_upgrade_|^pg_import_system_collations$|\
             ^pg_stat_(clear|force|reset)",
            &["pg_monitor"],
        ),
    },
    Measure {
        protection: "writing procedural code (DO, CREATE FUNCTION)",
        otherwise: ADMISSION,
        risk: "a DO block swallows cancellations and runs what no parser sees",
        remains: "calling the functions that are granted",
        solved_by_slots: false,
        question: Question::Own(include_str!("../../sql/harden/languages.sql")),
    },
    Measure {
        protection: "filling the disk with temporary files",
        otherwise: "the gateway's deadline",
        risk: "one sort or join may write until the disk is full",
        remains: "1 GB for each session",
        solved_by_slots: false,
        question: Question::Setting("temp_file_limit", "^[0-9]", "1GB"),
    },
    Measure {
        protection: "parameters in the server's log",
        otherwise: "nothing",
        risk: "with statements logged, claims and seals are, too: worth 30 seconds on one connection",
        remains: "literals in the texts of statements",
        solved_by_slots: false,
        question: Question::Setting("log_parameter_max_length", "^0", "0"),
    },
    Measure {
        protection: "parameters in the server's log when a statement fails",
        otherwise: "nothing",
        risk: "with failures logged, claims and seals are, too",
        remains: "values that the messages themselves quote",
        solved_by_slots: false,
        question: Question::Setting("log_parameter_max_length_on_error", "^0", "0"),
    },
];

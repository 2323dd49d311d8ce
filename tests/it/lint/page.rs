//! `docs/lints.md` says of each rule what it is, and names a test that exists.

use std::collections::BTreeSet;

use rowgate::lint::RULES;

const PAGE: &str = include_str!("../../../docs/lints.md");
const TESTS: [&str; 4] = [
    include_str!("rules.rs"),
    include_str!("files.rs"),
    include_str!("commands.rs"),
    include_str!("size.rs"),
];

/// The cells of the row that begins with this text.
fn row(first: &str) -> Option<Vec<&'static str>> {
    let cells = |line: &'static str| -> Vec<&'static str> {
        line.trim_matches('|').split('|').map(str::trim).collect()
    };
    PAGE.lines().filter(|line| line.starts_with('|')).map(cells).find(|row| row[0] == first)
}

#[test]
fn every_rule_has_its_row_with_level_and_tests() {
    for rule in RULES {
        let row = row(rule.id).unwrap_or_else(|| panic!("{} is not on the page", rule.id));
        assert_eq!(row[1], rule.level.word(), "{}", rule.id);
        let names: Vec<&str> = row.last().unwrap().split(", ").collect();
        for name in names {
            let name = name.trim_matches('`');
            let is_there = TESTS.iter().any(|text| {
                text.contains(&format!("fn {name}("))
                    || text.contains(&format!("    {name}: \"{}\"", rule.id))
            });
            assert!(is_there, "{}: there is no test {name}", rule.id);
        }
    }
}

#[test]
fn the_page_names_only_rules_that_exist() {
    let known: BTreeSet<&str> = RULES.iter().map(|rule| rule.id).collect();
    for (at, _) in PAGE.match_indices("RG-L") {
        let id = &PAGE[at..at + "RG-L000".len()];
        assert!(known.contains(id), "{id}");
    }
}

#[test]
fn ids_are_unique_and_in_order() {
    assert!(RULES.windows(2).all(|pair| pair[0].id < pair[1].id));
}

#[test]
fn every_lint_of_the_peers_has_a_row() {
    for number in 1..=29 {
        assert!(PAGE.contains(&format!("| {number:04} ")), "splinter {number:04}");
    }
    let pgrls = [("SEC", 55), ("PERF", 5), ("HYG", 4), ("VIEW", 4)];
    for (family, count) in pgrls {
        for number in 1..=count {
            let id = format!("{family}{number:03}");
            assert!(PAGE.contains(&format!("| {id} ")), "pgrls {id}");
        }
    }
}

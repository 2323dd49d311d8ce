//! `docs/issuers.md`: what can be pasted from it works, and no preset is left out.

use rowgate::config::Preset;

use super::issuers;

const PAGE: &str = include_str!("../../../docs/issuers.md");

/// The page's blocks in this language, with the heading that each stands under.
fn blocks(language: &str) -> Vec<(String, String)> {
    let (mut blocks, mut heading) = (Vec::new(), String::new());
    let mut lines = PAGE.lines();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("## ") {
            title.clone_into(&mut heading);
        } else if let Some(found) = line.strip_prefix("```") {
            let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            if found == language {
                blocks.push((heading.clone(), body.join("\n")));
            }
        }
    }
    blocks
}

#[test]
fn every_configuration_on_the_page_is_one() {
    let blocks = blocks("toml");
    assert!(blocks.len() >= Preset::ALL.len(), "{} blocks", blocks.len());
    for (heading, toml) in blocks {
        if let Err(error) = issuers(&toml) {
            panic!("{heading}: {error}\n{toml}");
        }
    }
}

#[test]
fn every_preset_has_a_section_with_its_configuration_and_a_policy() {
    let (configurations, policies) = (blocks("toml"), blocks("sql"));
    for preset in Preset::ALL {
        let name = format!("preset = {:?}", preset.name());
        let section = configurations.iter().find(|(_, toml)| toml.contains(&name));
        let (heading, _) = section.unwrap_or_else(|| panic!("no configuration with {name}"));
        let policy = policies.iter().find(|(title, _)| title == heading);
        let (_, sql) = policy.unwrap_or_else(|| panic!("no policy under {heading:?}"));
        assert!(sql.contains("(select auth."), "{heading}: {sql}");
    }
}

/// Policies on the page are put on this table.
const TABLE: &str = "create table public.notes (
  id bigint primary key, user_id text, owner uuid, org_id text, tenant text, published boolean)";

#[tokio::test]
async fn every_policy_on_the_page_is_accepted_by_the_database() {
    let database = crate::harness::cluster::fresh_database().await;
    let owner = database.owner().await;
    owner.batch_execute(TABLE).await.unwrap();
    for (heading, sql) in blocks("sql") {
        if let Err(error) = owner.batch_execute(&format!("begin; {sql}; rollback")).await {
            panic!("{heading}: {error:?}\n{sql}");
        }
    }
}

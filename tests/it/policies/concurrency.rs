//! Several processes at once: one works, the others find it done.

use rowgate::policy::{self, Report, SqlSource};

use super::{PROJECT_SQL, Project};
use crate::harness::cluster::{self, PrivateCluster, connect};

async fn migrate(owner_url: String) -> Report {
    let mut client = connect(&owner_url).await;
    policy::migrate(&mut client, &SqlSource::new(PROJECT_SQL), &policy::Options::default())
        .await
        .unwrap()
}

#[tokio::test]
async fn eight_at_once_on_an_empty_database_all_succeed_and_one_works() {
    let database = cluster::empty_database().await;
    let all = (0..8).map(|_| tokio::spawn(migrate(database.owner_url.clone())));
    let mut worked = 0;
    for one in all.collect::<Vec<_>>() {
        worked += usize::from(!one.await.unwrap().is_unchanged());
    }
    assert_eq!(worked, 1);
    let owner = database.owner().await;
    let sql = "select count(*) from auth.seal_keys";
    assert_eq!(owner.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 1);
}

#[tokio::test]
async fn databases_of_a_new_cluster_can_be_migrated_at_the_same_time() {
    // Roles belong to the cluster: here they do not exist yet, and all want to create them.
    let private = PrivateCluster::start().await;
    let mut tasks = Vec::new();
    for _ in 0..6 {
        let database = private.empty_database().await;
        tasks.push(tokio::spawn(migrate(database.owner_url.clone())));
    }
    for task in tasks {
        assert!(!task.await.unwrap().is_unchanged());
    }
}

#[tokio::test]
async fn eight_at_once_after_an_edit_apply_it_once() {
    let project = Project::migrated().await;
    project.append("policies/todos.sql", super::PUBLIC_COMPLETED);
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let (url, source) = (project.database.owner_url.clone(), project.source());
        tasks.push(tokio::spawn(async move {
            let mut client = connect(&url).await;
            policy::apply_policies(&mut client, &source, &policy::Options::default()).await.unwrap()
        }));
    }
    let mut worked = 0;
    for task in tasks {
        worked += usize::from(!task.await.unwrap().is_unchanged());
    }
    assert_eq!(worked, 1);
}

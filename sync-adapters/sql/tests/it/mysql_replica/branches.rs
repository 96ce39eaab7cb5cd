//! A master on MariaDB and tills on SQLite.

use super::{Office, execute, shop};
use crate::loads;
use crate::tills::{assert_all_end_equal, counted};

#[tokio::test]
async fn tills_on_sqlite_and_an_office_on_mariadb_end_equal() {
    let office = Office::with(super::SHOP, counted(&shop())).await;
    let mut clerk = office.host().await;
    let run = async |sql: &str| drop(office.run(sql).await);
    assert_all_end_equal(&office.replica, run, async |sql: &str| execute(&mut clerk, sql).await).await;
}

#[tokio::test]
async fn readers_on_mariadb_see_no_half_of_a_load() {
    let office = Office::with(loads::SCHEMA, loads::tables()).await;
    loads::readers_see_no_half_of_a_load(&office.replica, async || office.run(loads::READ).await).await;
}

//! Accounts and servers that do not let us write: told with what helps.

use super::*;
use sync_core::ErrorKind;

#[tokio::test(flavor = "multi_thread")]
async fn a_postgresql_server_that_only_reads_is_told_and_the_next_run_goes_on() {
    let world = World::filled(Server::Postgres, Server::Postgres.database().await).await;
    let set = |to: &str| format!("ALTER DATABASE {} SET default_transaction_read_only = {to}", world.database.name());
    world.ask(&set("on")).await;
    cut(&world).await;
    world.source.upsert("orders", row(7, 2, "second"));
    let said = world.refusal().await;
    assert!(said.contains("connect to the primary"), "{said}");
    assert_eq!(world.database.client("SELECT n FROM orders WHERE id = 7").await.unwrap(), "1");
    let sink = Postgres::connect(&world.database.url()).await.unwrap();
    assert_eq!(sink.check().await.unwrap_err().kind(), ErrorKind::Forbidden);
    world.ask(&format!("SET default_transaction_read_only = off; {}", set("off"))).await;
    cut(&world).await;
    assert_eq!(count(&world.run().await, Outcome::Updated), 1);
    assert_eq!(world.ask("SELECT n, note FROM orders WHERE id = 7").await, "2\tsecond");
}

/// So that new settings hold.
async fn cut(world: &World) {
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'sync'";
    world.ask(cut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_rights_is_told_which_it_needs() {
    let database = Server::Postgres.database().await;
    let role = format!("reader_{}", &database.name()[..20]);
    let create = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'x'; CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note text); GRANT SELECT ON orders TO {role}"
    );
    database.client(&create).await.unwrap();
    let url = format!("postgres://{role}:x@{}:{}/{}", database.host(), database.port(), database.name());
    let sink = Postgres::connect(&url).await.unwrap();
    let error = sink.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
    assert!(error.to_string().contains("GRANT CREATE ON SCHEMA"), "{error}");
    database.client(&format!("GRANT CREATE ON SCHEMA public TO {role}")).await.unwrap();
    let world = World::by(Server::Postgres, database, &url).await;
    world.source.upsert("orders", row(1, 1, "first"));
    let said = world.refusal().await;
    assert!(said.starts_with("Forbidden") && said.contains("orders"), "{said}");
    assert!(said.contains("GRANT SELECT, INSERT, UPDATE, DELETE"), "{said}");
    world.ask(&format!("GRANT INSERT, UPDATE, DELETE ON orders TO {role}")).await;
    assert_eq!(count(&world.run().await, Outcome::Created), 1);
    // Nothing of the role may be left on a server that others use as well.
    drop(world.engine);
    world.database.client(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_may_not_read_a_table_is_told_to_get_no_more_than_that() {
    let database = Server::Postgres.database().await;
    let role = format!("deaf_{}", &database.name()[..20]);
    let create = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'x'; CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note text)"
    );
    database.client(&create).await.unwrap();
    let url = format!("postgres://{role}:x@{}:{}/{}", database.host(), database.port(), database.name());
    let source = PostgresSource::connect(&url).await.unwrap().table(orders());
    let error = source.check().await.unwrap_err();
    assert!(error.kind() == ErrorKind::Forbidden && error.to_string().contains("orders"), "{error:?}");
    assert_eq!(error.remedy(), "GRANT SELECT ON the table that the message names TO the account");
    drop(source);
    database.client(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}

/// An account that may not use a schema does not see it: the server says that there is none.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_sees_no_schema_is_told_which_right_it_lacks() {
    let database = Server::Postgres.database().await;
    let role = format!("blind_{}", &database.name()[..20]);
    let create = format!("REVOKE ALL ON SCHEMA public FROM PUBLIC; CREATE ROLE {role} LOGIN PASSWORD 'x'");
    database.client(&create).await.unwrap();
    let url = format!("postgres://{role}:x@{}:{}/{}", database.host(), database.port(), database.name());
    let sink = Postgres::connect(&url).await.unwrap();
    let error = sink.prepare(&orders()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Config && error.remedy().contains("GRANT USAGE, CREATE ON SCHEMA"), "{error:?}");
    drop(sink);
    database.client(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_own_a_table_is_told_what_its_owner_must_change() {
    let database = Server::Postgres.database().await;
    let role = format!("guest_{}", &database.name()[..20]);
    let create = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'x'; CREATE TABLE orders (id bigint PRIMARY KEY, n bigint);
        GRANT ALL ON orders TO {role}; GRANT CREATE ON SCHEMA public TO {role}"
    );
    database.client(&create).await.unwrap();
    let url = format!("postgres://{role}:x@{}:{}/{}", database.host(), database.port(), database.name());
    let sink = Postgres::connect(&url).await.unwrap();
    let error = sink.prepare(&orders()).await.unwrap_err();
    assert!(error.to_string().contains("ALTER TABLE \"orders\" ADD COLUMN \"note\" text"), "{error}");
    assert!(
        error.kind() == ErrorKind::Forbidden && error.remedy().contains("let the owner of the table make the change"),
        "{error:?}"
    );
    drop(sink);
    database.client(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}

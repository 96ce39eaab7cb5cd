//! Tables that are there already: taken as they are, grown, or refused with the difference and the remedy.

use sync_core::ErrorKind;

use super::*;

async fn refused(create: &str, stream: StreamSpec) -> (sync_core::Error, Database) {
    let database = sync_test_servers::mariadb().await.unwrap();
    database.client(create).await.unwrap();
    let sink = MySql::connect(&database.url()).await.unwrap();
    (sink.prepare(&stream).await.unwrap_err(), database)
}

/// The statement that an error ends with.
fn statement(error: &sync_core::Error) -> String {
    error.message().split_once("ALTER TABLE").map(|(_, rest)| format!("ALTER TABLE{rest}")).unwrap()
}

fn names() -> StreamSpec {
    StreamSpec::new("names").key(["name"]).text("name")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_would_lose_something_is_refused_with_the_difference() {
    let stream = || StreamSpec::new("orders").key(["id"]);
    for (column, stream, says) in [
        ("v decimal(12,1)", stream().decimal("v", 11, 2), vec!["decimal(12,1)", "decimal(11,2)"]),
        ("v bigint unsigned", stream().int("v"), vec!["bigint(20) unsigned", "\"bigint\""]),
        ("v bigint", stream().uint("v"), vec!["bigint unsigned"]),
        ("v timestamp(6) NULL", stream().timestamp("v"), vec!["timestamp(6)", "datetime(6)"]),
        ("v char(20)", stream().text("v"), vec!["char(20)", "longtext"]),
        ("v double", stream().decimal("v", 10, 2), vec!["\"double\"", "decimal(10,2)"]),
        ("v bigint, w bigint AS (v + 1)", stream().int("w"), vec!["computed by the target table"]),
        ("v datetime(6) ON UPDATE CURRENT_TIMESTAMP(6)", stream().timestamp("v"), vec!["changed on every update"]),
        ("v bigint, w bigint NOT NULL", stream().int("v"), vec!["requires column \"w\""]),
    ] {
        let (error, _database) =
            refused(&format!("CREATE TABLE orders (id bigint PRIMARY KEY, {column})"), stream).await;
        assert_eq!(error.kind(), ErrorKind::Schema);
        says.iter().for_each(|says| assert!(error.to_string().contains(says), "{column}: {error}"));
    }
    let (keyless, _database) = refused("CREATE TABLE orders (id bigint, note text)", stream().text("note")).await;
    assert!(keyless.to_string().contains("unique key over exactly (id)"), "{keyless}");
    let (prefix, _database) = refused(
        "CREATE TABLE names (name varchar(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL, UNIQUE (name(3)))",
        names(),
    )
    .await;
    assert!(prefix.to_string().contains("the whole of these columns"), "{prefix}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_collation_merges_keys_is_refused_until_the_remedy_is_run() {
    for collation in ["utf8mb4_general_ci", "utf8mb4_unicode_ci", "utf8mb4_bin", "utf8mb3_bin", "latin1_bin"] {
        let create = format!("CREATE TABLE names (name varchar(50) COLLATE {collation} PRIMARY KEY)");
        let (error, database) = refused(&create, names()).await;
        assert!(error.to_string().contains(collation), "{error}");
        database.client(&statement(&error)).await.unwrap();
        let keys = ["abc", "ABC", "äbc", "abc ", "abc🍣", "abc🍺"];
        let world = World::on(database, MemorySource::of([names()])).await;
        keys.iter().for_each(|key| world.source.upsert("names", [Value::from(*key)]));
        let report = world.run(RunOptions::incremental()).await;
        assert_eq!(count(&report, Outcome::Created), 6, "{collation}: {report}");
        let again = world.run(RunOptions::full()).await;
        assert_eq!(count(&again, Outcome::Unchanged), 6, "{collation}: {again}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_engines_and_lengths_that_would_lose_something_are_refused() {
    let stream = || StreamSpec::new("orders").key(["id"]).text("note");
    for note in [
        "text CHARACTER SET latin1",
        "varchar(9) CHARACTER SET latin1 COLLATE latin1_bin NOT NULL DEFAULT 'it''s' COMMENT 'a note', KEY (note)",
    ] {
        let (latin, database) =
            refused(&format!("CREATE TABLE orders (id bigint PRIMARY KEY, note {note})"), stream()).await;
        assert!(latin.to_string().contains("latin1"), "{latin}");
        let rest = "SELECT is_nullable, column_default, column_comment FROM information_schema.columns WHERE table_schema = DATABASE() AND column_name = 'note'";
        let before = database.client(rest).await.unwrap();
        database.client(&statement(&latin)).await.unwrap();
        assert_eq!(database.client(rest).await.unwrap(), before, "{latin}");
        MySql::connect(&database.url()).await.unwrap().prepare(&stream()).await.unwrap();
    }
    let view =
        "CREATE TABLE real_orders (id bigint PRIMARY KEY, note text); CREATE VIEW orders AS SELECT * FROM real_orders";
    let (view, _database) = refused(view, stream()).await;
    assert!(view.to_string().contains("a view keeps no rows"), "{view}");
    let (engine, database) = refused(
        "CREATE TABLE orders (id bigint PRIMARY KEY, note longtext CHARACTER SET utf8mb4) ENGINE=MyISAM",
        stream(),
    )
    .await;
    assert!(engine.to_string().contains("MyISAM"), "{engine}");
    database.client(&statement(&engine)).await.unwrap();
    MySql::connect(&database.url()).await.unwrap().prepare(&stream()).await.unwrap();
    let (long, _database) = refused("SELECT 1", StreamSpec::new("x".repeat(65)).key(["id"])).await;
    assert!(long.to_string().contains("64 characters"), "{long}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_is_too_narrow_is_widened_and_keeps_what_else_it_has() {
    let database = sync_test_servers::mariadb().await.unwrap();
    database.client("CREATE TABLE orders (id int AUTO_INCREMENT PRIMARY KEY COMMENT 'it''s, the id', total decimal(8,2) NOT NULL DEFAULT 7, note varchar(3) CHARACTER SET utf8mb4, code varchar(5) CHARACTER SET utf8mb4, at datetime, f float, KEY (code)); INSERT INTO orders VALUES (1, 1.5, 'abc', 'x', '2001-01-01', 0.5)").await.unwrap();
    let sink = MySql::connect(&database.url()).await.unwrap();
    let stream = StreamSpec::new("orders").key(["id"]).decimal("total", 12, 3).text("note").text("code");
    let stream = stream.timestamp("at").float("f").int("added");
    sink.prepare(&stream).await.unwrap();
    let types = "SELECT group_concat(column_type ORDER BY ordinal_position SEPARATOR ' ') FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'orders'";
    assert_eq!(
        database.client(types).await.unwrap(),
        "bigint(20) decimal(12,3) longtext varchar(5) datetime(6) double bigint(20)"
    );
    let kept = "SELECT group_concat(extra, column_comment, is_nullable, ifnull(column_default, '-') ORDER BY ordinal_position SEPARATOR '|') FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'orders' AND ordinal_position < 3";
    assert_eq!(database.client(kept).await.unwrap(), "auto_incrementit's, the idNO-|NO7.000");
    let rows = database.client("SELECT * FROM orders").await.unwrap();
    assert_eq!(rows, "1\t1.500\tabc\tx\t2001-01-01 00:00:00.000000\t0.5\tNULL");
    let before = database.client("SHOW CREATE TABLE orders").await.unwrap();
    sink.prepare(&stream).await.unwrap();
    assert_eq!(database.client("SHOW CREATE TABLE orders").await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_only_reads_is_refused() {
    let server = MariaDbServer::start(Durability::ProcessOnly).await.unwrap();
    let database = server.database().await.unwrap();
    let sink = MySql::connect(&database.url()).await.unwrap();
    sink.check().await.unwrap();
    sink.prepare(&orders()).await.unwrap();
    database.client("SET GLOBAL read_only = 1; CREATE USER plain IDENTIFIED BY 'x'; GRANT ALL ON *.* TO plain; REVOKE READ_ONLY ADMIN, SUPER ON *.* FROM plain").await.unwrap();
    for error in [sink.check().await.unwrap_err(), sink.prepare(&orders()).await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
        assert!(format!("{error:?}").contains("connect to the primary"), "{error}");
    }
    let url = format!("mysql://plain:x@{}:{}/{}", database.host(), database.port(), database.name());
    let plain = MySql::connect(&url).await.unwrap();
    let error = apply(&plain, &[write(&orders(), &[row(1, 1, "a")])], Intent::Commit).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, sync_core::Retry::Backoff), "{error}");
    assert!(format!("{error:?}").contains("connect to the primary"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_rights_is_told_which_it_needs() {
    let database = sync_test_servers::mariadb().await.unwrap();
    let user = format!("u{}", &database.name()[..20]);
    database
        .client(&format!(
            "CREATE USER {user} IDENTIFIED BY 'x'; GRANT SELECT, INSERT ON {}.* TO {user}",
            database.name()
        ))
        .await
        .unwrap();
    let url = format!("mysql://{user}:x@{}:{}/{}", database.host(), database.port(), database.name());
    let sink = MySql::connect(&url).await.unwrap();
    for error in [sink.check().await.unwrap_err(), sink.prepare(&orders()).await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
        assert!(format!("{error:?}").contains("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE"), "{error}");
    }
    database.client(&format!("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP, CREATE TEMPORARY TABLES ON {}.* TO {user}", database.name())).await.unwrap();
    let sink = MySql::connect(&url).await.unwrap();
    sink.check().await.unwrap();
    sink.prepare(&orders()).await.unwrap();
    let wrong = MySql::connect(&url.replace(":x@", ":wrong@")).await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Unauthorized, "{wrong}");
    let nowhere = MySql::connect(&url.replace(database.name(), "nowhere")).await.unwrap_err();
    assert!(matches!(nowhere.kind(), ErrorKind::Config | ErrorKind::Forbidden), "{nowhere}");
    database.client(&format!("DROP USER {user}")).await.unwrap();
}

//! Somebody changes the table between two units: the next one stops, and says what is different.

use std::sync::Arc;

use super::*;
use sync_core::detect::Difference;
use sync_core::model::Changes;
use sync_core::sink::{Altered, Guard, Intent, Step, Write, WriteMode, WriteUnit};
use sync_core::{ErrorKind, Rows, Scope};

async fn write(sink: &dyn Sink, stream: &StreamSpec, rows: &[Vec<Value>]) -> sync_core::Result<()> {
    let mut page = Rows::new(Arc::clone(stream.schema()));
    rows.iter().for_each(|row| page.push(row.iter().map(Value::as_ref)).unwrap());
    let steps = [Step::Write(Write {
        stream: Arc::new(stream.clone()),
        changes: Changes::upserts(page),
        mode: WriteMode::Upsert,
        guard: Guard::Always,
        difference: Difference::Content,
        expect: Vec::new(),
    })];
    let scope =
        Scope { pipeline: "p".into(), feed: "f".into(), partition: Default::default(), lane: Default::default() };
    sink.apply(&WriteUnit { scope: &scope, steps: &steps, advance: None, intent: Intent::Commit }).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_changed_between_two_units_is_refused_with_the_difference() {
    let stream = StreamSpec::new("prices").key(["id"]).text("note").decimal("price", 10, 2).timestamp("at");
    let row = |id: i64, price: &str| {
        let at = Value::Timestamp(sync_core::model::Timestamp::from_micros(1_500_000));
        vec![id.into(), "a note".into(), Value::Decimal(price.parse().unwrap()), at]
    };
    for server in BOTH {
        let retype = |column: &str, to: &str| match server {
            Server::Postgres => format!("ALTER TABLE prices ALTER COLUMN {column} TYPE {to}"),
            Server::MariaDb => format!("ALTER TABLE prices MODIFY COLUMN {column} {to}"),
        };
        let (time, tenths) = match server {
            Server::Postgres => ("timestamp(0) with time zone", "numeric(10,1)"),
            Server::MariaDb => ("datetime", "decimal(10,1)"),
        };
        let changes = [
            ("DROP TABLE prices".to_owned(), vec!["it is gone"]),
            ("ALTER TABLE prices DROP COLUMN note".to_owned(), vec!["column \"note\" (", "is gone"]),
            // These would bend what is written, and no server says a word.
            (retype("price", tenths), vec!["column \"price\" was", "(10,2)", "(10,1)"]),
            (retype("at", time), vec!["column \"at\" was", time]),
            (retype("note", "varchar(4)"), vec!["column \"note\" was"]),
        ];
        for (change, says) in changes {
            let database = server.database().await;
            let sink = server.connect(&database.url()).await.unwrap();
            sink.prepare(&stream).await.unwrap();
            write(&*sink, &stream, &[row(1, "1.00")]).await.unwrap();
            // What stands there must not be in the way of the change.
            database.client(&format!("DELETE FROM prices; {change}")).await.unwrap();
            let error = write(&*sink, &stream, &[row(2, "2.25")]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Schema, "{server:?}: {change}: {error}");
            says.iter().for_each(|says| assert!(error.to_string().contains(says), "{server:?}: {change}: {error}"));
            let told = error.to_string().matches("was changed while").count();
            assert_eq!(told, 1, "{server:?}: {change}: {error}");
            let helps = if change.starts_with("DROP TABLE") { "the option `full`" } else { "run again" };
            assert!(error.remedy().contains(helps), "{server:?}: {change}: {}", error.remedy());
            if !change.starts_with("DROP TABLE") {
                assert_eq!(database.client("SELECT count(*) FROM prices").await.unwrap(), "0", "{server:?}: {change}");
            }
        }
        // What takes nothing away is nobody's concern.
        let database = server.database().await;
        let sink = server.connect(&database.url()).await.unwrap();
        sink.prepare(&stream).await.unwrap();
        database.client("ALTER TABLE prices ADD COLUMN more int").await.unwrap();
        write(&*sink, &stream, &[row(1, "1.00")]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_is_gone_from_a_table_is_made_again_and_told() {
    let stream = StreamSpec::new("prices").key(["id"]).text("note");
    for server in BOTH {
        let database = server.database().await;
        let sink = server.connect(&database.url()).await.unwrap();
        assert_eq!(sink.lacking(&stream).await.unwrap(), Altered::default(), "{server:?}: there is no table");
        assert_eq!(sink.prepare(&stream).await.unwrap(), Altered::default(), "{server:?}: the table is new");
        database.client("ALTER TABLE prices DROP COLUMN note").await.unwrap();
        assert_eq!(sink.lacking(&stream).await.unwrap().added, ["note"], "{server:?}");
        assert_eq!(sink.prepare(&stream).await.unwrap().added, ["note"], "{server:?}");
        assert_eq!(sink.prepare(&stream).await.unwrap(), Altered::default(), "{server:?}: nothing was lacking");
        assert_eq!(sink.lacking(&stream).await.unwrap(), Altered::default(), "{server:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_is_widened_is_told() {
    let narrow = StreamSpec::new("prices").key(["id"]).text("note").decimal("price", 8, 2);
    let wide = StreamSpec::new("prices").key(["id"]).text("note").decimal("price", 12, 2);
    for server in BOTH {
        let database = server.database().await;
        let sink = server.connect(&database.url()).await.unwrap();
        sink.prepare(&narrow).await.unwrap();
        let widened = Altered { widened: vec!["price".to_owned()], ..Altered::default() };
        assert_eq!(sink.lacking(&wide).await.unwrap(), widened, "{server:?}");
        assert_eq!(sink.prepare(&wide).await.unwrap(), widened, "{server:?}");
        assert_eq!(sink.prepare(&wide).await.unwrap(), Altered::default(), "{server:?}: it is wide enough");
    }
}

/// While all rows are new they are copied without a look, and only the key refuses one that is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_loses_its_key_between_two_units_takes_no_row_twice() {
    let stream = StreamSpec::new("prices").key(["id"]).text("note");
    let database = Server::Postgres.database().await;
    let sink = Server::Postgres.connect(&database.url()).await.unwrap();
    sink.prepare(&stream).await.unwrap();
    let rows: Vec<Vec<Value>> = (1..=500_i64).map(|id| vec![id.into(), "x".repeat(200).as_str().into()]).collect();
    write(&*sink, &stream, &rows).await.unwrap();
    database.client("ALTER TABLE prices DROP CONSTRAINT prices_pkey").await.unwrap();
    write(&*sink, &stream, &rows).await.unwrap();
    assert_eq!(database.client("SELECT count(*) FROM prices").await.unwrap(), "500");
}

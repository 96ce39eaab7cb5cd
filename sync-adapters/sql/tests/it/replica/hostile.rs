//! Names that try to be SQL stay names.

use sync_core::StreamSpec;
use sync_core::two_way::{Replica as _, Table, Tables};

use super::{Till, row, told, write};

#[tokio::test]
async fn tables_and_columns_with_quotes_in_their_names_take_part() {
    let (table, id, note) = ("x\"; DROP TABLE 'y'; --", "i'd", "no\"te %s");
    let tables = || Tables::new([Table::new(StreamSpec::new(table).text(id).key([id]).text(note))]).unwrap();
    let till = Till::with("", tables()).await;
    let name = table.replace('"', "\"\"");
    assert_eq!(
        told(&till.noticed(&format!("INSERT INTO \"{name}\" VALUES ('a', 'b')")).await),
        [format!("{table} a: - > a,b")]
    );
    let mut tx = till.replica.begin().await.unwrap();
    tx.write(&[write(&tables(), table, "a", Some(row(["a", "c"])))]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(told(&till.after(1).await), [format!("{table} a: a,b > a,c")]);
    till.open(tables()).await.unwrap();
}

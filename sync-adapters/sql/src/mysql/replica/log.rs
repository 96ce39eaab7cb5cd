//! What all tables share: the log, the head of the feed, and the procedure that gives what was committed its place in it.

/// How many slots there are for the numbers of transactions. Sessions that share one are not told apart by it.
pub(super) const SLOTS: u32 = 1024;

/// What all tables share. Each statement can be run again.
///
/// `trx` names the transaction: its entries are visible together or not at all. `seq` is the place in the feed; what has none
/// is not in the feed yet.
pub(super) fn statements(exact: &str) -> Vec<String> {
    let text = |length: u32| format!("varchar({length}) CHARACTER SET utf8mb4 COLLATE {exact} NOT NULL");
    let create = |table: &str, columns: String| format!("CREATE TABLE IF NOT EXISTS {table} ({columns}) ENGINE=InnoDB");
    vec![
        create(
            "_sync_ctx",
            format!(
                "id tinyint NOT NULL PRIMARY KEY, node {}, epoch bigint NOT NULL, seq bigint NOT NULL, rev bigint NOT NULL, trimmed bigint NOT NULL",
                text(700)
            ),
        ),
        create("_sync_table", format!("name {} PRIMARY KEY, made {}, seen {}", text(64), text(64), text(64))),
        // Tables of which a trigger says that it could not see them.
        create("_sync_missed", format!("id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, tbl {}", text(64))),
        create(
            "_sync_log",
            format!(
                "id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, trx bigint unsigned NOT NULL, tbl {}, hlc bigint NOT NULL, origin {},
                 op bigint, seen bigint NOT NULL, upstream tinyint NOT NULL, seq bigint, grp bigint, nonce bigint, KEY seq (seq)",
                text(64),
                text(700)
            ),
        ),
        // A row that is inserted here is told the number of its transaction. It is taken out again at once. Between two rows
        // that stay there is room for the sessions of one slot: a host in REPEATABLE READ that goes back to a savepoint keeps the
        // room around what it had inserted locked until it ends, and nobody else's.
        format!(
            "{} WITH SYSTEM VERSIONING",
            create(
                "_sync_trx",
                "slot bigint unsigned NOT NULL, id bigint unsigned NOT NULL, trx bigint unsigned GENERATED ALWAYS AS ROW START,
                 gone bigint unsigned GENERATED ALWAYS AS ROW END INVISIBLE, PERIOD FOR SYSTEM_TIME (trx, gone),
                 PRIMARY KEY (slot, id)"
                    .to_owned()
            )
        ),
        format!(
            "INSERT IGNORE INTO _sync_trx (slot, id) WITH RECURSIVE digit AS (SELECT 0 AS i UNION ALL SELECT i + 1 FROM digit WHERE i < 15)
             SELECT a.i + 16 * b.i + 256 * c.i, 0 FROM digit a, digit b, digit c WHERE a.i + 16 * b.i + 256 * c.i <= {SLOTS}"
        ),
        // What writes come from elsewhere in a transaction that is open. No row of it is ever committed.
        create("_sync_in", "conn bigint unsigned NOT NULL PRIMARY KEY, now bigint NOT NULL".to_owned()),
        create(
            "_sync_book",
            "book varchar(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, id varbinary(3000) NOT NULL, body longblob NOT NULL, PRIMARY KEY (book, id)"
                .to_owned(),
        ),
        SEQUENCE.to_owned(),
    ]
}

/// Gives a place to every change that is committed and has none.
///
/// One runs at a time, whoever calls: a lock on the head of the feed is held until the places are visible. What it sees are
/// whole transactions, since a snapshot shows all of one or nothing. What it does not see gets a later place, so that no
/// transaction that is still open holds it up. Transactions stand in the order of their last write: whoever wrote a row after
/// another one waited for that one's end, and so has a later last write.
///
/// One call is one transaction inside the server: nobody who stalls or dies can hold the lock.
const SEQUENCE: &str = "CREATE OR REPLACE PROCEDURE _sync_sequence() SQL SECURITY INVOKER MODIFIES SQL DATA
BEGIN
  DECLARE head, place, first_place, last_id BIGINT DEFAULT 0;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN ROLLBACK; RESIGNAL; END;
  -- In any other isolation, what is seen is older than the lock.
  SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
  START TRANSACTION;
  SELECT c.seq INTO head FROM _sync_ctx c FOR UPDATE;
  SET place = head;
  -- One statement is one snapshot. (A window would read a large transaction once for each of its rows.)
  FOR r IN (SELECT l.id, g.last_one FROM _sync_log l JOIN (SELECT f.trx, MAX(f.id) AS last_one FROM _sync_log f
              WHERE f.seq IS NULL GROUP BY f.trx) g ON g.trx = l.trx WHERE l.seq IS NULL ORDER BY g.last_one, l.id) DO
    SET place = place + 1;
    IF r.last_one <> last_id THEN SET first_place = place, last_id = r.last_one; END IF;
    UPDATE _sync_log l SET l.seq = place, l.grp = first_place, l.nonce = FLOOR(RAND() * 4503599627370496) WHERE l.id = r.id;
  END FOR;
  IF place > head THEN UPDATE _sync_ctx c SET c.seq = place, c.rev = GREATEST(c.rev, last_id); END IF;
  COMMIT;
END";

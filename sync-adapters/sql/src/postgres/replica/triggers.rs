//! The triggers that notice what the host writes, with any connection and any program, and the function that gives what was
//! committed its place in the feed.
//!
//! Triggers compare: what they record is the difference between the host's row as it stands and what the feed last said of
//! it. So a write that changes nothing leaves no trace, it does not matter in which order triggers of the host run, and what
//! was missed while a trigger was switched off is found by the same comparison over the whole table.

use sync_core::model::Kind;

use super::batch;
use super::layout::{Layout, type_of};
use crate::replica::{Names, list, literal};

/// What all tables share, in this schema. Each statement can be run again.
///
/// `xid` names the transaction: its entries are visible together or not at all. `seq` is the place in the feed; what has none
/// is not in the feed yet.
pub(super) fn shared(schema: &str) -> Vec<String> {
    vec![
        format!(
            "CREATE TABLE IF NOT EXISTS {schema}._sync_ctx (
               id integer PRIMARY KEY CHECK (id = 1), node text NOT NULL, epoch bigint NOT NULL, seq bigint NOT NULL,
               rev bigint NOT NULL, trimmed bigint NOT NULL)"
        ),
        format!("CREATE TABLE IF NOT EXISTS {schema}._sync_table (name text PRIMARY KEY, made text NOT NULL, seen text NOT NULL)"),
        format!("CREATE SEQUENCE IF NOT EXISTS {schema}._sync_rev"),
        format!(
            "CREATE TABLE IF NOT EXISTS {schema}._sync_log (
               id bigint PRIMARY KEY, xid xid8 NOT NULL, tbl text NOT NULL, hlc bigint NOT NULL, origin text NOT NULL, op bigint,
               seen bigint NOT NULL, upstream boolean NOT NULL, seq bigint, grp bigint, nonce bigint)"
        ),
        format!("CREATE UNIQUE INDEX IF NOT EXISTS _sync_log_seq ON {schema}._sync_log (seq)"),
        format!("CREATE INDEX IF NOT EXISTS _sync_log_new ON {schema}._sync_log (id) WHERE seq IS NULL"),
        format!(
            "CREATE TABLE IF NOT EXISTS {schema}._sync_book (book text NOT NULL, id text COLLATE \"C\" NOT NULL, body bytea NOT NULL,
               PRIMARY KEY (book, id))"
        ),
        sequence(schema),
    ]
}

/// Gives a place to every change that is committed and has none.
///
/// One runs at a time, whoever calls: a lock on the head of the feed is held until the places are visible. What it sees are
/// whole transactions, since a snapshot shows all of one or nothing. What it does not see gets a later place, so that no
/// transaction that is still open holds it up. Transactions stand in the order of their last write: whoever wrote a row after
/// another one waited for that one's end, and so has a later last write.
///
/// One call is one statement: nobody who stalls or dies can hold the lock.
fn sequence(schema: &str) -> String {
    let body = format!(
        "DECLARE
  head bigint; many bigint; highest bigint;
BEGIN
  -- In any other isolation, what is seen is older than the lock.
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'places in the feed are given in READ COMMITTED' USING ERRCODE = 'invalid_transaction_state';
  END IF;
  SELECT c.seq INTO head FROM {schema}._sync_ctx c FOR UPDATE;
  WITH fresh AS MATERIALIZED (SELECT l.id, max(l.id) OVER (PARTITION BY l.xid) AS last FROM {schema}._sync_log l WHERE l.seq IS NULL),
  ordered AS (SELECT f.id, f.last, row_number() OVER (ORDER BY f.last, f.id) AS place FROM fresh f),
  placed AS (SELECT o.id, o.place, min(o.place) OVER (PARTITION BY o.last) AS first FROM ordered o),
  moved AS (
    UPDATE {schema}._sync_log l SET seq = head + p.place, grp = head + p.first, nonce = floor(random() * 4503599627370496)::bigint
    FROM placed p WHERE l.id = p.id RETURNING l.id)
  SELECT count(*), max(id) INTO many, highest FROM moved;
  UPDATE {schema}._sync_ctx SET seq = seq + many, rev = greatest(rev, highest) WHERE many > 0;
END"
    );
    format!(
        "CREATE OR REPLACE FUNCTION {schema}._sync_sequence() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS {}",
        literal(&body)
    )
}

/// The host's table, as it was found.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) oid: i64,
    /// With its schema.
    pub(super) name: String,
    /// Every declared column and the number of its type: `price:1700`.
    pub(super) columns: Vec<String>,
}

/// The functions and triggers of a table, in the order in which they can be made.
pub(super) fn objects(schema: &str, layout: &Layout, host: &Host, node: &str) -> Vec<String> {
    let Host { name, .. } = host;
    let trigger = |trigger: &str, when: &str, each: &str| {
        [
            format!("DROP TRIGGER IF EXISTS {trigger} ON {name}"),
            format!(
                "CREATE TRIGGER {trigger} AFTER {when} ON {name} FOR EACH {each} EXECUTE FUNCTION {}()",
                layout.note
            ),
            // Fires for a subscription as well, and for whoever sets `session_replication_role`.
            format!("ALTER TABLE {name} ENABLE ALWAYS TRIGGER {trigger}"),
        ]
    };
    // A table that was swapped away keeps its triggers: they go with the function.
    let mut objects = drops(layout);
    objects.extend([put(schema, layout, host, node), note(layout, host)]);
    objects.extend(batch::function(layout, host));
    objects.extend(trigger("_sync_row", "INSERT OR UPDATE OR DELETE", "ROW"));
    objects.extend(trigger("_sync_truncate", "TRUNCATE", "STATEMENT"));
    objects
}

/// Takes the functions out, and the triggers with them, whichever tables have them.
pub(super) fn drops(layout: &Layout) -> Vec<String> {
    let mut drops = vec![
        format!("DROP FUNCTION IF EXISTS {}() CASCADE", layout.note),
        format!("DROP FUNCTION IF EXISTS {}({})", layout.put, key_types(layout)),
    ];
    drops.extend(layout.make.as_ref().map(|make| format!("DROP FUNCTION IF EXISTS {make}")));
    drops
}

fn key_types(layout: &Layout) -> String {
    layout.key.iter().map(|&column| type_of(layout.fields()[column].kind())).collect::<Vec<_>>().join(", ")
}

/// What runs in the host's transactions. A host that has changed its table since is not stopped: what it writes is found when
/// the replica looks at the schema again. A row that a policy hides is not one that is gone.
fn note(layout: &Layout, host: &Host) -> String {
    let Layout { note, put, row, .. } = layout;
    let key = |alias: &str| passed(layout, |names| format!("{alias}.{}", names.host));
    let columns: Vec<String> = host.columns.iter().map(|column| literal(column)).collect();
    let body = format!(
        "BEGIN
  IF to_regclass({name})::oid IS DISTINCT FROM {oid}::oid OR row_security_active({oid}::oid) OR (SELECT count(*) FROM pg_attribute a
      WHERE a.attrelid = {oid} AND a.attnum > 0 AND NOT a.attisdropped
        AND a.attname || ':' || a.atttypid = ANY (ARRAY[{columns}])) <> {count} THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'TRUNCATE' THEN
    PERFORM {put}({known}) FROM (SELECT {kept} FROM {row} b WHERE NOT b.deleted ORDER BY {kept}) b;
    RETURN NULL;
  END IF;
  IF TG_OP <> 'INSERT' THEN
    PERFORM {put}({old});
    IF TG_OP = 'DELETE' OR ROW({old}) IS NOT DISTINCT FROM ROW({new}) THEN
      RETURN NULL;
    END IF;
  END IF;
  PERFORM {put}({new});
  RETURN NULL;
END",
        name = literal(&host.name),
        oid = host.oid,
        columns = columns.join(", "),
        count = columns.len(),
        kept = layout.keys("b."),
        known = passed(layout, |names| format!("b.{}", names.kept)),
        old = key("OLD"),
        new = key("NEW"),
    );
    function(&format!("{note}() RETURNS trigger"), &body)
}

/// A key, as it is given to the function that records. A function compares its texts in the collation of what it was given: this
/// one gives way to the collation of each table.
fn passed(layout: &Layout, piece: impl Fn(&Names) -> String) -> String {
    let names = layout.key_names().zip(&layout.key);
    let one = names.map(|(names, &column)| {
        let kind = layout.fields()[column].kind();
        let collation = if kind == Kind::Text { " COLLATE \"default\"" } else { "" };
        format!("{}::{}{collation}", piece(names), type_of(kind))
    });
    one.collect::<Vec<_>>().join(", ")
}

/// A function that runs with the rights of the one who made it, and finds nothing but what is named in full.
fn function(head: &str, body: &str) -> String {
    // Its text is read in the host's session, which may take a backslash in a name for an escape.
    let strings = if body.contains('\\') { " SET standard_conforming_strings = on" } else { "" };
    let body = literal(body);
    format!(
        "CREATE FUNCTION {head} LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp{strings} AS {body}"
    )
}

/// Records the difference between a row and what the feed last said of it.
fn put(schema: &str, layout: &Layout, host: &Host, node: &str) -> String {
    let Layout { put, row, log, .. } = layout;
    let parameters: Vec<String> = (0..layout.key.len()).map(|place| format!("p{place}")).collect();
    let declared: Vec<String> = parameters
        .iter()
        .zip(&layout.key)
        .map(|(name, &column)| format!("{name} {}", type_of(layout.fields()[column].kind())))
        .collect();
    let by_key = |piece: &dyn Fn(&Names) -> String| -> String {
        let names = layout.key_names().zip(&parameters);
        names.map(|(names, parameter)| format!("{} = {parameter}", piece(names))).collect::<Vec<_>>().join(" AND ")
    };
    let values = |piece: &dyn Fn(&Names) -> String| -> String {
        layout.values().map(|names| format!(", {}", piece(names))).collect()
    };
    let stands: Vec<String> = layout
        .columns
        .iter()
        .zip(layout.fields())
        .map(|(names, field)| format!("t.{}::{} AS {}", names.host, type_of(field.kind()), names.after))
        .collect();
    let body = format!(
        "#variable_conflict use_variable
DECLARE
  stands record; book record; has boolean; had boolean; known boolean; staged boolean; n bigint; v_hlc bigint; v_origin text; v_op bigint;
  v_seen bigint; v_upstream boolean;
BEGIN
  SELECT {stands} INTO stands FROM {host} t WHERE {host_key};
  has := FOUND;
  SELECT * INTO book FROM {row} b WHERE {kept_key};
  known := FOUND;
  -- An old snapshot shows a row that was deleted since, beside the one that takes its place: here it is told to try again.
  IF known AND current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
    PERFORM FROM {row} b WHERE {kept_key} FOR UPDATE;
  END IF;
  had := known AND NOT book.deleted;
  staged := coalesce(current_setting('sync.row', true) = {row_name}, false);
  IF has AND had THEN
    IF NOT ({differs}) THEN RETURN; END IF;
  ELSIF NOT has AND NOT had AND NOT (staged AND NOT known) THEN
    RETURN;
  END IF;
{guard}  n := nextval({rev});
  IF staged THEN
    v_hlc := current_setting('sync.hlc')::bigint; v_origin := current_setting('sync.origin'); v_op := current_setting('sync.op')::bigint;
    v_seen := current_setting('sync.seen')::bigint; v_upstream := current_setting('sync.upstream')::boolean;
    PERFORM set_config('sync.row', '', true);
  ELSE
    v_hlc := greatest(coalesce(nullif(current_setting('sync.now', true), '')::bigint,
      floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) << 16, coalesce(book.hlc, 0) + 1);
    v_origin := {node}; v_op := NULL; v_seen := coalesce(book.seen, 0); v_upstream := false;
  END IF;
  INSERT INTO {schema}._sync_log (id, xid, tbl, hlc, origin, op, seen, upstream)
    VALUES (n, pg_current_xact_id(), {table}, v_hlc, v_origin, v_op, v_seen, v_upstream);
  INSERT INTO {log} (id, {keys}, had, has{befores}{afters}) VALUES (n, {parameters}, had, has{kept}{new});
  INSERT INTO {row} ({keys}{keeps}, rev, hlc, origin, op, seen, deleted)
    VALUES ({parameters}{new}, n, v_hlc, v_origin, v_op, v_seen, NOT has)
    ON CONFLICT ({keys}) DO UPDATE SET rev = excluded.rev, hlc = excluded.hlc, origin = excluded.origin, op = excluded.op,
      seen = excluded.seen, deleted = excluded.deleted{sets} WHERE has OR known;
  -- A host has put in a row meanwhile of which nothing was known: it is there, and was not looked at.
  IF NOT FOUND THEN
    RAISE EXCEPTION USING MESSAGE = 'the row has come meanwhile', ERRCODE = 'unique_violation';
  END IF;
END",
        stands = stands.join(", "),
        host = host.name,
        host_key = by_key(&|names| format!("t.{}", names.host)),
        kept_key = by_key(&|names| format!("b.{}", names.kept)),
        row_name = layout.row_name(|place| format!("p{place}")),
        differs = differs(layout, ("stands", "book"), |names| &names.after),
        guard = guard(layout),
        rev = literal(&format!("{schema}._sync_rev")),
        node = literal(node),
        table = literal(layout.name()),
        keys = layout.keys(""),
        befores = values(&|names| names.before.clone()),
        afters = values(&|names| names.after.clone()),
        kept = values(&|names| format!("book.{}", names.kept)),
        keeps = values(&|names| names.kept.clone()),
        new = values(&|names| format!("stands.{}", names.after)),
        parameters = parameters.join(", "),
        sets = values(&|names| format!("{0} = excluded.{0}", names.kept)),
    );
    function(&format!("{put}({}) RETURNS void", declared.join(", ")), &body)
}

/// A row is not what the book of rows says of it.
fn differs(layout: &Layout, (of, book): (&str, &str), one: impl Fn(&Names) -> &str) -> String {
    let columns = layout.columns.iter().zip(layout.fields()).filter(|(names, _)| !names.is_key);
    let differ = columns.map(|(names, field)| {
        // A collation may take different texts for the same, and json is not compared at all.
        let cast = match field.kind() {
            Kind::Text => " COLLATE \"C\"",
            Kind::Json => "::text COLLATE \"C\"",
            _ => "",
        };
        format!("{of}.{}{cast} IS DISTINCT FROM {book}.{}{cast}", one(names), names.kept)
    });
    let differ: Vec<String> = differ.collect();
    if differ.is_empty() { "false".to_owned() } else { differ.join(" OR ") }
}

/// Refuses what could not be read again: it would stop every reader of the feed.
fn guard(layout: &Layout) -> String {
    let mut checks = String::new();
    for (names, field) in layout.columns.iter().zip(layout.fields()) {
        let value = format!("stands.{}", names.after);
        let wrong = match field.kind() {
            Kind::Timestamp | Kind::Date => {
                format!("{value} NOT BETWEEN '4713-01-01 BC' AND '200000-01-01'")
            }
            Kind::UInt => format!("{value} NOT BETWEEN 0 AND 18446744073709551615 OR {value} <> trunc({value})"),
            Kind::Decimal { .. } => format!("{value} IN ('NaN', 'Infinity', '-Infinity')"),
            _ => continue,
        };
        let what = format!(
            "column {:?} of table {:?} takes part in two-way sync and must hold {}",
            field.name(),
            layout.name(),
            field.kind()
        );
        checks.push_str(&format!(
            "  IF has AND ({wrong}) THEN RAISE EXCEPTION USING MESSAGE = {}, ERRCODE = 'check_violation'; END IF;\n",
            literal(&what)
        ));
    }
    checks
}

/// The keys of all rows that are not what the feed last said of them, in an order.
pub(super) fn missed(layout: &Layout) -> String {
    let Layout { row, host, .. } = layout;
    let keys = layout.keys("");
    let host_key = |(names, &column): (&Names, &usize)| {
        // One order for both halves.
        let exact = if layout.fields()[column].kind() == Kind::Text { " COLLATE \"C\"" } else { "" };
        format!("t.{}::{}{exact} AS {}", names.host, type_of(layout.fields()[column].kind()), names.kept)
    };
    let hosts: Vec<String> = layout.key_names().zip(&layout.key).map(host_key).collect();
    let is_row = layout.is_row("b");
    format!(
        "SELECT {keys} FROM (
  SELECT {b_keys}, 0 AS come FROM {row} b WHERE NOT b.deleted AND NOT EXISTS (SELECT FROM {host} t WHERE {is_row})
  UNION ALL
  SELECT {hosts}, 1 FROM {host} t LEFT JOIN {row} b ON {is_row} WHERE b.rev IS NULL OR b.deleted OR {differs}
) missed ORDER BY come, {keys}",
        b_keys = list(layout.key_names(), |names| format!("b.{}", names.kept)),
        hosts = hosts.join(", "),
        differs = differs(layout, ("t", "b"), |names| &names.host),
    )
}

/// Records every difference between the host's table and what the feed last said.
pub(super) fn sweep(layout: &Layout) -> String {
    let key = passed(layout, |names| format!("m.{}", names.kept));
    format!("SELECT count(*) FROM (SELECT {}({key}) FROM ({}) m OFFSET 0) put", layout.put, missed(layout))
}

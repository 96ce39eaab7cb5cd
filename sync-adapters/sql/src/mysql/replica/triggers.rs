//! The triggers that notice what the host writes, with any connection and any program, and the procedures they call.
//!
//! Triggers compare: what they record is the difference between the host's row and what the feed last said of it. So a write
//! that changes nothing leaves no trace, and what was missed while a trigger was gone is found by the same comparison over
//! the whole table.
//!
//! Hosts are in REPEATABLE READ, as MariaDB's default is. There InnoDB locks whatever a trigger reads, and where nothing is
//! found, the gap in which others want to insert. So a row that is new to the host's table is first made in ours, and then read.

use sync_core::model::Kind;

use super::cascade::Edges;
use super::layout::Layout;
use super::log::SLOTS;
use crate::replica::{Names, and, list, literal};

/// What MariaDB says of a column, index or procedure that is gone, or of a value that does not fit its type: the host has changed its table. It is
/// not stopped; the table is compared as a whole at the next look.
const DRIFT: &str = "1054, 1176, 1305, 1264, 1265, 1292, 1366, 1406";

/// What there is about each table, in the order in which it can be taken out.
const OBJECTS: [(&str, &str); 9] = [
    ("ins", "TRIGGER"),
    ("upd", "TRIGGER"),
    ("del", "TRIGGER"),
    ("put", "PROCEDURE"),
    ("see", "PROCEDURE"),
    ("redo", "PROCEDURE"),
    ("trim", "PROCEDURE"),
    ("gone", "PROCEDURE"),
    ("out", "PROCEDURE"),
];

/// What there is about each table, triggers first.
pub(super) fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    OBJECTS.into_iter()
}

/// Takes out what runs when a table is written to, whichever table has the triggers.
pub(super) fn drop_triggers(layout: &Layout) -> Vec<String> {
    drops(layout).into_iter().take(3).collect()
}

/// Takes everything out that runs.
pub(super) fn drops(layout: &Layout) -> Vec<String> {
    all().map(|(what, kind)| format!("DROP {kind} IF EXISTS {}", layout.ours(what))).collect()
}

/// The procedures and triggers of a table, in the order in which they can be made. Those that are there must be gone.
pub(super) fn objects(layout: &Layout, node: &str, edges: &Edges<'_>) -> Vec<String> {
    let mut objects = vec![put(layout, node), see(layout), redo(layout), trim(layout)];
    objects.extend(edges.procedures(layout));
    let trigger = |what: &str, when: &str, body: String| {
        format!(
            "CREATE TRIGGER {} AFTER {when} ON {} FOR EACH ROW BEGIN\n  {}\n{body}END",
            layout.ours(what),
            layout.host,
            drift(layout.name())
        )
    };
    let put = |stands: &str| format!("CALL {}({stands}, {});\n", layout.ours("put"), passed(layout, &new));
    let insert = format!("{}  {}", guard(layout, &new), put(NEW));
    let gone = gone(layout, &old);
    let same_key = and(layout.key_names(), |names| format!("BINARY {} <=> BINARY {}", old(names), new(names)));
    let update = format!(
        "{}  IF {same_key} THEN\n    {}  ELSE\n    {gone}    {}  END IF;\n{}",
        guard(layout, &new),
        put(STANDS),
        put(NEW),
        edges.moved(layout)
    );
    objects.push(trigger("ins", "INSERT", insert));
    objects.push(trigger("upd", "UPDATE", update));
    objects.push(trigger("del", "DELETE", format!("{}  {gone}", edges.call_gone(layout, &old))));
    objects
}

/// How a row stands that `put` is told of: it is not there.
const GONE: &str = "0";

/// It is there, and was before.
const STANDS: &str = "1";

/// It is there, and was not before.
const NEW: &str = "2";

/// The call that notes a row which is there no more.
pub(super) fn gone(layout: &Layout, piece: &dyn Fn(&Names) -> String) -> String {
    let values = layout.columns.iter().map(|names| if names.is_key { piece(names) } else { "NULL".to_owned() });
    format!("CALL {}({GONE}, {});\n", layout.ours("put"), values.collect::<Vec<_>>().join(", "))
}

fn new(names: &Names) -> String {
    format!("NEW.{}", names.host)
}

pub(super) fn old(names: &Names) -> String {
    format!("OLD.{}", names.host)
}

fn drift(table: &str) -> String {
    format!("DECLARE EXIT HANDLER FOR {DRIFT} INSERT INTO _sync_missed (tbl) VALUES ({});", literal(table))
}

/// The values of a row, each in the one form in which equal values are equal.
fn passed(layout: &Layout, piece: &dyn Fn(&Names) -> String) -> String {
    let columns = layout.columns.iter().zip(layout.fields());
    let pieces = columns.map(|(names, field)| match field.kind() {
        Kind::Bool => format!("{} <> 0", piece(names)),
        _ => piece(names),
    });
    pieces.collect::<Vec<_>>().join(", ")
}

/// Refuses what could not be read again: it would stop every reader of the feed.
fn guard(layout: &Layout, piece: &dyn Fn(&Names) -> String) -> String {
    let mut checks = String::new();
    for (names, field) in layout.columns.iter().zip(layout.fields()) {
        let value = piece(names);
        let fits = match field.kind() {
            Kind::Timestamp | Kind::Date => {
                format!("{value} >= '0001-01-01' AND DAYOFMONTH({value}) BETWEEN 1 AND DAYOFMONTH(LAST_DAY({value}))")
            }
            Kind::UInt => format!("{value} BETWEEN 0 AND 18446744073709551615 AND {value} = FLOOR({value})"),
            Kind::Decimal { precision, scale } => format!("{value} = CAST({value} AS DECIMAL({precision},{scale}))"),
            _ => continue,
        };
        let what = format!(
            "column {:?} of table {:?} takes part in two-way sync and must hold {}",
            field.name(),
            layout.name(),
            field.kind()
        );
        // 128 characters are what a message may have.
        let what = literal(&what.chars().take(128).collect::<String>());
        checks.push_str(&format!(
            "  IF {value} IS NOT NULL AND NOT COALESCE({fits}, 0) THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = {what}; END IF;\n"
        ));
    }
    checks
}

/// Of two texts, MariaDB says that they are equal where their collation does.
fn same(field: Kind, one: &str, other: &str) -> String {
    match field {
        Kind::Text | Kind::Json | Kind::Bytes => format!("BINARY {one} <=> BINARY {other}"),
        Kind::Bool => format!("({one} <> 0) <=> ({other} <> 0)"),
        _ => format!("{one} <=> {other}"),
    }
}

/// All columns besides the key are the same in both.
fn all_same(layout: &Layout, one: impl Fn(usize) -> String, other: impl Fn(usize) -> String) -> String {
    let columns = layout.columns.iter().zip(layout.fields()).enumerate().filter(|(_, (names, _))| !names.is_key);
    let same: Vec<String> = columns.map(|(at, (_, field))| same(field.kind(), &one(at), &other(at))).collect();
    if same.is_empty() { "1".to_owned() } else { same.join(" AND ") }
}

/// The row of one of our tables is the one whose key the procedure was given.
fn is_given(layout: &Layout, alias: &str) -> String {
    let names = layout.key_names().zip(&layout.key);
    names.map(|(names, column)| format!("{alias}{} = p{column}", names.kept)).collect::<Vec<_>>().join(" AND ")
}

/// Records the difference between a row and what the feed last said of it.
fn put(layout: &Layout, node: &str) -> String {
    let Layout { row, log, .. } = layout;
    let values = || (0..layout.columns.len()).filter(|&at| !layout.columns[at].is_key);
    let with = |piece: &dyn Fn(usize) -> String| values().map(|at| format!(", {}", piece(at))).collect::<String>();
    let parameters: Vec<String> = layout.types.iter().enumerate().map(|(at, of)| format!("p{at} {of}")).collect();
    let before: String = values().map(|at| format!("  DECLARE b{at} {};\n", layout.types[at])).collect();
    let given = layout.key.iter().map(|column| format!("p{column}")).collect::<Vec<_>>().join(", ");
    let keys = layout.keys("");
    format!(
        "CREATE PROCEDURE {name}(p_has TINYINT, {parameters}) SQL SECURITY DEFINER MODIFIES SQL DATA
put: BEGIN
  DECLARE had, known, staged, v_upstream TINYINT DEFAULT 0;
  DECLARE n, b_hlc, b_seen, v_now, v_hlc, v_op, v_seen BIGINT;
  DECLARE v_trx, v_slot, v_number BIGINT UNSIGNED;
  DECLARE v_origin VARCHAR(700) CHARACTER SET utf8mb4 COLLATE {exact};
{before}  DECLARE CONTINUE HANDLER FOR NOT FOUND BEGIN END;
  IF p_has = {NEW} THEN
    INSERT INTO {row} ({keys}, rev, hlc, origin, seen, deleted) VALUES ({given}, 0, 0, '', 0, 1) ON DUPLICATE KEY UPDATE seen = seen;
  END IF;
  SELECT 1, NOT b.deleted, b.hlc, b.seen{kept} INTO known, had, b_hlc, b_seen{into} FROM {row} b WHERE {is_given} FOR UPDATE;
  IF @sync_conn = CONNECTION_ID() THEN
    SELECT i.now INTO v_now FROM _sync_in i WHERE i.conn = CONNECTION_ID();
    SET staged = v_now IS NOT NULL AND COALESCE(BINARY @sync_row = BINARY {row_name}, 0);
  END IF;
  IF p_has AND had THEN
    IF {same} THEN LEAVE put; END IF;
  ELSEIF NOT p_has AND NOT had AND NOT (staged AND NOT known) THEN
    LEAVE put;
  END IF;
  IF staged THEN
    SET v_hlc = @sync_hlc, v_origin = @sync_origin, v_op = @sync_op, v_seen = @sync_seen, v_upstream = @sync_upstream, @sync_row = NULL;
  ELSE
    SET v_hlc = GREATEST(COALESCE(v_now, TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(3)) DIV 1000) * 65536,
      COALESCE(b_hlc, 0) + 1), v_origin = {node}, v_seen = COALESCE(b_seen, 0);
  END IF;
  SET v_slot = CONNECTION_ID() MOD {SLOTS}, v_number = UUID_SHORT();
  INSERT INTO _sync_trx (slot, id) VALUES (v_slot, v_number);
  SELECT k.trx INTO v_trx FROM _sync_trx k WHERE k.slot = v_slot AND k.id = v_number;
  DELETE FROM _sync_trx WHERE slot = v_slot AND id = v_number;
  INSERT INTO _sync_log (trx, tbl, hlc, origin, op, seen, upstream) VALUES (v_trx, {table}, v_hlc, v_origin, v_op, v_seen, v_upstream);
  SET n = LAST_INSERT_ID();
  INSERT INTO {log} (id, {keys}, had, has{befores}{afters}) VALUES (n, {given}, had, p_has > 0{into}{new});
  IF known THEN
    UPDATE {row} b SET b.rev = n, b.hlc = v_hlc, b.origin = v_origin, b.op = v_op, b.seen = v_seen, b.deleted = NOT p_has{sets} WHERE {is_given};
  ELSE
    INSERT INTO {row} ({keys}, rev, hlc, origin, op, seen, deleted{names}) VALUES ({given}, n, v_hlc, v_origin, v_op, v_seen, NOT p_has{new});
  END IF;
END",
        name = layout.ours("put"),
        parameters = parameters.join(", "),
        exact = layout.exact,
        is_given = is_given(layout, "b."),
        kept = with(&|at| format!("b.{}", layout.columns[at].kept)),
        into = with(&|at| format!("b{at}")),
        new = with(&|at| format!("p{at}")),
        row_name = layout.row_name(|place| format!("p{}", layout.key[place])),
        same = all_same(layout, |at| format!("p{at}"), |at| format!("b{at}")),
        node = literal(node),
        table = literal(layout.name()),
        befores = with(&|at| layout.columns[at].before.clone()),
        afters = with(&|at| layout.columns[at].after.clone()),
        names = with(&|at| layout.columns[at].kept.clone()),
        sets = with(&|at| format!("b.{} = p{at}", layout.columns[at].kept)),
    )
}

/// Compares a row that may have changed by itself: with no trigger firing, or while there was none.
fn see(layout: &Layout) -> String {
    let keys = layout.key.iter().map(|&column| format!("p{column} {}", layout.types[column])).collect::<Vec<_>>();
    let values = || (0..layout.columns.len()).filter(|&at| !layout.columns[at].is_key);
    let declared: String = values().map(|at| format!("  DECLARE p{at} {};\n", layout.types[at])).collect();
    let is_row = layout.key_names().zip(&layout.key).map(|(names, column)| format!("t.{} = p{column}", names.host));
    let into: String = values().map(|at| format!(", p{at}")).collect();
    let host = |names: &Names| format!("t.{}", names.host);
    let read: String = values()
        .map(|at| match layout.fields()[at].kind() {
            Kind::Bool => format!(", {} <> 0", host(&layout.columns[at])),
            _ => format!(", {}", host(&layout.columns[at])),
        })
        .collect();
    let is_row = is_row.collect::<Vec<_>>().join(" AND ");
    // A value that does not fit is refused before it is taken for one of the declared type.
    let unfit = guard(layout, &host);
    let fits = match unfit.is_empty() {
        true => String::new(),
        false => format!(
            "  FOR t IN (SELECT {} FROM {} t WHERE {is_row}) DO\n{unfit}  END FOR;\n",
            layout.all("t.", |names| &names.host),
            layout.host
        ),
    };
    format!(
        "CREATE PROCEDURE {}({}) SQL SECURITY DEFINER MODIFIES SQL DATA
BEGIN
  DECLARE has TINYINT DEFAULT 0;
{declared}  DECLARE CONTINUE HANDLER FOR NOT FOUND BEGIN END;
  {}
{fits}  SELECT 1{read} INTO has{into} FROM {} t WHERE {is_row};
  CALL {}(has, {});
END",
        layout.ours("see"),
        keys.join(", "),
        drift(layout.name()),
        layout.host,
        layout.ours("put"),
        (0..layout.columns.len()).map(|at| format!("p{at}")).collect::<Vec<_>>().join(", "),
    )
}

/// The keys of all rows that are not what the feed last said of them, in an order.
pub(super) fn missed(layout: &Layout) -> String {
    let Layout { row, host, .. } = layout;
    let keys = layout.keys("");
    let is_row = layout.is_row("b");
    let hosts = list(layout.key_names(), |names| format!("t.{} AS {}", names.host, names.kept));
    let same =
        all_same(layout, |at| format!("t.{}", layout.columns[at].host), |at| format!("b.{}", layout.columns[at].kept));
    format!(
        "SELECT {keys} FROM (
  SELECT {b_keys}, 0 AS come FROM {row} b WHERE NOT b.deleted AND NOT EXISTS (SELECT 1 FROM {host} t WHERE {is_row})
  UNION ALL
  SELECT {hosts}, 1 FROM {host} t LEFT JOIN {row} b ON {is_row} WHERE b.rev IS NULL OR b.deleted OR NOT ({same})
) missed ORDER BY come, {keys}",
        b_keys = layout.keys("b."),
    )
}

/// Records every difference between the host's table and what the feed last said.
fn redo(layout: &Layout) -> String {
    format!(
        "CREATE PROCEDURE {}() SQL SECURITY DEFINER MODIFIES SQL DATA
BEGIN
  FOR r IN ({}) DO CALL {}({}); END FOR;
END",
        layout.ours("redo"),
        missed(layout),
        layout.ours("see"),
        list(layout.key_names(), |names| format!("r.{}", names.kept)),
    )
}

/// Forgets the entries of a table up to a place, and deleted rows whose delete is among them. Rows that a host is writing are
/// passed by, with their entries.
fn trim(layout: &Layout) -> String {
    let Layout { row, log, .. } = layout;
    let same = layout.same("b", "i");
    let is_row = and(layout.key_names(), |names| format!("b.{0} = r.{0}", names.kept));
    format!(
        "CREATE PROCEDURE {name}(up_to BIGINT) SQL SECURITY INVOKER MODIFIES SQL DATA
BEGIN
  -- The last entry of each row that is still what it says.
  FOR r IN (SELECT {keys}, b.deleted, b.op, l.seq FROM _sync_log l JOIN {log} i ON i.id = l.id JOIN {row} b ON {same} AND b.rev = i.id
            WHERE l.seq <= up_to AND l.tbl = {table} AND (b.deleted OR b.op IS NULL) FOR UPDATE SKIP LOCKED) DO
    IF r.deleted THEN DELETE FROM {row} WHERE {gone}; ELSE UPDATE {row} b SET b.op = r.seq WHERE {is_row}; END IF;
  END FOR;
  FOR r IN (SELECT l.id FROM _sync_log l JOIN {log} i ON i.id = l.id WHERE l.seq <= up_to AND l.tbl = {table}
              AND NOT EXISTS (SELECT 1 FROM {row} b WHERE {same} AND b.rev = i.id AND (b.deleted OR b.op IS NULL))) DO
    DELETE FROM {log} WHERE id = r.id;
    DELETE FROM _sync_log WHERE id = r.id;
  END FOR;
END",
        name = layout.ours("trim"),
        keys = layout.keys("b."),
        table = literal(layout.name()),
        gone = and(layout.key_names(), |names| format!("{0} = r.{0}", names.kept)),
    )
}

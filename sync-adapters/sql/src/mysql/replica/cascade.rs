//! What foreign keys do to other rows: MariaDB fires no triggers for it, so the triggers of the parent look at the rows that
//! hung on it.
//!
//! Which rows those were, our books of rows know: when a trigger behind the delete runs, InnoDB has deleted them.

use sync_core::model::Kind;

use super::dialect::Shared;
use super::foreign::{Acts, Foreign};
use super::layout::Layout;
use super::triggers::{gone, old};
use crate::replica::{Names, list, literal};

/// InnoDB goes no deeper.
const DEPTH: u32 = 16;

/// What foreign keys do to a table's children.
pub(super) struct Edges<'f> {
    shared: Option<&'f Shared>,
    pub(super) foreign: &'f [Foreign],
}

impl<'f> Edges<'f> {
    /// The edges of all tables.
    pub(super) fn new(shared: &'f Shared, foreign: &'f [Foreign]) -> Self {
        Self { shared: Some(shared), foreign }
    }

    /// None.
    pub(super) fn none() -> Self {
        Self { shared: None, foreign: &[] }
    }

    pub(super) fn layout(&self, table: &str) -> Option<&'f Layout> {
        self.shared.and_then(|shared| shared.layouts.get(table))
    }

    /// Rules by which rows of this table change declared rows of another, and the children's layouts.
    pub(super) fn of(
        &self,
        layout: &Layout,
        acts: impl Fn(&Foreign) -> Acts,
    ) -> impl Iterator<Item = (&'f Foreign, &'f Layout)> {
        let rules = self
            .foreign
            .iter()
            .filter(move |rule| rule.parent.as_deref() == Some(layout.name()) && acts(rule) != Acts::Nothing);
        rules.filter_map(|rule| {
            let child = self.layout(&rule.child)?;
            // What only columns change that nobody declared is no change.
            rule.columns.iter().any(|column| child.field(column).is_some()).then_some((rule, child))
        })
    }

    /// Columns of a table by which rows hang on it that go with it, or are emptied.
    fn refs(&self, layout: &Layout) -> Vec<usize> {
        let named = |column: &usize| {
            let name = layout.fields()[*column].name();
            self.of(layout, |rule| rule.on_delete).any(|(rule, _)| rule.referenced.iter().any(|other| other == name))
        };
        (0..layout.columns.len()).filter(named).collect()
    }

    /// The call that looks at what hung on a row that is gone.
    pub(super) fn call_gone(&self, layout: &Layout, piece: &dyn Fn(&Names) -> String) -> String {
        let refs = self.refs(layout);
        if refs.is_empty() {
            return String::new();
        }
        let values = list(refs.iter().map(|&column| &layout.columns[column]), piece);
        format!("  CALL {}({values});\n", layout.ours("gone"))
    }

    /// The procedures that look at what hung on a row that is gone.
    pub(super) fn procedures(&self, layout: &Layout) -> Vec<String> {
        let refs = self.refs(layout);
        if refs.is_empty() {
            return Vec::new();
        }
        let parameters = refs.iter().map(|&column| format!("p{column} {}", layout.types[column])).collect::<Vec<_>>();
        // Where foreign keys are switched off, nothing becomes of anybody.
        let procedure = |what: &str, body: &str| {
            format!(
                "CREATE PROCEDURE {}({}) SQL SECURITY DEFINER MODIFIES SQL DATA\nIF @@foreign_key_checks THEN\n{body}END IF",
                layout.ours(what),
                parameters.join(", ")
            )
        };
        let out = self.out(layout);
        let below = self.below(layout, !out.is_empty());
        match (below.is_empty(), out.is_empty()) {
            (true, _) => vec![procedure("gone", &out)],
            (false, true) => vec![procedure("gone", &below)],
            (false, false) => {
                let given = refs.iter().map(|column| format!("p{column}")).collect::<Vec<_>>().join(", ");
                let all = format!("{below}  CALL {}({given});\n", layout.ours("out"));
                vec![procedure("out", &out), procedure("gone", &all)]
            }
        }
    }

    /// Looks at rows of other tables.
    fn out(&self, layout: &Layout) -> String {
        let rules = self.of(layout, |rule| rule.on_delete).filter(|(rule, _)| rule.child != layout.name());
        let look = |(rule, child): (&Foreign, &Layout)| {
            let follow = match rule.on_delete {
                Acts::Follows => self.call_gone(child, &kept),
                _ => String::new(),
            };
            let given = layout.numbers(&rule.referenced).into_iter().map(|column| format!("p{column}")).collect();
            format!("{}{follow}  {}\n  END FOR;\n", each(rule, child, given), after(rule, child))
        };
        rules.map(look).collect()
    }

    /// Looks at rows of the same table, those that hang on the others first, and at what hung on each.
    fn below(&self, layout: &Layout, has_out: bool) -> String {
        let rules: Vec<&Foreign> = self
            .of(layout, |rule| rule.on_delete)
            .filter(|(rule, _)| rule.child == layout.name())
            .map(|(rule, _)| rule)
            .collect();
        if rules.is_empty() {
            return String::new();
        }
        let all = layout.all("b.", |names| &names.kept);
        let columns = |rule: &Foreign| layout.numbers(&rule.columns);
        let hangs = |rule: &Foreign, on: &dyn Fn(usize) -> String| {
            let pairs = columns(rule).into_iter().zip(layout.numbers(&rule.referenced));
            pairs
                .map(|(column, referenced)| format!("b.{} = {}", layout.columns[column].kept, on(referenced)))
                .collect::<Vec<_>>()
                .join(" AND ")
        };
        let follows = |rule: &Foreign| u8::from(rule.on_delete == Acts::Follows);
        let mut arms: Vec<String> = Vec::new();
        for rule in &rules {
            arms.push(format!(
                "(SELECT {all}, {} AS follows, 1 AS depth FROM {} b FORCE INDEX ({}) WHERE NOT b.deleted AND {} FOR UPDATE)",
                follows(rule),
                layout.row,
                rule.index(),
                hangs(rule, &|column| format!("p{column}"))
            ));
        }
        for rule in &rules {
            arms.push(format!(
                "(SELECT {all}, {}, d.depth + 1 FROM {} b FORCE INDEX ({}) JOIN below d ON {}
       WHERE NOT b.deleted AND d.follows AND d.depth < {DEPTH} FOR UPDATE)",
                follows(rule),
                layout.row,
                rule.index(),
                hangs(rule, &|column| format!("d.{}", layout.columns[column].kept))
            ));
        }
        let names = layout.all("", |names| &names.kept);
        let refs = self.refs(layout);
        let out = match has_out {
            true => {
                let given = list(refs.iter().map(|&column| &layout.columns[column]), kept);
                format!("  IF r.follows THEN CALL {}({given}); END IF;\n", layout.ours("out"))
            }
            false => String::new(),
        };
        format!(
            "  FOR r IN (WITH RECURSIVE below ({names}, follows, depth) AS ({}) SELECT {names}, follows, depth FROM below ORDER BY depth DESC) DO
{out}  IF r.follows THEN {} ELSE {} END IF;
  END FOR;
",
            arms.join("\n    UNION "),
            gone(layout, &kept).trim_end(),
            see(layout)
        )
    }

    /// Looks at the rows whose references followed an update, or were emptied by it.
    pub(super) fn moved(&self, layout: &Layout) -> String {
        let rules = self.of(layout, |rule| rule.on_update).filter(|(rule, _)| rule.child != layout.name());
        let look = |(rule, child): (&Foreign, &Layout)| {
            let referenced = layout.numbers(&rule.referenced);
            let same = referenced.iter().map(|&column| {
                let names = &layout.columns[column];
                format!("BINARY {} <=> BINARY NEW.{}", old(names), names.host)
            });
            let same = same.collect::<Vec<_>>().join(" AND ");
            let body = match self.downstream(rule, child) {
                // Keys change with their parents', or others hang on what changes: the tables are compared as a whole.
                Some(tables) => {
                    let tables = tables.iter().map(|table| format!("({})", literal(table)));
                    format!("    INSERT INTO _sync_missed (tbl) VALUES {};\n", tables.collect::<Vec<_>>().join(", "))
                }
                None => {
                    let given = referenced.iter().map(|&column| old(&layout.columns[column])).collect();
                    format!("{}  {}\n  END FOR;\n", each(rule, child, given), see(child))
                }
            };
            format!("  IF NOT ({same}) THEN\n{body}  END IF;\n")
        };
        rules.map(look).collect()
    }

    /// The tables that an update reaches in ways that only a comparison finds.
    fn downstream(&self, rule: &Foreign, child: &Layout) -> Option<Vec<String>> {
        let is_key = rule.columns.iter().any(|column| child.table.spec().key_columns().contains(column));
        let mut tables = vec![child.name().to_owned()];
        let mut at = 0;
        while let Some(table) = tables.get(at).cloned() {
            let next = self.layout(&table).into_iter().flat_map(|layout| self.of(layout, |rule| rule.on_update));
            for (_, below) in next {
                if !tables.iter().any(|table| table == below.name()) {
                    tables.push(below.name().to_owned());
                }
            }
            at += 1;
        }
        (is_key || tables.len() > 1).then_some(tables)
    }

    /// The statements that let the rows be found which hang on others.
    pub(super) fn indexes(&self, layout: &Layout) -> Vec<String> {
        let rules = self.foreign.iter().filter(|rule| {
            rule.child == layout.name() && (rule.on_delete != Acts::Nothing || rule.on_update != Acts::Nothing)
        });
        let mut statements: Vec<String> = Vec::new();
        for rule in rules {
            let columns = layout.numbers(&rule.columns);
            let pieces = columns.iter().map(|&column| {
                let names = &layout.columns[column];
                let kind = layout.fields()[column].kind();
                let long = !names.is_key && matches!(kind, Kind::Text | Kind::Json | Kind::Bytes);
                format!("{}{}", names.kept, if long { "(100)" } else { "" })
            });
            let statement = format!(
                "CREATE INDEX IF NOT EXISTS {} ON {} ({})",
                rule.index(),
                layout.row,
                pieces.collect::<Vec<_>>().join(", ")
            );
            if !columns.is_empty() && !statements.contains(&statement) {
                statements.push(statement);
            }
        }
        statements
    }
}

/// The beginning of a loop over the rows that hung on a row of which these values are known. They are locked as their deletes have
/// locked them in the host's table.
fn each(rule: &Foreign, child: &Layout, given: Vec<String>) -> String {
    let columns = child.numbers(&rule.columns).into_iter().zip(given);
    let hang = columns.map(|(column, given)| format!("b.{} = {given}", child.columns[column].kept)).collect::<Vec<_>>();
    format!(
        "  FOR r IN (SELECT {} FROM {} b FORCE INDEX ({}) WHERE NOT b.deleted AND {} FOR UPDATE) DO\n",
        child.all("b.", |names| &names.kept),
        child.row,
        rule.index(),
        hang.join(" AND ")
    )
}

fn kept(names: &Names) -> String {
    format!("r.{}", names.kept)
}

/// What is done about a row whose parent is gone. One that has followed it is not looked for: that would lock the gap it has left.
fn after(rule: &Foreign, child: &Layout) -> String {
    match rule.on_delete {
        Acts::Follows => gone(child, &kept).trim_end().to_owned(),
        _ => see(child),
    }
}

fn see(child: &Layout) -> String {
    format!("CALL {}({});", child.ours("see"), list(child.key_names(), kept))
}

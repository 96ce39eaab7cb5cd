//! What must be true in the end. Each check says what is wrong, or nothing.

use std::collections::{BTreeMap, BTreeSet};

use sync_tests::selling::ledger::{Entry, Kind};
use sync_tests::selling::shop::{CENTS, CLIENT, NOTICE, PRODUCTS, STOCK};
use sync_tests::selling::till::VOID;

use crate::contents::{Contents, Row};

/// What the ledgers of all tills say: entries, with the till's number.
pub(crate) type Ledgers = Vec<(usize, Entry)>;

/// Everything that is wrong.
pub(crate) fn wrongs(ledgers: &Ledgers, master: &Contents, tills: &[Contents]) -> Vec<String> {
    let mut wrongs = Vec::new();
    for (number, till) in (1..).zip(tills) {
        wrongs.extend(differences(master, till).into_iter().map(|what| format!("till {number} {what}")));
    }
    wrongs.extend(sales(ledgers, master));
    wrongs.extend(stock(ledgers, master));
    wrongs.extend(last_word(ledgers, master, Kind::Price, "prices", &CENTS.to_string()));
    wrongs.extend(last_word(ledgers, master, Kind::Notice, "notices", NOTICE));
    wrongs.extend(overruled(ledgers, master));
    wrongs.extend(too_old(ledgers, master));
    wrongs
}

/// All databases are equal in all tables.
pub(crate) fn differences(master: &Contents, till: &Contents) -> Vec<String> {
    let mut wrongs = Vec::new();
    for (table, wanted) in master {
        let (wanted, found): (BTreeSet<&Row>, BTreeSet<&Row>) = (wanted.iter().collect(), till[table].iter().collect());
        wrongs.extend(wanted.difference(&found).map(|row| format!("lacks {row:?} in {table}")));
        wrongs.extend(found.difference(&wanted).map(|row| format!("has {row:?} in {table}, and the master has not")));
    }
    wrongs
}

/// Every sale that was acknowledged is there exactly once, as it was made; and no other is there.
fn sales(ledgers: &Ledgers, master: &Contents) -> Vec<String> {
    let mut found: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in &master["sales"] {
        found.entry(&row[0]).or_default().push(row);
    }
    let (mut wrongs, voids) = (Vec::new(), done(ledgers, Kind::Void));
    let voided: BTreeSet<&str> = voids.filter_map(|(_, void)| void.id.strip_prefix(VOID)).collect();
    let doubtful =
        |(_, entry): &&(usize, Entry)| [Kind::Sale, Kind::Void].contains(&entry.kind) && entry.done.is_none();
    for (till, entry) in ledgers.iter().filter(doubtful) {
        wrongs.push(format!("till {till} does not know what became of sale {}", entry.id));
    }
    for (till, sale) in ledgers.iter().filter(|(_, entry)| entry.kind == Kind::Sale) {
        let made = [&sale.id, CLIENT, &format!("till-{till}"), &sale.of, &sale.detail].map(str::to_owned);
        let found = found.remove(sale.id.as_str());
        if voided.contains(&*sale.id) {
            wrongs.extend(found.map(|_| format!("sale {} was taken back and is there", sale.id)));
            continue;
        }
        match (sale.done, found.as_deref()) {
            (Some(true), None) => wrongs.push(format!("sale {} was acknowledged and is lost", sale.id)),
            (Some(false), Some(_)) => wrongs.push(format!("sale {} was never committed and is there", sale.id)),
            (Some(true), Some([row])) if row[..] == made => {}
            (Some(true), Some(rows)) => wrongs.push(format!("of sale {made:?} there is {rows:?}")),
            (Some(false), None) | (None, _) => {}
        }
    }
    wrongs.extend(found.into_keys().map(|id| format!("sale {id} was made by nobody")));
    wrongs
}

/// What was written of this kind, and acknowledged.
fn done(ledgers: &Ledgers, kind: Kind) -> impl Iterator<Item = &(usize, Entry)> {
    ledgers.iter().filter(move |(_, entry)| entry.kind == kind && entry.done == Some(true))
}

/// The stock is what there was at first, less what was sold.
fn stock(ledgers: &Ledgers, master: &Contents) -> Vec<String> {
    let mut sold: BTreeMap<&str, i64> = BTreeMap::new();
    for (_, sale) in done(ledgers, Kind::Sale) {
        *sold.entry(&sale.of).or_default() += sale.detail.parse::<i64>().unwrap();
    }
    for (_, void) in done(ledgers, Kind::Void) {
        *sold.entry(&void.of).or_default() -= void.detail.parse::<i64>().unwrap();
    }
    let wanted: BTreeMap<&str, String> =
        PRODUCTS.map(|product| (product, (STOCK - sold.get(product).copied().unwrap_or_default()).to_string())).into();
    let found: BTreeMap<&str, String> = master["products"].iter().map(|row| (&*row[0], row[2].clone())).collect();
    if wanted == found { Vec::new() } else { vec![format!("the stock is {found:?}, and should be {wanted:?}")] }
}

/// What stands there in the end was there at first, or somebody wrote it.
fn last_word(ledgers: &Ledgers, master: &Contents, kind: Kind, table: &str, first: &str) -> Vec<String> {
    let written: BTreeSet<(&str, &str)> = ledgers
        .iter()
        .filter(|(_, entry)| entry.kind == kind && entry.done != Some(false))
        .map(|(_, entry)| (&*entry.of, &*entry.id))
        .collect();
    let strange = master[table].iter().filter(|row| row[2] != first && !written.contains(&(&*row[0], &*row[2])));
    strange.map(|row| format!("nobody wrote {row:?} into {table}")).collect()
}

/// No price stands there in the end that somebody had seen and replaced.
fn overruled(ledgers: &Ledgers, master: &Contents) -> Vec<String> {
    let last: BTreeMap<&str, &str> = master["prices"].iter().map(|row| (&*row[0], &*row[2])).collect();
    let replaced = done(ledgers, Kind::Price).filter(|(_, entry)| last.get(&*entry.of) == Some(&&*entry.detail));
    let lost = |(till, entry): &(usize, Entry)| {
        format!("{} ends at {}, which till {till} had replaced by {}", entry.of, entry.detail, entry.id)
    };
    replaced.map(lost).collect()
}

/// How exact a database's clock is, milliseconds.
const EXACT: u64 = 5;

/// Of prices for one product the last stays: all tills have the same clock.
fn too_old(ledgers: &Ledgers, master: &Contents) -> Vec<String> {
    let mut wrongs = Vec::new();
    for row in &master["prices"] {
        let prices = || ledgers.iter().filter(|(_, entry)| entry.kind == Kind::Price && entry.of == row[0]);
        let written = prices().find(|(_, entry)| entry.id == row[2]).map_or(0, |(_, entry)| entry.written.1);
        let later = prices().filter(|(_, entry)| entry.done == Some(true) && entry.written.0 > written + EXACT);
        wrongs.extend(later.map(|(till, entry)| {
            let ms = entry.written.0 - written;
            format!("{} ends at {}, although till {till} set {} {ms} ms later", row[0], row[2], entry.id)
        }));
    }
    wrongs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: Kind, id: &str, detail: &str, done: Option<bool>) -> (usize, Entry) {
        let (id, of, detail) = (id.to_owned(), "tea".to_owned(), detail.to_owned());
        (1, Entry { kind, id, of, detail, written: (1000, 1001), done })
    }

    fn row(cells: &[&str]) -> Row {
        cells.iter().map(|&cell| cell.to_owned()).collect()
    }

    /// Till 1 has sold three of tea three times, the second time in vain, taken the third back, and set the price from 100 to 110.
    fn life() -> (Ledgers, Contents) {
        let ledgers = vec![
            entry(Kind::Sale, "a", "3", Some(true)),
            entry(Kind::Sale, "b", "3", Some(false)),
            entry(Kind::Sale, "c", "3", Some(true)),
            entry(Kind::Void, "void-c", "3", Some(true)),
            entry(Kind::Price, "110", "100", Some(true)),
            entry(Kind::Notice, "fresh", NOTICE, None),
        ];
        let value = |of: &str, tea: &str, other: &str| if of == "tea" { tea.to_owned() } else { other.to_owned() };
        let table = |tea: &str, other: &str| PRODUCTS.map(|of| row(&[of, CLIENT, &value(of, tea, other)])).to_vec();
        let stock = STOCK.to_string();
        let contents = Contents::from([
            ("products", table(&(STOCK - 3).to_string(), &stock)),
            ("prices", table("110", "100")),
            ("notices", table("fresh", NOTICE)),
            ("sales", vec![row(&["a", CLIENT, "till-1", "tea", "3"])]),
        ]);
        (ledgers, contents)
    }

    /// What is found wrong after this was done to the ledgers and to the databases.
    fn after(change: impl FnOnce(&mut Ledgers, &mut Contents)) -> String {
        let (mut ledgers, mut contents) = life();
        change(&mut ledgers, &mut contents);
        wrongs(&ledgers, &contents, std::slice::from_ref(&contents)).join("; ")
    }

    #[test]
    fn nothing_is_wrong_with_a_good_life() {
        assert_eq!(after(|_, _| {}), "");
    }

    #[test]
    fn a_lost_sale_is_found() {
        let found = after(|_, contents| contents.get_mut("sales").unwrap().clear());
        assert_eq!(found, "sale a was acknowledged and is lost");
    }

    #[test]
    fn a_doubled_sale_is_found() {
        let found = after(|_, contents| {
            let sales = contents.get_mut("sales").unwrap();
            sales.push(sales[0].clone());
        });
        assert!(found.starts_with("of sale [\"a\""), "{found}");
    }

    #[test]
    fn a_sale_that_became_another_is_found() {
        let found = after(|_, contents| contents.get_mut("sales").unwrap()[0][4] = "4".to_owned());
        assert!(found.starts_with("of sale [\"a\""), "{found}");
    }

    #[test]
    fn a_sale_without_a_line_is_found() {
        let found = after(|ledgers, _| drop(ledgers.remove(0)));
        assert!(found.starts_with("sale a was made by nobody; the stock is"), "{found}");
    }

    #[test]
    fn a_sale_that_was_never_committed_is_found() {
        let found = after(|ledgers, _| ledgers[0].1.done = Some(false));
        assert!(found.starts_with("sale a was never committed and is there"), "{found}");
    }

    #[test]
    fn a_sale_that_stays_in_doubt_is_found() {
        assert!(after(|ledgers, _| ledgers[1].1.done = None).contains("does not know what became of sale b"));
    }

    #[test]
    fn a_stock_that_is_off_by_one_is_found() {
        let found = after(|_, contents| contents.get_mut("products").unwrap()[0][2] = (STOCK - 1).to_string());
        assert!(found.starts_with("the stock is"), "{found}");
    }

    #[test]
    fn a_sale_that_came_back_is_found() {
        let found = after(|_, contents| {
            contents.get_mut("sales").unwrap().push(row(&["c", CLIENT, "till-1", "tea", "3"]));
        });
        assert_eq!(found, "sale c was taken back and is there");
    }

    #[test]
    fn a_price_that_was_overruled_by_an_older_one_is_found() {
        let found = after(|ledgers, _| {
            ledgers.push(entry(Kind::Price, "120", "90", Some(true)));
            ledgers.last_mut().unwrap().1.written = (1100, 1101);
        });
        assert_eq!(found, "tea ends at 110, although till 1 set 120 99 ms later");
    }

    #[test]
    fn a_price_that_nobody_gave_is_found() {
        let found = after(|_, contents| contents.get_mut("prices").unwrap()[6][2] = "120".to_owned());
        assert!(found.starts_with("nobody wrote [\"tea\""), "{found}");
    }

    #[test]
    fn a_price_that_came_back_is_found() {
        let found = after(|_, contents| contents.get_mut("prices").unwrap()[6][2] = "100".to_owned());
        assert!(found.starts_with("tea ends at 100, which till 1 had replaced by 110"), "{found}");
    }

    #[test]
    fn a_till_that_differs_is_found() {
        let (ledgers, master) = life();
        let mut till = master.clone();
        till.get_mut("notices").unwrap()[0][2] = "another".to_owned();
        till.get_mut("sales").unwrap().clear();
        let found = wrongs(&ledgers, &master, &[master.clone(), till]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found.iter().all(|what| what.starts_with("till 2 ")), "{found:?}");
    }
}

//! Dead letters: kept whole, once, in order.

use sync_core::model::Op;
use sync_core::state::{DeadLetter, Entry, LetterBody, LetterId, LetterKind, LetterQuery};
use sync_core::{Key, Scope};

use super::{Bench, LONG, instant};
use crate::data::{sample_rows, samples, scope};
use crate::report::{Finding, holds, same};

/// A letter of a stream, by number.
pub(super) fn letter(stream: &str, number: i64) -> DeadLetter {
    let scope = scope("a");
    let key = Key::new([number]);
    let values = vec![("id".to_owned(), number.into()), ("note".to_owned(), "bad".into())];
    let body = LetterBody::Row { op: Op::Upsert, values };
    let id = LetterId::of(&scope, stream, Some(&key), &body);
    let (stream, reason, at) = (stream.to_owned(), "it's \"bad\"".to_owned(), instant(number));
    DeadLetter { id, scope, stream, key: Some(key), kind: LetterKind::Rejected, reason, body, at }
}

async fn all(bench: &Bench) -> Result<Vec<DeadLetter>, sync_core::Error> {
    bench.store.dead_letters(&LetterQuery::default()).await
}

async fn keep(bench: &Bench, letters: &[DeadLetter]) -> Finding {
    let lease = bench.acquire("ann", LONG).await?;
    let entries: Vec<Entry> = letters.iter().cloned().map(Entry::DeadLetter).collect();
    Ok(bench.record(&lease, &entries).await?)
}

pub(super) async fn a_letter_comes_back_as_it_was(bench: &Bench) -> Finding {
    let names: Vec<String> = samples().schema().fields().iter().map(|field| field.name().to_owned()).collect();
    let mut letters: Vec<DeadLetter> = Vec::new();
    for (row, number) in sample_rows().into_iter().zip(1..) {
        let key = Key::new([row[0].clone(), "text, \"key\"".into()]);
        let body = LetterBody::Row { op: Op::Delete, values: names.iter().cloned().zip(row).collect() };
        let id = LetterId::of(&scope("a"), "samples", Some(&key), &body);
        letters.push(DeadLetter { id, key: Some(key), body, ..letter("samples", number) });
    }
    let body = LetterBody::Record(vec![0, 159, 146, 150, 255]);
    let id = LetterId::of(&scope("a"), "samples", None, &body);
    letters.push(DeadLetter { id, key: None, body, kind: LetterKind::Parked, ..letter("samples", 50) });
    keep(bench, &letters).await?;
    for (found, wanted) in all(bench).await?.iter().zip(&letters) {
        same("letter", found, wanted)?;
    }
    same("letters", all(bench).await?.len(), letters.len())
}

pub(super) async fn the_same_letter_twice_is_one(bench: &Bench) -> Finding {
    keep(bench, &[letter("a", 1), letter("a", 1)]).await?;
    keep(bench, &[letter("a", 1)]).await?;
    same("letters", all(bench).await?, [letter("a", 1)])
}

pub(super) async fn a_letter_that_comes_again_says_when_it_came_last(bench: &Bench) -> Finding {
    keep(bench, &[letter("a", 1), letter("a", 2)]).await?;
    let later = DeadLetter { at: letter("a", 1).at + chrono::Duration::hours(1), ..letter("a", 1) };
    keep(bench, std::slice::from_ref(&later)).await?;
    same("letters", all(bench).await?, [later, letter("a", 2)])
}

pub(super) async fn letters_come_oldest_first(bench: &Bench) -> Finding {
    for number in 1..=12 {
        keep(bench, &[letter("a", number)]).await?;
    }
    same("letters", all(bench).await?, (1..=12).map(|number| letter("a", number)).collect::<Vec<_>>())
}

pub(super) async fn letters_are_found_by_pipeline_stream_and_kind(bench: &Bench) -> Finding {
    let elsewhere = DeadLetter { scope: Scope { pipeline: "other".into(), ..scope("a") }, ..letter("a", 2) };
    let parked = DeadLetter { kind: LetterKind::Parked, ..letter("a", 3) };
    let letters = [letter("a", 1), elsewhere, parked, letter("b", 4)];
    keep(bench, &letters).await?;
    let queries = [
        (LetterQuery { pipeline: Some("testkit".into()), ..LetterQuery::default() }, vec![0, 2, 3]),
        (LetterQuery { stream: Some("a".into()), ..LetterQuery::default() }, vec![0, 1, 2]),
        (LetterQuery { kind: Some(LetterKind::Parked), ..LetterQuery::default() }, vec![2]),
        (LetterQuery { pipeline: Some("nobody".into()), ..LetterQuery::default() }, vec![]),
    ];
    for (query, wanted) in queries {
        let wanted: Vec<DeadLetter> = wanted.into_iter().map(|index: usize| letters[index].clone()).collect();
        same(&format!("letters of {query:?}"), bench.store.dead_letters(&query).await?, wanted)?;
    }
    Ok(())
}

pub(super) async fn letters_come_page_by_page(bench: &Bench) -> Finding {
    let letters: Vec<DeadLetter> = (1..=120).map(|number| letter("a", number)).collect();
    keep(bench, &letters).await?;
    same("letters without a limit", all(bench).await?.len(), 100)?;
    let lease = bench.acquire("ann", LONG).await?;
    let mut seen: Vec<DeadLetter> = Vec::new();
    for _ in 0..50 {
        let after = seen.last().map(|letter| letter.id.clone());
        let page =
            bench.store.dead_letters(&LetterQuery { after: after.clone(), limit: 7, ..LetterQuery::default() }).await?;
        if page.is_empty() {
            break;
        }
        holds(page.len() <= 7, format!("a page of 7 held {}", page.len()))?;
        seen.extend(page);
        // Who replays letters page by page resolves them as it goes: the page after must be found all the same.
        let resolved: Vec<Entry> = seen.iter().map(|letter| Entry::Resolved(letter.id.clone())).collect();
        bench.record(&lease, &resolved).await?;
    }
    same("letters over all pages", seen.len(), letters.len())?;
    same("their order", seen, letters)
}

pub(super) async fn a_resolved_letter_is_gone(bench: &Bench) -> Finding {
    keep(bench, &[letter("a", 1), letter("a", 2)]).await?;
    let lease = bench.acquire("ann", LONG).await?;
    let resolved = [letter("a", 1), letter("a", 9)].map(|letter| Entry::Resolved(letter.id));
    bench.record(&lease, &resolved).await?;
    same("letters", all(bench).await?, [letter("a", 2)])
}

pub(super) async fn a_resolved_letter_that_comes_again_waits_again(bench: &Bench) -> Finding {
    keep(bench, &[letter("a", 1), letter("a", 2)]).await?;
    let lease = bench.acquire("ann", LONG).await?;
    bench.record(&lease, &[Entry::Resolved(letter("a", 1).id)]).await?;
    bench.record(&lease, &[Entry::DeadLetter(letter("a", 1))]).await?;
    let mut ids: Vec<LetterId> = all(bench).await?.into_iter().map(|letter| letter.id).collect();
    ids.sort();
    let mut wanted = [letter("a", 1).id, letter("a", 2).id];
    wanted.sort();
    same("letters", ids, wanted)
}

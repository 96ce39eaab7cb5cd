//! Who else writes the same rows: tills, and a host with plain SQL.

use super::*;

/// A till that sells a few of what it has, and now and then syncs.
pub(super) async fn till(number: usize, way: (Hub, Access), seed: u64, ends: Arc<AtomicBool>) -> BTreeMap<usize, i64> {
    let till = MemoryReplica::new(format!("till-{number}"), tables(), clock());
    let branch = Branch::new(till.clone(), way, clock());
    let (mut random, mut sold) = (Random::new(seed), BTreeMap::new());
    loop {
        let rests = ends.load(Ordering::SeqCst);
        for _ in 0..if rests { 0 } else { random.below(5) } {
            let (n, many) = (random.below(TOUCHED as u64) as usize, 1 + random.below(3) as i64);
            let Some((_, mut row)) = till.rows("products").into_iter().find(|(_, row)| self::number(row) == Some(n))
            else {
                continue;
            };
            row[3] = (stock(&row) - many).into();
            till.transaction(|host| host.put("products", row)).await.unwrap();
            *sold.entry(n).or_default() += many;
        }
        let synced = branch.sync().await;
        if rests && synced.is_ok() {
            // What an earlier sync left behind.
            for _ in 0..200 {
                if branch.sync().await.is_ok() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            return sold;
        }
        tokio::time::sleep(Duration::from_millis(random.below(60))).await;
    }
}

/// A host that moves stock and names with plain SQL.
pub(super) async fn host(at: Arc<At>, seed: u64, ends: Arc<AtomicBool>) -> Option<BTreeMap<usize, i64>> {
    let (mut random, mut moved, mut sure) = (Random::new(seed), BTreeMap::new(), true);
    while !ends.load(Ordering::SeqCst) {
        let n = random.below(TOUCHED as u64) as usize;
        let many = 1000 * (1 + random.below(9) as i64);
        let sql = match random.below(3) {
            0 => format!("UPDATE products SET name = 'host {}' WHERE id = '{}'", random.below(1000), id(n)),
            _ => {
                *moved.entry(n).or_default() += many;
                format!("UPDATE products SET stock = stock + {many} WHERE id = '{}'", id(n))
            }
        };
        sure &= at.host(&sql).await.is_some();
        tokio::time::sleep(Duration::from_millis(random.below(40))).await;
    }
    sure.then_some(moved)
}

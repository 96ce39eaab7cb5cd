//! The story: everybody sells offline, comes back, and all is right in the end.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use sync_core::Clock as _;
use sync_core::SystemClock;

use crate::Result;
use crate::args::Args;
use crate::server::Server;
use crate::shop::PRODUCTS;
use crate::till::{Till, number};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// The price that two tills change at once.
const CONTESTED: &str = "tea";

const STOCK: &str = "SELECT stock FROM products WHERE id = ?";
const PRICE: &str = "SELECT cents FROM prices WHERE id = ?";
const SOLD: &str = "SELECT coalesce(sum(quantity), 0) FROM invoice_lines WHERE product = ?";

/// Tells it; returns whether all is equal and right in the end.
pub(crate) async fn tell(server: &Server, folder: &Path, args: &Args) -> Result<bool> {
    println!(
        "\n1. {} tills open, each with a database of its own, and take over the shop's {} products.",
        args.tills,
        PRODUCTS.len()
    );
    let mut tills = Vec::new();
    for number in 1..=args.tills {
        let mut till = Till::open(number, folder, server).await?;
        till.go_online();
        tills.push(till);
    }
    until("all tills are in their rooms", &tills, |till| till.state().in_room && till.state().syncs > 0).await?;

    println!("2. The line is cut. All sell from the same shelves, {} times each:", args.sales);
    for till in &mut tills {
        till.go_offline().await;
    }
    let mut sold = BTreeMap::new();
    sell(&mut tills, args.sales, &mut sold).await?;
    println!("   meanwhile two of them find another price for {CONTESTED}: 590 at till-1, 610 at till-2.");
    tills[0].set_price(CONTESTED, 590).await?;
    tills[1].set_price(CONTESTED, 610).await?;
    for till in &tills {
        let (queue, stock) = (till.queue().await?, number(&till.database, STOCK, "coffee").await?);
        let thinks = match stock {
            0.. => format!("it thinks that {stock} of coffee are left"),
            _ => format!("it has sold {} of coffee more than it knew of", -stock),
        };
        println!("   {}: {} writes wait to be sent; {thinks}", till.name, queue.depth);
    }

    println!("3. The line is back, and the tills come one by one.");
    for number in 0..tills.len() {
        let sent = tills[number].queue().await?.depth;
        tills[number].go_online();
        let state = |till: &Till| till.state().in_room && till.state().failure.is_none() && till.state().syncs > 1;
        until("everything is sent", &tills[number..=number], state).await?;
        until_sent(&tills[number]).await?;
        let waits =
            if tills[number].queue().await?.waiting > 0 { ", of which 1 waits for a person: the price" } else { "" };
        println!("   {} has sent {sent} writes{waits}", tills[number].name);
    }
    until_equal(server, &tills).await?;

    println!("4. The boss looks into the inbox, and decides.");
    decide(server, &tills).await?;
    until_price(server, &tills, 610).await?;
    println!("   the price is 610 cents at the master, and at every till.");

    println!("5. All are online: one more sale at till-1, and the others are told.");
    let began = Instant::now();
    tills[0].sell(&[("coffee", 1)]).await?;
    *sold.entry("coffee").or_insert(0) += 1;
    let left = number(&tills[0].database, STOCK, "coffee").await?;
    while !all_have(&tills, STOCK, "coffee", left).await? {
        patient(began, "the sale is everywhere")?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("   {} ms later all know that {left} of coffee are left.", began.elapsed().as_millis());

    until_equal(server, &tills).await?;
    let is_right = table(server, &tills, &sold).await?;
    for till in &mut tills {
        till.go_offline().await;
        till.database.close().await;
    }
    Ok(is_right)
}

/// Sells at random, two products at a time.
async fn sell(tills: &mut [Till], sales: u16, sold: &mut BTreeMap<&'static str, i64>) -> Result<()> {
    let dice = SystemClock::new();
    let throw = |sides: usize| usize::try_from(dice.random() >> 33).unwrap_or_default() % sides;
    for till in tills {
        for _ in 0..sales {
            let first = throw(PRODUCTS.len());
            let second = (first + 1 + throw(PRODUCTS.len() - 1)) % PRODUCTS.len();
            let lines = [first, second].map(|product| (PRODUCTS[product].0, i64::try_from(1 + throw(3)).unwrap_or(1)));
            till.sell(&lines).await?;
            for (product, quantity) in lines {
                *sold.entry(product).or_insert(0) += quantity;
            }
        }
    }
    Ok(())
}

/// As a person does at the master's desk, over HTTP: the branch whose edit waits looks, and decides.
async fn decide(server: &Server, tills: &[Till]) -> Result<()> {
    let client = reqwest::Client::new();
    for number in 1..=tills.len() {
        let token = server.token(&number.to_string())?;
        let stats = client.get(format!("{}/api/sync/stats", server.http())).bearer_auth(&token).send().await?;
        let stats: Json = serde_json::from_slice(&stats.error_for_status()?.bytes().await?)?;
        for conflict in stats["conflicts"].as_array().into_iter().flatten() {
            let edit = &conflict["edits"][0];
            println!(
                "   of {}: {}; the shop has {}, it wants {}",
                conflict["peer"].as_str().unwrap_or("?"),
                conflict["message"].as_str().unwrap_or("?"),
                cents(&edit["existing"]),
                cents(&edit["after"])
            );
            let decision = json!({"id": conflict["id"], "decision": "take_incoming"}).to_string();
            let request = client.post(format!("{}/api/sync/resolve-conflict", server.http())).bearer_auth(&token);
            request.header("content-type", "application/json").body(decision).send().await?.error_for_status()?;
            println!("   decided: what till-{number} wants");
        }
    }
    Ok(())
}

fn cents(row: &Json) -> String {
    row["cents"].as_i64().map_or_else(|| "nothing".to_owned(), |cents| format!("{cents} cents"))
}

/// What was there, what was sold, and what every database says is left. Returns whether that is right.
async fn table(server: &Server, tills: &[Till], sold: &BTreeMap<&'static str, i64>) -> Result<bool> {
    print!("\n{:<10}{:>9}{:>8}{:>10}{:>10}", "product", "initial", "sold", "expected", "master");
    for till in tills {
        print!("{:>10}", till.name);
    }
    println!();
    let (mut is_right, mut oversold) = (true, false);
    for (product, initial, _) in PRODUCTS {
        let (sold, master) =
            (sold.get(product).copied().unwrap_or_default(), number(&server.database, STOCK, product).await?);
        print!("{product:<10}{initial:>9}{sold:>8}{:>10}{master:>10}", initial - sold);
        oversold |= master < 0;
        is_right &= master == initial - sold && number(&server.database, SOLD, product).await? == sold;
        for till in tills {
            let left = number(&till.database, STOCK, product).await?;
            is_right &= left == master;
            print!("{left:>10}");
        }
        println!();
    }
    if oversold {
        println!(
            "\nBelow zero: offline, the tills have sold more than there was. Each sale has happened, and is kept."
        );
    }
    let verdict = if is_right {
        "stock = initial - sold, and equal everywhere: no sale is lost, and none counted twice."
    } else {
        "this is NOT right."
    };
    println!("\n{verdict}");
    Ok(is_right)
}

/// Nothing waits to be sent.
async fn until_sent(till: &Till) -> Result<()> {
    let began = Instant::now();
    while till.queue().await?.depth > 0 {
        patient(began, "everything is sent")?;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// All databases hold the same.
async fn until_equal(server: &Server, tills: &[Till]) -> Result<()> {
    let began = Instant::now();
    for till in tills {
        until_sent(till).await?;
    }
    for (product, ..) in PRODUCTS {
        for sql in [STOCK, SOLD] {
            while !all_have(tills, sql, product, number(&server.database, sql, product).await?).await? {
                patient(began, "all databases hold the same")?;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    Ok(())
}

async fn until_price(server: &Server, tills: &[Till], cents: i64) -> Result<()> {
    let began = Instant::now();
    while number(&server.database, PRICE, CONTESTED).await? != cents
        || !all_have(tills, PRICE, CONTESTED, cents).await?
    {
        patient(began, "the decision is everywhere")?;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

async fn all_have(tills: &[Till], sql: &'static str, of: &str, expected: i64) -> Result<bool> {
    for till in tills {
        if number(&till.database, sql, of).await? != expected {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn until(what: &str, tills: &[Till], reached: impl Fn(&Till) -> bool) -> Result<()> {
    let began = Instant::now();
    while !tills.iter().all(&reached) {
        if began.elapsed() > PATIENCE
            && let Some(late) = tills.iter().find(|till| !reached(till))
        {
            let state = late.state();
            let why = state.failure.or(state.no_room).unwrap_or_else(|| "it says nothing of why".to_owned());
            return Err(format!("waited in vain until {what}: {}: {why}", late.name).into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

fn patient(began: Instant, what: &str) -> Result<()> {
    if began.elapsed() > PATIENCE { Err(format!("waited in vain until {what}").into()) } else { Ok(()) }
}

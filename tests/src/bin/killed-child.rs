//! The process that `it/killed` kills: one run of the real engine from a change log into a database.
//!
//! It tells on its output, a line each, when it has claimed its scope, when it begins to apply a unit and when the unit is
//! acknowledged, so that whoever kills it knows where.

use std::io::Write as _;
use std::time::Duration;

use sync_core::engine::Bug;
use sync_core::{Engine, Error, Pipeline, Result};
use sync_store_sql::SqlStore;
use sync_tests::history::{History, stream};
use sync_tests::told::{Mark, Told, sink_at};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(target), Some(store), Some(generation)) =
        (arguments.next(), arguments.next(), arguments.next().and_then(|text| text.parse().ok()))
    else {
        return Err(Error::config("usage: killed-child TARGET STORE GENERATION [cursor-first]"));
    };
    let sink = Told::of(sink_at(&target).await?, |mark| {
        tell(mark);
        if let Mark::Acknowledged(_) = mark {
            // A while in which it can be killed between two units.
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    let mut engine = Engine::builder(SqlStore::connect(&store).await?).owner("killed child").unit_rows(1);
    if arguments.next().as_deref() == Some("cursor-first") {
        engine = engine.plant(Bug::CursorFirst);
    }
    let engine = engine
        .pipeline(
            Pipeline::new("history", History::of(stream(), generation), sink)
                .first_load(sync_core::engine::FirstLoad::Sorted),
        )
        .build()?;
    engine.run("history").await?.completed()?;
    tell(Mark::Done);
    Ok(())
}

fn tell(mark: Mark) {
    let mut out = std::io::stdout().lock();
    // Nobody may be listening any more: then there is nobody to tell.
    let _ = writeln!(out, "{mark}").and_then(|()| out.flush());
}

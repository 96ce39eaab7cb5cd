//! A till: a SQLite database of its own, in which it sells whether the master can be reached or not.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sync_core::two_way::{Branch, Queue};
use sync_core::{Clock, SystemClock, Value};
use sync_master::{HttpMaster, LiveBranch, LiveSettings, LiveState};
use sync_sql::SqliteReplica;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Result;
use crate::login::Login;
use crate::server::Server;
use crate::shop::{CLIENT, tables};

pub(crate) struct Till {
    pub(crate) name: String,
    pub(crate) database: SqliteReplica,
    pub(crate) branch: Branch,
    live: LiveBranch,
    online: Option<(CancellationToken, JoinHandle<()>)>,
    invoices: u32,
}

impl Till {
    /// Opens the till's database. It is offline.
    pub(crate) async fn open(number: u8, folder: &Path, server: &Server) -> Result<Self> {
        let name = format!("till-{number}");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let database =
            SqliteReplica::open(folder.join(format!("{name}.db")), &*name, tables()?, Arc::clone(&clock)).await?;
        let login = Login { issuer: server.issuer.clone(), branch: number.to_string() };
        let master = HttpMaster::at(&server.http(), &tables()?, login)?;
        let branch = Branch::new(database.clone(), master.clone(), Arc::clone(&clock));
        let mut settings = LiveSettings::default();
        settings.look = Duration::from_millis(100);
        let live = LiveBranch::new(branch.clone(), master, clock)?.rooms_at(&server.rooms_at())?.settings(settings);
        Ok(Self { name, database, branch, live, online: None, invoices: 0 })
    }

    /// From now on it is kept in step.
    pub(crate) fn go_online(&mut self) {
        let (live, stop) = (self.live.clone(), CancellationToken::new());
        let running = tokio::spawn({
            let stop = stop.clone();
            async move { live.run(stop).await }
        });
        self.online = Some((stop, running));
    }

    pub(crate) async fn go_offline(&mut self) {
        if let Some((stop, running)) = self.online.take() {
            stop.cancel();
            let _ = running.await;
        }
    }

    pub(crate) fn state(&self) -> LiveState {
        self.live.state().borrow().clone()
    }

    pub(crate) async fn queue(&self) -> Result<Queue> {
        Ok(self.branch.queue().await?)
    }

    /// One sale, in one transaction of the till's own database: the invoice, its lines, and what is left of the stock.
    /// Of each at least one piece: what comes back is no sale.
    pub(crate) async fn sell(&mut self, lines: &[(&'static str, i64)]) -> Result<()> {
        if let Some((product, quantity)) = lines.iter().find(|(_, quantity)| *quantity < 1) {
            return Err(format!("{quantity} of {product} cannot be sold: a sale is of one piece or more").into());
        }
        self.invoices += 1;
        let (invoice, till, lines) = (format!("{}-{:04}", self.name, self.invoices), self.name.clone(), lines.to_vec());
        let sold = self.database.transaction(move |host| {
            let mut total = 0;
            for (number, (product, quantity)) in lines.iter().enumerate() {
                let found = host.query("SELECT cents FROM prices WHERE id = ?", &[(*product).into()])?;
                let Some([Value::Int(cents)]) = found.first().map(Vec::as_slice) else {
                    return Err(sync_core::Error::data("the till has no price for this product").with("product", product));
                };
                total += cents * quantity;
                let line = "INSERT INTO invoice_lines (id, client_id, invoice, product, quantity, cents) VALUES (?, ?, ?, ?, ?, ?)";
                let id = format!("{invoice}/{number}");
                let values = [id.as_str().into(), CLIENT.into(), invoice.as_str().into(), (*product).into(), (*quantity).into(), (*cents).into()];
                host.execute(line, &values)?;
                host.execute("UPDATE products SET stock = stock - ? WHERE id = ?", &[(*quantity).into(), (*product).into()])?;
            }
            let sql = "INSERT INTO invoices (id, client_id, till, cents) VALUES (?, ?, ?, ?)";
            host.execute(sql, &[invoice.as_str().into(), CLIENT.into(), till.as_str().into(), total.into()])?;
            Ok(())
        });
        Ok(sold.await?)
    }

    /// Another price, as somebody at this till sees fit.
    pub(crate) async fn set_price(&self, product: &'static str, cents: i64) -> Result<()> {
        let set = self.database.transaction(move |host| {
            host.execute("UPDATE prices SET cents = ? WHERE id = ?", &[cents.into(), product.into()])
        });
        Ok(set.await.map(drop)?)
    }
}

/// One number of a database.
pub(crate) async fn number(database: &SqliteReplica, sql: &'static str, of: &str) -> Result<i64> {
    let of: Value = of.into();
    let found = database.transaction(move |host| host.query(sql, &[of])).await?;
    match found.first().map(Vec::as_slice) {
        Some([Value::Int(number)]) => Ok(*number),
        _ => Err(format!("no number comes of `{sql}`").into()),
    }
}

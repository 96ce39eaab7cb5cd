//! The API of a round: a server in a process of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::Result;
use crate::records::Order;

/// It is killed when this is dropped.
pub(super) struct Api {
    process: Child,
    pub(super) url: String,
}

impl Api {
    /// Each answer takes `latency` milliseconds longer than it must.
    pub(super) fn start(records: u64, order: Order, latency: u64) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["serve", "--records", &records.to_string(), "--order", order.name()])
            .args(["--latency", &latency.to_string()])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut url = String::new();
        BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut url)?;
        Ok(Self { process, url: url.trim().to_owned() })
    }

    /// Changes so many percent of the records.
    pub(super) fn change(&self, percent: u64) -> Result<()> {
        self.call(|client, url| client.post(format!("{url}/mutate?percent={percent}"))).map(drop)
    }

    /// How many listings have been answered.
    pub(super) fn answered(&self) -> Result<u64> {
        Ok(self.call(|client, url| client.get(format!("{url}/answered")))?.parse()?)
    }

    fn call(&self, request: impl FnOnce(reqwest::Client, &str) -> reqwest::RequestBuilder) -> Result<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let answer = request(reqwest::Client::new(), &self.url).send().await?.error_for_status()?;
            Ok(answer.text().await?)
        })
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        // It serves until killed; if it has ended already, so much the better.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

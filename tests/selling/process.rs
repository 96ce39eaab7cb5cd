//! The processes of the shop: started, heard, told, killed.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// How long a process may take to say what it is asked for.
const PATIENCE: Duration = Duration::from_secs(60);

/// One that runs, until it is killed or dropped.
pub(crate) struct Process {
    name: String,
    child: Child,
    says: UnboundedReceiver<String>,
}

impl Process {
    /// Starts it; what it complains of goes into the folder.
    pub(crate) fn start(name: &str, folder: &Path, arguments: &[&str]) -> Self {
        let complaints = File::options().create(true).append(true).open(folder.join(format!("{name}.err"))).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_selling-child"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(complaints)
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, says) = unbounded_channel();
        thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { name: name.to_owned(), child, says }
    }

    /// Waits until it says something that begins so, and returns the rest.
    pub(crate) async fn hear(&mut self, beginning: &str) -> String {
        let heard = tokio::time::timeout(PATIENCE, async {
            while let Some(line) = self.says.recv().await {
                assert!(!line.starts_with("failed"), "{}: {line}", self.name);
                if let Some(rest) = line.strip_prefix(beginning) {
                    return Some(rest.trim().to_owned());
                }
                note(&self.name, &line);
            }
            None
        });
        match heard.await {
            Ok(Some(rest)) => rest,
            Ok(None) => panic!("{} has ended and never said {beginning:?}", self.name),
            Err(_) => panic!("{} does not say {beginning:?}", self.name),
        }
    }

    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// It must not end by itself, nor give up what it does.
    pub(crate) fn must_live(&mut self) {
        while let Ok(line) = self.says.try_recv() {
            assert!(!line.starts_with("failed"), "{}: {line}", self.name);
            note(&self.name, &line);
        }
        if let Some(ended) = self.child.try_wait().unwrap() {
            panic!("{} has ended by itself: {ended}", self.name);
        }
    }

    /// With SIGKILL.
    pub(crate) fn kill(mut self) {
        self.must_live();
    }
}

/// What was said unasked.
fn note(name: &str, line: &str) {
    if !line.starts_with("ready") && !line.starts_with("settled") {
        println!("{name}: {line}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

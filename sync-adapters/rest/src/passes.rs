//! Further passes through a stream with windows: the same rows by other dates.

use sync_core::model::Disposition;
use sync_core::{Error, Result, StreamSpec};

use crate::config::WindowConfig;
use crate::window::Window;

/// One further pass, ready.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) name: String,
    pub(crate) window: Window,
}

/// # Errors
/// `Config`, naming the field and the pass.
pub(crate) fn compile(main: &WindowConfig, spec: &StreamSpec) -> Result<Vec<Pass>> {
    let replaces = matches!(spec.writes(), Disposition::Snapshot | Disposition::ReplaceWindow);
    if replaces && !main.also.is_empty() {
        // A further pass brings rows of any window: what it does not bring says nothing about them.
        return Err(Error::config("field `window.also` is of no use to a stream whose windows are replaced"));
    }
    let mut passes: Vec<Pass> = Vec::new();
    for config in &main.also {
        let wrong = |why: &str| Err(Error::config(format!("field `window.also` {why}")).with("pass", &config.name));
        if config.name.is_empty() || passes.iter().any(|known| known.name == config.name) {
            return wrong("gives each pass a name of its own");
        }
        if config.from.is_none() && config.to.is_none() && config.variables.is_empty() {
            return wrong("has a pass that asks for the same as the window; give it `from` and `to`, or `variables`");
        }
        let window = Window::new(&config.window(main), spec).map_err(|error| error.with("pass", &config.name))?;
        passes.push(Pass { name: config.name.clone(), window });
    }
    Ok(passes)
}

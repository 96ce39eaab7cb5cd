//! The partition that is read: its variables, and the rows that its listings speak for.

use sync_core::model::{Boundary, RowScope};
use sync_core::{Error, Result};

use super::Reader;
use crate::fan_out;
use crate::template::Variables;

impl Reader {
    /// What is said before the first page of a listing.
    pub(super) async fn begins(&mut self, scope: RowScope) -> Result<Boundary> {
        let variables = self.known().await?;
        self.variables = Some(variables);
        self.announced = true;
        Ok(Boundary::Begins(self.own(scope)?))
    }

    /// Of these rows, those of the partition that is read.
    pub(super) fn own(&self, scope: RowScope) -> Result<RowScope> {
        match (&self.plan.own, &self.variables) {
            (Some(own), Some(variables)) => own.within(scope, variables),
            (Some(_), None) => Err(Error::internal("a listing ended before its partition was known")),
            (None, _) => Ok(scope),
        }
    }

    /// The variables of the partition, asked for where nobody did so yet.
    pub(super) async fn known(&mut self) -> Result<Variables> {
        match self.variables.take() {
            Some(known) => Ok(known),
            None => fan_out::variables(&self.inner, &self.plan, &self.partition).await,
        }
    }
}

//! One pass over one file, up or down: unit after unit, each remembered, so that it can be taken up anywhere.
//!
//! A file of one transaction leaves no marker: its row in the history table, written in that transaction, says it all.
//! A longer file marks its beginning (unit 0) and each unit; its end writes the history and removes the markers.

use anyhow::{Context, bail};

use super::alone;
use super::history::{History, Marks};
use super::script::{Script, Unit};
use crate::pg::{Patience, Session};
use crate::step::Cx;
use crate::step::Stop;

/// Marks that a pass has begun.
const BEGUN: i32 = 0;
const BEGUN_PRINT: &str = "begun";

/// The sessions of a step.
pub(super) struct Hands {
    /// Does the work.
    pub session: Session,
    /// Looks who blocks it.
    pub observer: Session,
}

/// One pass.
pub(super) struct Pass<'a> {
    /// Where versions and markers are.
    pub history: &'a History,
    /// The file, for messages.
    pub file: &'a str,
    /// Under which key its units are marked.
    pub key: String,
    /// What is done.
    pub script: &'a Script,
    /// Statements that open the first transaction.
    pub opening: Vec<String>,
    /// Statements that close the last transaction; they remove the markers.
    pub closing: Vec<String>,
    /// Whether a first request to stop ends it between two units.
    pub stoppable: bool,
}

impl Pass<'_> {
    /// Does what is not yet done. `told` hears the number of statements after each unit.
    ///
    /// # Errors
    /// The server's, with file and line; a unit that was changed after it was done; a request to stop.
    pub async fn go(
        mut self,
        cx: &Cx,
        hands: &mut Hands,
        marks: &Marks,
        told: &mut (dyn FnMut(usize) + Send),
    ) -> anyhow::Result<()> {
        self.check(marks)?;
        let units = &self.script.units;
        let single = units.len() <= 1 && !matches!(units.first(), Some(Unit::Alone(_)));
        let mut next = std::mem::take(&mut self.opening);
        if !single && !marks.contains_key(&(self.key.clone(), BEGUN)) {
            next.push(self.history.mark(&self.key, BEGUN, BEGUN_PRINT));
            self.transaction(cx, hands, std::mem::take(&mut next)).await?;
            cx.crash_point(&self.place(BEGUN));
        } else if !single {
            next.clear(); // the opening went with the marker
        }
        for (number, unit) in (1i32..).zip(units) {
            let last = number as usize == units.len();
            if marks.contains_key(&(self.key.clone(), number)) {
                told(unit.statements().len());
                continue;
            }
            if self.stoppable && cx.interrupt.soft.is_cancelled() {
                return Err(Stop::Interrupted.into());
            }
            let first_line = unit.statements().first().map_or(1, |statement| statement.line());
            let place = || format!("{} line {first_line}", self.file);
            match unit {
                Unit::Transaction(statements) => next.extend(statements.iter().map(|statement| statement.text().to_owned())),
                Unit::Alone(statement) => {
                    let effect = alone::bring_about(cx, &mut hands.session, &hands.observer, statement).await;
                    effect.with_context(place)?;
                    cx.crash_point(&format!("{}-effect", self.place(number)));
                }
            }
            match last {
                true => next.append(&mut self.closing),
                false => next.push(self.history.mark(&self.key, number, unit.fingerprint().as_str())),
            }
            self.transaction(cx, hands, std::mem::take(&mut next)).await.with_context(place)?;
            cx.crash_point(&self.place(number));
            told(unit.statements().len());
        }
        if units.is_empty() {
            next.append(&mut self.closing);
            self.transaction(cx, hands, next).await.with_context(|| self.file.to_owned())?;
            cx.crash_point(&self.place(1));
        }
        Ok(())
    }

    async fn transaction(&self, cx: &Cx, hands: &mut Hands, statements: Vec<String>) -> anyhow::Result<()> {
        let mut patience = Patience { session: &mut hands.session, observer: &hands.observer, limits: &cx.limits };
        patience.transaction(&statements, &mut |blockers| cx.waiting(blockers)).await.map(drop)
    }

    fn check(&self, marks: &Marks) -> anyhow::Result<()> {
        for ((key, number), print) in marks {
            if *key != self.key || *number == BEGUN {
                continue;
            }
            let now = usize::try_from(number - 1).ok().and_then(|index| self.script.units.get(index)).map(Unit::fingerprint);
            if now.is_none_or(|now| now.as_str() != print) {
                bail!(
                    "{} was changed after its unit {number} was done; put it back as it was, or `crossfade rollback` first",
                    self.file
                );
            }
        }
        Ok(())
    }

    fn place(&self, number: i32) -> String {
        format!("{}-{number}", self.key)
    }
}

//! `set_lever`: sets one value in a system around the databases (a token lifetime, a limit, a switch), keeps the old one, and
//! gives it back.
//!
//! The old value goes to the journal before the new one is set, so an undo knows it after any crash. It is kept only where it has
//! the form of the new one (a length of time, a size, a number, a boolean, one of the listed words): a secret has none of
//! these, so none gets into the journal, nor into any message.

mod file;
mod form;
mod place;

use std::time::{Duration, Instant};

use anyhow::bail;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use self::form::Form;
use self::place::{Place, Reading};
use super::registry::{Kind, KindResult, Surroundings, keys_of};
use super::{Cx, Fault, Forecast, Reversal, Step, Stop, Summary, from_table};
use crate::limits::Span;
use crate::terms::{Before, Extent, Finding, Severity, Side};

/// The table entry of this kind.
pub(super) const KIND: Kind = Kind {
    name: "set_lever",
    about: "set a value in a file, by HTTP, a program or SQL; keep the old one and give it back",
    parse,
    keys: keys_of::<Written>,
};

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    value: String,
    #[serde(default)]
    values: Vec<String>,
    timeout: Option<Span>,
    file: Option<place::FileKeys>,
    http: Option<place::HttpKeys>,
    command: Option<place::CommandKeys>,
    sql: Option<place::SqlKeys>,
}

/// The step.
struct SetLever {
    name: String,
    value: String,
    form: Form,
    place: Place,
    /// How long one call may take, and the system to show what it was told.
    timeout: Duration,
}

/// What the undo needs.
#[derive(Debug, Serialize, Deserialize)]
struct Was {
    value: String,
}

fn parse(table: toml::Table, around: &Surroundings) -> KindResult {
    let Written { name, value, values, timeout, file, http, command, sql } = from_table(table)?;
    let mut faults = Vec::new();
    let form = Form::of(&value, values).map_err(|what| faults.push(Fault::key("value", what))).ok();
    let timeout = timeout.map_or(Duration::from_secs(10), |span| span.0);
    if timeout.is_zero() {
        faults.push(Fault::key("timeout", "`timeout` must be longer than nothing"));
    }
    if name.trim().is_empty() {
        faults.push(Fault::key("name", "`name` is empty"));
    }
    let read = match (file, http, command, sql) {
        (Some(keys), None, None, None) => keys.read(around),
        (None, Some(keys), None, None) => keys.read(),
        (None, None, Some(keys), None) => keys.read(around),
        (None, None, None, Some(keys)) => keys.read(around),
        _ => Err(vec![Fault::key("file", "give `file`, `http`, `command` or `sql`, one of them: where the lever is")]),
    };
    let read = read.map_err(|more| faults.extend(more)).ok();
    match (form, read) {
        (Some(form), Some((place, files))) if faults.is_empty() => {
            Ok((Box::new(SetLever { name, value, form, place, timeout }), files))
        }
        _ => Err(faults),
    }
}

impl SetLever {
    async fn read(&self, cx: &Cx) -> anyhow::Result<Reading> {
        self.place.read(cx, self.timeout).await
    }

    /// Sets a value, and waits until the system shows it.
    async fn set(&self, cx: &Cx, value: &str) -> anyhow::Result<()> {
        self.place.write(cx, value, self.timeout).await?;
        let began = Instant::now();
        loop {
            let reading = self.read(cx).await?;
            if reading.told && self.form.same(&reading.value, value) {
                return Ok(());
            }
            if began.elapsed() > self.timeout {
                let waited = humantime::format_duration(self.timeout);
                bail!("{} was set to `{value}`, and after {waited} {} says otherwise", self.name, self.place.shown());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn blocks(&self, what: String, next: &str) -> Finding {
        Finding {
            severity: Severity::Blocks,
            object: format!("{} ({})", self.name, self.place.shown()),
            what,
            next: next.to_owned(),
        }
    }

    fn not_allowed(&self) -> Option<Finding> {
        let next = "look at the program, then run the same command with `--allow-hooks`";
        self.place.runs().map(|program| self.blocks(format!("the plan runs {program}, and hooks are not allowed"), next))
    }

    fn other_form(&self) -> Finding {
        let what = format!("its value now is no {}, as `{}` is: it is neither shown nor kept", self.form, self.value);
        self.blocks(what, "see that the lever is the right one; words need a list in `values`")
    }
}

#[async_trait]
impl Step for SetLever {
    fn describe(&self) -> Summary {
        Summary { effect: format!("set {} to {} ({})", self.name, self.value, self.place.shown()), lock: "none".to_owned() }
    }

    fn sides(&self) -> Vec<Side> {
        self.place.side().into_iter().collect()
    }

    fn notes(&self) -> Vec<Side> {
        Vec::new()
    }

    fn reversal(&self) -> Reversal {
        Reversal::Reversible
    }

    async fn forecast(&self, cx: &Cx) -> anyhow::Result<Vec<Forecast>> {
        if !cx.allow_hooks
            && let Some(finding) = self.not_allowed()
        {
            return Ok(vec![Forecast::of(finding)]);
        }
        let now = self.read(cx).await?.value;
        if !self.form.fits(&now) {
            return Ok(vec![Forecast::of(self.other_form())]);
        }
        let what = format!("is {now}, would be {}", self.value);
        Ok(vec![Forecast { object: self.name.clone(), what, rows: None, lock: String::new() }])
    }

    async fn preconditions(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        match self.not_allowed() {
            Some(finding) if !cx.allow_hooks => return Ok(vec![finding]),
            _ => {}
        }
        self.place.prepare()?;
        Ok(if self.form.fits(&self.read(cx).await?.value) { Vec::new() } else { vec![self.other_form()] })
    }

    /// Where programs are not allowed none is asked, and nothing is known to be there.
    async fn observe(&self, cx: &Cx) -> anyhow::Result<Extent> {
        if self.place.runs().is_some() && !cx.allow_hooks {
            return Ok(Extent::Absent);
        }
        let Reading { value, told } = self.read(cx).await?;
        Ok(match (self.form.same(&value, &self.value), told) {
            (true, true) => Extent::Complete,
            (true, false) => Extent::Partial("the value is there, and who reads it was not told yet".to_owned()),
            (false, _) => Extent::Absent,
        })
    }

    async fn before(&self, cx: &Cx) -> anyhow::Result<Before> {
        let value = self.read(cx).await?.value;
        match self.form.fits(&value) {
            true => Before::of(&Was { value }),
            false => Err(Stop::Findings(vec![self.other_form()]).into()),
        }
    }

    async fn apply(&self, cx: &Cx, _: &Extent, _: &Before) -> anyhow::Result<()> {
        self.set(cx, &self.value).await
    }

    /// Gives the old value back where the lever still has ours; one that somebody else has set since stays.
    async fn undo(&self, cx: &Cx, before: &Before) -> anyhow::Result<()> {
        match self.not_allowed() {
            Some(finding) if !cx.allow_hooks => return Err(Stop::Findings(vec![finding]).into()),
            _ => {}
        }
        let was = before.read::<Was>()?.value;
        let now = self.read(cx).await?;
        if self.form.same(&now.value, &self.value) || !now.told {
            return self.set(cx, &was).await;
        }
        if !self.form.same(&now.value, &was) {
            cx.remark(format!("{} was set to something else since: it stays", self.name));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lever_is_in_one_place_and_its_value_has_a_form() {
        let around = Surroundings { base: "/nowhere".into(), has_green: false };
        let faults = |text: &str| match parse(toml::from_str(text).unwrap(), &around) {
            Ok(_) => Vec::new(),
            Err(faults) => faults.into_iter().map(|fault| fault.key.unwrap_or_default()).collect(),
        };
        let sql = "sql = { side = 'blue', read = 'SHOW x', write = [\"SET x = {value}\"] }";
        assert!(faults(&format!("name = 'ttl'\nvalue = '24h'\n{sql}")).is_empty());
        assert_eq!(faults(&format!("name = 'ttl'\nvalue = 'long'\n{sql}")), ["value"]);
        assert_eq!(faults("name = ' '\nvalue = '24h'"), ["name", "file"]);
        assert_eq!(faults(&format!("name = 'ttl'\nvalue = '24h'\n{}", sql.replace("{value}", "1"))), ["sql"]);
        assert_eq!(faults(&format!("name = 'ttl'\nvalue = '24h'\n{}", sql.replace("blue", "green"))), ["sql"]);
        assert_eq!(
            faults("name = 'ttl'\nvalue = '24h'\nhttp = { read = { url = 'x' }, write = { url = 'http://h/' } }"),
            ["http", "http"]
        );
    }
}

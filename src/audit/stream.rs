//! Both sides as streams of facts in key order, one pair at a time. Everything is read in one snapshot per side, by
//! transactions that cannot write.

use anyhow::{Context, bail};
use futures_util::{Stream, StreamExt};
use tokio_postgres::Row;

use super::declaration::FIXED;
use super::report::{Report, SetReport};
use super::save::{self, Saved};
use super::{Declaration, Fact, Facts, FieldKind, Tally, Value};
use crate::pg::{Opener, Session, explain, sqlstate};
use crate::sql::Ident;
use crate::terms::{Finding, Severity, Side};

/// Where blue's facts come from.
pub enum BlueFacts {
    /// Blue itself.
    Live(Opener),
    /// Blue at the snapshot of a transaction that this session is in, which only reads: the one green was brought to.
    At(Box<Session>),
    /// What [`save`] kept of it on green.
    Saved,
}

/// The row-level security of a table shall fail, not leave rows out.
const BEGIN: &str = "SET jit = off; SET row_security = off; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Rows between two calls of `told`.
const TOLD_EVERY: u64 = 10_000;

/// Compares every declared set. `told` hears how many rows of both sides are read. What speaks against asking comes back as
/// findings, all at once.
///
/// # Errors
/// When a session is gone, or a query fails on a row: names facts and side.
pub async fn audit(
    declared: &Declaration,
    blue: BlueFacts,
    green: &Opener,
    serving: Side,
    told: impl Fn(u64) + Send,
) -> anyhow::Result<Result<Report, Vec<Finding>>> {
    let green = begin(green).await?;
    let live = match blue {
        BlueFacts::Live(opener) => Some(begin(&opener).await?),
        BlueFacts::At(session) => {
            session.batch_execute("SET LOCAL jit = off; SET LOCAL row_security = off").await?;
            Some(*session)
        }
        BlueFacts::Saved => None,
    };
    let mut findings = Vec::new();
    let mut saved: Vec<Option<Saved>> = Vec::new();
    for facts in &declared.sets {
        match &live {
            Some(blue) => findings.extend(check(blue, facts, Side::Blue, &facts.blue).await?),
            None => match save::saved(&green, facts).await? {
                Ok(found) => saved.push(Some(found)),
                Err(finding) => findings.push(finding),
            },
        }
        findings.extend(check(&green, facts, Side::Green, &facts.green).await?);
    }
    if !findings.is_empty() {
        return Ok(Err(findings));
    }
    let now: i64 = green.query_one("SELECT (extract(epoch FROM now()) * 1000000)::bigint", &[]).await?.get(0);
    let mut sets = Vec::new();
    let mut read = 0;
    for facts in &declared.sets {
        let mut tally = Tally::new(facts.clone(), now, serving);
        let (on, query) = match &live {
            Some(blue) => (blue, facts.blue.clone()),
            None => (&green, save::reading(facts)),
        };
        // Two streams of one session do not interleave: the side table is read by a session of its own.
        let aside = match &live {
            Some(_) => None,
            None => Some(again(&green).await?),
        };
        let on = aside.as_ref().unwrap_or(on);
        let blue = std::pin::pin!(rows(on, facts, &query, Side::Blue).await?);
        let green = std::pin::pin!(rows(&green, facts, &facts.green, Side::Green).await?);
        read = merge(blue, green, &mut tally, read, &told).await.with_context(|| format!("auditing {}", facts.name))?;
        sets.push(SetReport::of(&tally));
    }
    Ok(Ok(Report::new(declared, sets, serving, saved.into_iter().flatten().collect())))
}

pub(super) async fn begin(opener: &Opener) -> anyhow::Result<Session> {
    let session = opener.open().await?;
    session.batch_execute(BEGIN).await?;
    Ok(session)
}

async fn again(session: &Session) -> anyhow::Result<Session> {
    let other = session.database().connect("crossfade/audit").await?;
    other.batch_execute(BEGIN).await?;
    Ok(other)
}

/// What speaks against a query: the server's refusal, a column that is missing or of another type.
pub(super) async fn check(session: &Session, facts: &Facts, side: Side, query: &str) -> anyhow::Result<Vec<Finding>> {
    let object = format!("facts {} on {side}", facts.name);
    let finding =
        |what: String, next: &str| Finding { severity: Severity::Blocks, object: object.clone(), what, next: next.to_owned() };
    let statement = match session.prepare(&format!("SELECT * FROM ({query}\n) AS facts")).await {
        Ok(statement) => statement,
        Err(error) if sqlstate(&error).is_empty() => return Err(error.into()),
        Err(error) => {
            // The transaction is of no use any more, and no other query of it was begun.
            session.batch_execute("ROLLBACK; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
            let next = "correct the query in the facts file, or the database the connection leads to";
            return Ok(vec![finding(format!("the server refuses the query: {}", explain(&error.into())), next)]);
        }
    };
    let given = |name: &str| statement.columns().iter().find(|column| column.name() == name).map(|column| column.type_().name());
    let fixed = [FieldKind::Text, FieldKind::Text, FieldKind::Flag];
    let wanted = FIXED.into_iter().zip(fixed).chain(facts.fields.iter().map(|field| (field.name.as_str(), field.kind)));
    let mut findings = Vec::new();
    for (name, kind) in wanted {
        let asked = kind.types()[0].trim_start_matches('_');
        let asked = if kind == FieldKind::Set { format!("{asked}[]") } else { asked.to_owned() };
        match given(name) {
            None if kind == FieldKind::Evidence => {}
            None => findings.push(finding(format!("the query gives no column {name}"), "give it in the facts file")),
            Some(found) if kind.types().contains(&found) => {}
            Some(found) => {
                let what = format!("column {name} is {}, {asked} is expected", found.trim_start_matches('_'));
                let next = match kind {
                    FieldKind::Time | FieldKind::End => "say the time zone: column AT TIME ZONE 'UTC'",
                    _ => "cast it in the facts file",
                };
                findings.push(finding(what, next));
            }
        }
    }
    let known = |name: &str| FIXED.contains(&name) || facts.fields.iter().any(|field| field.name == name);
    for column in statement.columns().iter().filter(|column| !known(column.name())) {
        let what = format!("the query gives column {}, which is no field", column.name());
        findings.push(finding(what, "name it under `fields`, or leave it out: what is not named is not compared"));
    }
    Ok(findings)
}

/// The rows of a query in the byte order of their keys.
async fn rows<'a>(
    session: &'a Session,
    facts: &'a Facts,
    query: &str,
    side: Side,
) -> anyhow::Result<impl Stream<Item = anyhow::Result<Fact>> + 'a> {
    let statement = session.prepare(&format!("SELECT * FROM ({query}\n) AS facts")).await?;
    let given: Vec<&str> = statement.columns().iter().map(|column| column.name()).collect();
    let columns = facts.fields.iter().map(|field| {
        let name = Ident::new(field.name.as_str());
        match field.kind {
            FieldKind::Evidence if !given.contains(&field.name.as_str()) => "NULL::text".to_owned(),
            FieldKind::Text | FieldKind::Link | FieldKind::Evidence => format!("facts.{name}::text"),
            FieldKind::Set => format!("facts.{name}::text[]"),
            FieldKind::Flag => format!("facts.{name}"),
            FieldKind::Time | FieldKind::End => format!(
                "CASE WHEN isfinite(facts.{name}) THEN round(extract(epoch FROM facts.{name})::numeric * 1000000)::bigint \
                      WHEN facts.{name} > now() THEN {} WHEN facts.{name} IS NOT NULL THEN {} END",
                i64::MAX,
                i64::MIN + 1
            ),
        }
    });
    let columns = columns.map(|column| format!(", {column}")).collect::<String>();
    let sql = format!(
        "SELECT facts.key::text, facts.state::text, facts.valid{columns} FROM ({query}\n) AS facts ORDER BY facts.key::text COLLATE \"C\""
    );
    let what = format!("reading facts {} on {side}", facts.name);
    let none: [&str; 0] = [];
    let stream = session.query_raw(&sql, none).await.with_context(|| what.clone())?;
    Ok(stream.map(move |row| match row {
        Ok(row) => read(&row, facts).with_context(|| what.clone()),
        Err(error) => Err(anyhow::Error::from(error).context(what.clone())),
    }))
}

fn read(row: &Row, facts: &Facts) -> anyhow::Result<Fact> {
    let text = |at: usize, name: &str| -> anyhow::Result<String> {
        row.try_get::<_, Option<&str>>(at)?.map(str::to_owned).with_context(|| format!("{name} is NULL"))
    };
    let mut values = Vec::with_capacity(facts.fields.len());
    for (number, field) in facts.fields.iter().enumerate() {
        let at = number + FIXED.len();
        values.push(match field.kind {
            FieldKind::Text | FieldKind::Link | FieldKind::Evidence => {
                Value::Text(row.try_get::<_, Option<&str>>(at)?.map(str::to_owned))
            }
            FieldKind::Set => {
                let elements: Option<Vec<Option<String>>> = row.try_get(at)?;
                Value::set(elements.unwrap_or_default().into_iter().flatten().collect())
            }
            FieldKind::Flag => Value::Flag(row.try_get(at)?),
            FieldKind::Time | FieldKind::End => Value::Time(row.try_get(at)?),
        });
    }
    // A validity nobody knows is none.
    let valid = row.try_get::<_, Option<bool>>(2)?.unwrap_or(false);
    Ok(Fact { key: text(0, "key")?, state: row.try_get::<_, Option<&str>>(1)?.unwrap_or("(none)").to_owned(), valid, values })
}

/// Walks both streams in step. Returns the rows read, `read` included.
async fn merge(
    mut blue: impl Stream<Item = anyhow::Result<Fact>> + Unpin,
    mut green: impl Stream<Item = anyhow::Result<Fact>> + Unpin,
    tally: &mut Tally,
    mut read: u64,
    told: &(impl Fn(u64) + Send),
) -> anyhow::Result<u64> {
    let mut last: [Option<String>; 2] = [None, None];
    let (mut on_blue, mut on_green) =
        (next(&mut blue, Side::Blue, &mut last, tally).await?, next(&mut green, Side::Green, &mut last, tally).await?);
    loop {
        let (blue_turn, green_turn) = match (&on_blue, &on_green) {
            (None, None) => return Ok(read),
            (Some(one), Some(other)) => (one.key <= other.key, other.key <= one.key),
            (one, other) => (one.is_some(), other.is_some()),
        };
        tally.pair(on_blue.as_ref().filter(|_| blue_turn), on_green.as_ref().filter(|_| green_turn));
        if blue_turn {
            on_blue = next(&mut blue, Side::Blue, &mut last, tally).await?;
        }
        if green_turn {
            on_green = next(&mut green, Side::Green, &mut last, tally).await?;
        }
        let before = read;
        read += u64::from(blue_turn) + u64::from(green_turn);
        if before / TOLD_EVERY != read / TOLD_EVERY {
            told(read);
        }
    }
}

/// The next row with another key; rows with the same one are counted as duplicates.
async fn next(
    stream: &mut (impl Stream<Item = anyhow::Result<Fact>> + Unpin),
    side: Side,
    last: &mut [Option<String>; 2],
    tally: &mut Tally,
) -> anyhow::Result<Option<Fact>> {
    while let Some(fact) = stream.next().await.transpose()? {
        match &last[side as usize] {
            Some(before) if *before == fact.key => tally.again(side, &fact),
            Some(before) if *before > fact.key => {
                bail!("the keys of {side} do not come in byte order: is its encoding UTF8?")
            }
            _ => {
                last[side as usize] = Some(fact.key.clone());
                return Ok(Some(fact));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::super::Class;
    use super::*;

    async fn merged(blue: &[&str], green: &[&str]) -> anyhow::Result<Tally> {
        let facts =
            Facts { name: "f".to_owned(), blue: String::new(), green: String::new(), fields: Vec::new(), causes: Vec::new() };
        let fact = |key: &&str| {
            let (key, state) = ((*key).to_owned(), "s".to_owned());
            Ok(Fact { key, state, valid: true, values: Vec::new() })
        };
        let mut tally = Tally::new(facts, 0, Side::Blue);
        let (blue, green) = (stream::iter(blue.iter().map(fact)), stream::iter(green.iter().map(fact)));
        merge(blue, green, &mut tally, 0, &|_| {}).await?;
        Ok(tally)
    }

    #[tokio::test]
    async fn two_streams_are_walked_in_step() {
        let tally = merged(&["a", "b", "d", "d", "e"], &["b", "b", "c", "e", "f"]).await.unwrap();
        let count = |class| tally.classes().get(&class).map_or(0, |counted| counted.rows);
        assert_eq!([Class::Missing, Class::Extra, Class::Duplicate].map(count), [2, 2, 2]);
        assert_eq!(tally.rows(), (5, 5));
        assert!(merged(&["b", "a"], &[]).await.is_err());
        assert_eq!(merged(&[], &[]).await.unwrap().differing(), 0);
    }
}

//! The rows a rule is about, as SQL: a table as it will be then, or what a projection gives. Pure.

use crate::projection::{Bound, Target, anatomy, plain_column};
use crate::sql::{Ident, QualifiedName};
use crate::step::{Becomes, RowChange};
use crate::terms::Side;

/// Rows, all from one side.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    /// The side.
    pub side: Side,
    /// The table they are or will be in.
    pub table: QualifiedName,
    /// What findings call them.
    pub label: String,
    /// `WITH ...`, or nothing.
    pub prelude: String,
    /// Where they come from; the parts have no row in common.
    pub sources: Vec<RowSource>,
}

/// One `SELECT`.
#[derive(Debug, Clone)]
pub(super) struct RowSource {
    /// The table whose blocks divide it.
    pub drives: QualifiedName,
    /// Its alias.
    pub alias: Ident,
    /// Text after FROM.
    pub from: String,
    /// Text after WHERE.
    pub filter: Option<String>,
    /// Column and expression.
    pub columns: Vec<(Ident, String)>,
    /// Columns of the driving table that name a row; empty when it has no key.
    pub key: Vec<Ident>,
}

/// A place in a table: block and line (PostgreSQL manual 5.5, ctid).
pub(super) type Place = (u32, u32);

/// From a place, to before another (or the end).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// The first.
    pub from: Place,
    /// The one after the last.
    pub to: Option<Place>,
}

impl Span {
    /// Everything.
    pub const ALL: Span = Span { from: (0, 0), to: None };

    fn condition(&self, alias: &Ident) -> Option<String> {
        let tid = |(block, line): Place| format!("'({block},{line})'::tid");
        let first = (self.from != (0, 0)).then(|| format!("{alias}.ctid >= {}", tid(self.from)));
        let last = self.to.map(|to| format!("{alias}.ctid < {}", tid(to)));
        let both: Vec<String> = first.into_iter().chain(last).collect();
        (!both.is_empty()).then(|| both.join(" AND "))
    }

    /// Two halves; `None` for a single line. `blocks` and `lines` are at least as many as the table and a block have.
    pub fn halves(self, blocks: u32, lines: u32) -> Option<[Span; 2]> {
        let end = self.to.unwrap_or((blocks, 0));
        let last = if end.1 == 0 { (end.0.saturating_sub(1), lines) } else { end };
        let middle = if last.0 > self.from.0 {
            (self.from.0 + (last.0 - self.from.0).div_ceil(2), 0)
        } else if last.1 > self.from.1 + 1 {
            (self.from.0, self.from.1 + (last.1 - self.from.1) / 2)
        } else {
            return None;
        };
        Some([Span { from: self.from, to: Some(middle) }, Span { from: middle, to: self.to }])
    }
}

/// The column that names a row for digests: its key as a JSON array of texts.
pub(super) const KEY: &str = "\"crossfade key\"";

impl RowSource {
    /// Its `SELECT`. `sample` is a percentage of the driving table's blocks.
    pub fn select(&self, span: Span, sample: Option<f64>) -> String {
        self.text(self.keyed(), span.condition(&self.alias), &self.sampled(sample))
    }

    /// The rows of its driving table at these places.
    pub fn at(&self, places: &[String]) -> String {
        self.text(self.keyed(), Some(at(&self.alias.to_string(), places)), &self.from)
    }

    /// All its rows, with the columns that `asked` names, and `more`.
    pub fn only(&self, asked: &str, more: &[String]) -> String {
        let columns = self.named_in(asked).map(column);
        self.text(columns.chain(more.iter().cloned()).collect(), None, &self.from)
    }

    /// The columns whose names are in a text: all that it can be about, and perhaps more.
    pub fn named_in(&self, text: &str) -> impl Iterator<Item = &(Ident, String)> {
        let text = text.to_lowercase();
        let named =
            move |name: &Ident| text.contains(&name.to_string().to_lowercase()) || text.contains(&name.as_str().to_lowercase());
        self.columns.iter().filter(move |(name, _)| named(name))
    }

    fn keyed(&self) -> Vec<String> {
        let key: Vec<String> = match self.key.is_empty() {
            true => vec![format!("{}.ctid::text", self.alias)],
            false => self.key.iter().map(|column| format!("{}.{column}::text", self.alias)).collect(),
        };
        let key = format!("to_jsonb(ARRAY[{}])::text AS {KEY}", key.join(", "));
        self.columns.iter().map(column).chain([key]).collect()
    }

    fn text(&self, columns: Vec<String>, condition: Option<String>, from: &str) -> String {
        let filter = self.filter.as_ref().map(|filter| format!("({filter}\n)"));
        let conditions: Vec<String> = filter.into_iter().chain(condition).collect();
        let place = if conditions.is_empty() { String::new() } else { format!("\nWHERE {}", conditions.join(" AND ")) };
        format!("SELECT {}\nFROM {from}{place}", columns.join(",\n"))
    }

    fn sampled(&self, sample: Option<f64>) -> String {
        let end = anatomy(&self.from).relations.first().map(|relation| relation.end);
        match (sample, end) {
            (Some(percent), Some(end)) => {
                let (item, rest) = self.from.split_at(end);
                format!("{item} TABLESAMPLE SYSTEM ({percent}) REPEATABLE (0){rest}")
            }
            _ => self.from.clone(),
        }
    }

    /// Whether it reads its driving table and nothing else.
    pub fn is_table(&self) -> bool {
        let end = anatomy(&self.from).relations.first().map(|relation| relation.end);
        self.as_it_is() && end == Some(self.from.trim_end().len())
    }

    /// Whether it reads its driving table itself, and not its rows as they will be.
    pub fn as_it_is(&self) -> bool {
        let mut relations = anatomy(&self.from).relations.into_iter();
        relations.any(|relation| relation.alias == self.alias.as_str() && relation.table.name() == self.drives.name())
    }

    /// The column of the driving table that this column is, untouched.
    pub fn plain(&self, column: &Ident) -> Option<Ident> {
        let (_, expression) = self.columns.iter().find(|(name, _)| name == column)?;
        let (alias, name) = plain_column(expression)?;
        (alias == self.alias.as_str()).then(|| Ident::new(name))
    }
}

fn column((name, expression): &(Ident, String)) -> String {
    format!("({expression}\n) AS {name}")
}

/// The condition of the rows that stand at these places.
pub(super) fn at(alias: &str, places: &[String]) -> String {
    format!("{alias}.ctid = ANY ('{{\"{}\"}}'::tid[])", places.join("\",\""))
}

impl Rows {
    /// A table with its rows as they will be after `changes` whose effect is known. Each change is applied to the rows as they
    /// are now.
    pub fn of_table(side: Side, target: &Target, key: Vec<Ident>, changes: &[RowChange]) -> Self {
        let alias = Ident::new("t");
        let (columns, filter) = ahead(target, &alias, changes);
        let source =
            RowSource { drives: target.table.clone(), from: format!("{} AS {alias}", target.table), filter, columns, alias, key };
        let label = format!("table {} on {side}", target.table.plain());
        Self { side, table: target.table.clone(), label, prelude: String::new(), sources: vec![source] }
    }

    /// The same for rows of a table that goes over as it is: what stands for its driving table is that table after `changes`.
    pub fn look_ahead(&mut self, table: &Target, changes: &[RowChange]) {
        for source in self.sources.iter_mut().filter(|_| !changes.is_empty()) {
            let alias = &source.alias;
            let (columns, filter) = ahead(table, alias, changes);
            let columns: Vec<String> = columns.iter().map(column).collect();
            source.from = format!(
                "(SELECT {alias}.ctid, {} FROM {} AS {alias} WHERE {}) AS {alias}",
                columns.join(", "),
                table.table,
                filter.as_deref().unwrap_or("true")
            );
        }
    }

    /// What a projection gives; `keys` are the keys of the driving tables, `defaults` what fills the columns it leaves out.
    pub fn of_projection(bound: &Bound, target: &Target, keys: &[Vec<Ident>], defaults: &[(Ident, String)]) -> Self {
        let sources = bound.sources.iter().zip(keys).map(|(source, key)| {
            let filled = bound.columns.iter().zip(&source.expressions).map(|(column, (text, cast))| {
                let exact = target.column(&column.name).filter(|c| !c.cast_cuts() && c.built_in() && c.full_type != c.bare_type);
                let cast = exact.map(|column| column.full_type.clone()).or_else(|| cast.clone());
                (column.name.clone(), cast.map_or_else(|| text.clone(), |to| format!("({text}\n)::{to}")))
            });
            RowSource {
                drives: source.drives.clone(),
                alias: source.alias.clone(),
                from: source.from.clone(),
                filter: source.filter.clone(),
                columns: filled.chain(defaults.iter().cloned()).collect(),
                key: key.clone(),
            }
        });
        Self {
            side: Side::Blue,
            table: bound.table.clone(),
            label: format!("projection {}", bound.table.plain()),
            prelude: bound.prelude.clone(),
            sources: sources.collect(),
        }
    }

    /// All of them, in one `SELECT` without the prelude.
    pub fn all(&self, sample: Option<f64>) -> String {
        let parts: Vec<String> = self.sources.iter().map(|source| source.select(Span::ALL, sample)).collect();
        parts.join("\nUNION ALL\n")
    }

    /// A query over `hit`, which is `body`.
    pub fn with_hits(&self, body: &str, query: &str) -> String {
        format!("{}hit AS MATERIALIZED (\n{body}\n) {query}", self.with())
    }

    /// `WITH` and the constants, for one more query.
    pub fn with(&self) -> String {
        if self.prelude.is_empty() { "WITH ".to_owned() } else { format!("{}, ", self.prelude.trim_end()) }
    }

    /// Whether the rows have keys that mean something.
    pub fn keyed(&self) -> bool {
        self.sources.iter().all(|source| !source.key.is_empty())
    }
}

/// A table's columns, and the condition of the rows that stay, after `changes` whose effect is known.
fn ahead(target: &Target, alias: &Ident, changes: &[RowChange]) -> (Vec<(Ident, String)>, Option<String>) {
    let known: Vec<&(String, Becomes)> = changes.iter().filter_map(|change| change.known.as_ref()).collect();
    let columns = target.columns.iter().map(|column| {
        let mut expression = format!("{alias}.{}", column.name);
        for (condition, becomes) in &known {
            if let Becomes::Set(set) = becomes
                && let Some((_, value)) = set.iter().find(|(name, _)| *name == column.name)
            {
                expression = format!("CASE WHEN ({condition}\n) THEN ({value}\n) ELSE {expression} END");
            }
        }
        (column.name.clone(), expression)
    });
    let gone = known.iter().filter(|(_, becomes)| *becomes == Becomes::Gone);
    let stays: Vec<String> = gone.map(|(condition, _)| format!("(({condition}\n) IS NOT TRUE)")).collect();
    (columns.collect(), (!stays.is_empty()).then(|| stays.join(" AND ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_halve_down_to_one_line() {
        let mut span = Span::ALL;
        let mut steps = 0;
        while let Some([first, second]) = span.halves(1000, 291) {
            assert_eq!(Some(second.from), first.to);
            span = if steps % 2 == 0 { second } else { first };
            steps += 1;
            assert!(steps < 40);
        }
        assert_eq!(Span { from: (3, 7), to: Some((3, 8)) }.halves(10, 291), None);
        assert!(Span { from: (9, 290), to: None }.halves(10, 291).is_none());
        assert_eq!(
            Span { from: (3, 7), to: Some((4, 0)) }.condition(&Ident::new("t")).unwrap(),
            "\"t\".ctid >= '(3,7)'::tid AND \"t\".ctid < '(4,0)'::tid"
        );
    }
}

//! What becomes of one statement: the forms that do the same without making anybody wait.

use squawk_syntax::ast::{self, AstNode, Stmt};
use squawk_syntax::{SourceFile, SyntaxKind, SyntaxNode};

use super::alter;
use super::name;
use super::retype;
use crate::lint::act::{Act, Volatility, What};
use crate::lint::read::{text as text_of, volatility};
use crate::lint::rules::form::{proven, put_behind};
use crate::lint::script::{Piece, Script, Within};
use crate::lint::state::State;
use crate::sql::words::words;
use crate::sql::{Block, Ident, LockMode, QualifiedName};

/// A way to do a part of a statement's work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// In a transaction with its neighbours.
    Sql(String),
    /// Outside a transaction; the catalog tells whether it is done.
    Alone(String),
    /// What comes next must not share a transaction with what came before.
    Cut,
    /// In batches, in key order.
    Backfill(Backfill),
    /// Rows that go, in batches, each set aside first.
    Clean {
        /// Their table.
        table: QualifiedName,
        /// Which rows.
        filter: String,
    },
    /// Takes away what an older version of the application may still use: last, after an approval.
    Later {
        /// The statement.
        sql: String,
        /// Whether it runs outside a transaction.
        alone: bool,
        /// The name that goes.
        name: String,
    },
    /// Ends what keeps new columns in step: before the first later statement that takes columns of the table away, renames them or
    /// gives them another type; where there is none, last.
    Until {
        /// The statements.
        sql: String,
        /// The table.
        table: QualifiedName,
        /// What goes, in words.
        name: String,
    },
    /// Nothing makes it safe: it waits for an approval, where it stands.
    Unsafe {
        /// The statement, as written.
        sql: String,
        /// Why.
        why: String,
    },
    /// Not done, because crossfade does it itself.
    Left(String),
    /// Cannot be carried over at all.
    Refused(String),
}

/// New values for existing rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backfill {
    /// The table.
    pub table: QualifiedName,
    /// Columns with the expressions over the row.
    pub set: Vec<(Ident, String)>,
    /// Which rows still need it.
    pub filter: String,
    /// Whether only NULL is replaced, so that nothing has to be set aside.
    pub only_null: bool,
}

/// Where a statement stands.
pub(super) struct Place<'a> {
    pub script: &'a Script,
    pub piece: &'a Piece,
    /// The pieces inside its body.
    pub inner: &'a [Piece],
    pub state: &'a State,
}

impl Place<'_> {
    /// The statement, as written.
    pub fn text(&self) -> &str {
        &self.script.text[self.piece.at.clone()]
    }

    fn hot(&self, table: &QualifiedName) -> bool {
        self.state.hot(table)
    }

    pub fn unsafe_because(&self, why: impl Into<String>) -> Vec<Form> {
        vec![Form::Unsafe { sql: self.text().to_owned(), why: why.into() }]
    }

    fn as_written(&self) -> Vec<Form> {
        vec![Form::Sql(self.text().to_owned())]
    }

    /// The statement with a word put behind the first of these words.
    fn with(&self, word: &str, behind: &[&str]) -> String {
        put_behind(self.text(), word, behind)
    }
}

/// What becomes of a statement.
pub(super) fn forms(place: &Place<'_>) -> Vec<Form> {
    let piece = place.piece;
    match piece.block {
        Block::Control => return control(place),
        Block::Inside | Block::Outside => {}
    }
    if let Some(why) = piece.acts.iter().find_map(unread) {
        return place.unsafe_because(why);
    }
    if let Some(why) = body(place) {
        return place.unsafe_because(why);
    }
    let acts: Vec<&What> = piece.acts.iter().map(|act| &act.what).filter(|what| !remark(what)).collect();
    if piece.kind.starts_with("ALTER TABLE") {
        if let Some(why) = unproven(place) {
            return place.unsafe_because(why);
        }
        return alter::forms(place);
    }
    for what in acts {
        if let Some(forms) = act(place, what) {
            return forms;
        }
    }
    if piece.touches.is_none() {
        return place.unsafe_because(format!("it is not known what {} locks", piece.kind));
    }
    if piece.block == Block::Outside {
        return match piece.effect {
            crate::sql::Effect::Other => vec![Form::Refused(format!(
                "{} runs outside a transaction, and the catalog does not tell whether it is done",
                piece.kind
            ))],
            _ => vec![Form::Alone(place.text().to_owned())],
        };
    }
    place.as_written()
}

/// BEGIN and COMMIT of the file.
fn control(place: &Place<'_>) -> Vec<Form> {
    vec![Form::Left(format!("{}: crossfade puts statements into transactions itself", one_line(place.text())))]
}

/// Acts that are only remarks about others.
fn remark(what: &What) -> bool {
    matches!(
        what,
        What::Constants(_)
            | What::Repeatable
            | What::Once
            | What::LongName(_)
            | What::Unqualified(_)
            | What::Needs { .. }
            | What::Stars(_)
            | What::Cascade { .. }
    )
}

fn unread(act: &Act) -> Option<String> {
    match &act.what {
        What::Unread { why } => Some(format!("its body was not analysed: {why}")),
        What::Dynamic => Some("its body puts SQL together when it runs, which was not analysed".to_owned()),
        _ => None,
    }
}

/// Why the statements of a block, or of functions that are called, are not safe together.
fn body(place: &Place<'_>) -> Option<String> {
    let called = place.piece.acts.iter().filter_map(|act| match &act.what {
        What::Calls(names) => Some(names),
        _ => None,
    });
    let called = called.flatten().filter_map(|name| place.state.functions.get(name.name().as_str())).flatten();
    for inner in place.inner.iter().filter(|inner| inner.within == Within::Block).chain(called) {
        if let Some(why) = inner.acts.iter().find_map(unread) {
            return Some(why);
        }
        let Some(touches) = &inner.touches else { return Some(format!("it is not known what {} in its body locks", inner.kind)) };
        let strong = touches.iter().find(|touch| touch.lock >= LockMode::ShareUpdateExclusive && place.hot(&touch.relation));
        if let Some(touch) = strong {
            let (kind, table) = (&inner.kind, touch.relation.plain());
            return Some(format!("{kind} in its body takes {} on {table}, held until the body ends", touch.lock));
        }
        let rows = inner.acts.iter().find_map(|act| match &act.what {
            What::Update { table, .. } | What::Delete { table, .. } if place.hot(table) => Some(table),
            _ => None,
        });
        if let Some(table) = rows {
            return Some(format!("{} in its body changes rows of {} in one transaction", inner.kind, table.plain()));
        }
    }
    None
}

/// Why a SET NOT NULL reads every row although a CHECK shows that it need not: the same statement drops that one first.
fn unproven(place: &Place<'_>) -> Option<String> {
    place.piece.acts.iter().find_map(|act| match &act.what {
        What::SetNotNull { table, column } => {
            let known = place.state.table(table)?.proven.contains(column) && !proven(place.piece, place.state, table, column);
            known.then(|| format!("every row of {} is read for {column}: the CHECK that shows it is dropped before; drop it in another statement", table.plain()))
        }
        _ => None,
    })
}

/// What becomes of a statement with this act; `None` when the act decides nothing.
fn act(place: &Place<'_>, what: &What) -> Option<Vec<Form>> {
    let text = || place.text().to_owned();
    Some(match what {
        What::CreateIndex { table, index } if place.hot(table) && !index.concurrently => {
            if place.state.table(table).is_some_and(|known| known.partitioned) {
                return Some(place.unsafe_because("an index of a partitioned table cannot be built concurrently; create it ON ONLY the table, build those of the partitions concurrently and attach them"));
            }
            let sql = place.with("CONCURRENTLY", &["INDEX"]);
            if index.name.is_some() {
                return Some(vec![Form::Alone(sql)]);
            }
            let plain = index.keys.iter().all(|key| key.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric()));
            if !plain {
                return Some(place.unsafe_because(
                    "give the index a name and it is built concurrently: the server's choice is not known for expressions",
                ));
            }
            let name = Ident::new(name::of(table, &index.keys, "idx"));
            vec![Form::Alone(put_behind(&sql, &name.to_string(), &["CONCURRENTLY"]))]
        }
        What::CreateIndex { index, .. } if index.concurrently && index.name.is_none() => {
            vec![Form::Refused("an index that is built concurrently needs a name, to be found again after a crash".to_owned())]
        }
        What::CreateIndex { index, .. } if index.concurrently => vec![Form::Alone(text())],
        What::DropIndex { .. } => return drop_indexes(place),
        What::DropTable { .. } => return drop_tables(place),
        What::DropObject { object, name } if lasting(object) => {
            vec![Form::Later { sql: text(), alone: false, name: name.name().as_str().to_owned() }]
        }
        What::Rename { object, name, .. } | What::SetSchema { object, name } if place.hot(name) && renames(object) => {
            place.unsafe_because(format!("programs that use {} by its name fail from that moment on", name.plain()))
        }
        What::Update { table, .. } if place.hot(table) => update(place, table),
        What::Delete { table, .. } if place.hot(table) => delete(place, table),
        What::Merge { table } if place.hot(table) => {
            place.unsafe_because(format!("MERGE changes rows of {} in one transaction", table.plain()))
        }
        What::Truncate { table } if place.hot(table) => {
            place.unsafe_because(format!("every row of {} goes at once, under ACCESS EXCLUSIVE", table.plain()))
        }
        What::LockTable { table, mode } if place.hot(table) => {
            place.unsafe_because(format!("{mode} on {} is held until the transaction ends", table.plain()))
        }
        What::Reindex { concurrently: false, target } => {
            if target.starts_with("SYSTEM") {
                return Some(place.unsafe_because("system catalogs cannot be reindexed concurrently"));
            }
            vec![Form::Alone(place.with("CONCURRENTLY", &["INDEX", "TABLE", "SCHEMA", "DATABASE"]))]
        }
        What::Cluster { .. } | What::Vacuum { full: true, .. } => place
            .unsafe_because("it writes the table anew under ACCESS EXCLUSIVE; pg_repack or a new table filled in batches do not"),
        What::Refresh { view, concurrently: false } if place.hot(view) => {
            place.unsafe_because("nobody reads the view meanwhile; with a unique index REFRESH ... CONCURRENTLY lets them")
        }
        // It takes long: no lock of a neighbour is held meanwhile, and no neighbour's wait makes it begin anew.
        What::Insert { from_query: true, .. } if reads_what_is_in_use(place) => vec![Form::Cut, Form::Sql(text()), Form::Cut],
        What::AddEnumValue { .. } => vec![Form::Cut, Form::Sql(text()), Form::Cut],
        What::Set { name, local, .. } => setting(place, name, *local),
        _ => return None,
    })
}

fn reads_what_is_in_use(place: &Place<'_>) -> bool {
    place.piece.touches.iter().flatten().any(|touch| place.hot(&touch.relation))
}

/// Whether programs use such an object by its name.
fn renames(object: &str) -> bool {
    !matches!(object, "index" | "constraint" | "trigger" | "policy" | "rule")
}

/// Whether what is dropped may still be used by an older version of the application, or holds data.
fn lasting(object: &str) -> bool {
    !matches!(object, "trigger" | "policy" | "rule" | "cast" | "operator" | "statistics" | "publication" | "subscription")
}

fn setting(place: &Place<'_>, name: &str, local: bool) -> Vec<Form> {
    match name.to_ascii_lowercase().as_str() {
        "lock_timeout" | "statement_timeout" | "idle_in_transaction_session_timeout" | "deadlock_timeout" => {
            vec![Form::Left(format!("{}: [limits] of the plan say how long is waited", one_line(place.text())))]
        }
        _ if local => place.as_written(),
        _ => vec![Form::Sql(for_the_transaction(place.text()))],
    }
}

/// `SET` or `SET SESSION` as `SET LOCAL`. A parameter may be called `session.x`.
fn for_the_transaction(text: &str) -> String {
    let words: Vec<_> = words(text).map(|(_, at)| at).collect();
    let word = |at: usize| words.get(at).map_or("", |at| &text[at.clone()]);
    match words.get(1) {
        Some(scope) if word(1).eq_ignore_ascii_case("SESSION") && word(2) != "." => {
            format!("{}LOCAL{}", &text[..scope.start], &text[scope.end..])
        }
        _ => put_behind(text, "LOCAL", &["SET"]),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn drop_indexes(place: &Place<'_>) -> Option<Vec<Form>> {
    let names = place.piece.acts.iter().filter_map(|act| match &act.what {
        What::DropIndex { index, .. } => Some(index),
        _ => None,
    });
    let names: Vec<&QualifiedName> = names.collect();
    if names.iter().all(|name| !place.hot(name)) {
        return None;
    }
    if place.piece.acts.iter().any(|act| matches!(act.what, What::Cascade { .. })) {
        return Some(place.unsafe_because("DROP INDEX ... CASCADE cannot run concurrently"));
    }
    let exists = if place.text().to_ascii_uppercase().contains("IF EXISTS") { "IF EXISTS " } else { "" };
    let one = |name: &&QualifiedName| Form::Later {
        sql: format!("DROP INDEX CONCURRENTLY {exists}{name}"),
        alone: true,
        name: name.name().as_str().to_owned(),
    };
    Some(names.iter().map(one).collect())
}

fn drop_tables(place: &Place<'_>) -> Option<Vec<Form>> {
    let names = place.piece.acts.iter().filter_map(|act| match &act.what {
        What::DropTable { table, .. } => Some(table),
        _ => None,
    });
    let names: Vec<&QualifiedName> = names.collect();
    let hot = names.iter().find(|name| place.hot(name))?;
    Some(vec![Form::Later { sql: place.text().to_owned(), alone: false, name: hot.name().as_str().to_owned() }])
}

/// `UPDATE` as a backfill, where its expressions give the same value a second time.
fn update(place: &Place<'_>, table: &QualifiedName) -> Vec<Form> {
    let refuse = |why: &str| place.unsafe_because(format!("rows of {} are changed in one transaction: {why}", table.plain()));
    let parse = SourceFile::parse(place.text());
    let Some(Stmt::Update(update)) = parse.tree().stmts().next() else {
        return refuse("the UPDATE is part of another statement");
    };
    if update.from_clause().is_some() || update.with_clause().is_some() || update.returning_clause().is_some() {
        return refuse("with FROM, WITH or RETURNING it is no backfill of one table; write the other table as a subquery in SET");
    }
    if update.alias().is_some() {
        return refuse("its table has another name in it; without an alias it is a backfill");
    }
    let mut set = Vec::new();
    for column in update.set_clause().and_then(|set| set.set_column_list()).into_iter().flat_map(|list| list.set_columns()) {
        let ast::SetColumn::SetSingleColumn(column) = column else { return refuse("it sets several columns from one row") };
        let (Some(target), Some(value)) = (column.column_target(), column.set_expr()) else { return refuse("it was not read") };
        let Some(target) = whole_column(target.syntax()) else { return refuse("it sets a part of a column") };
        if set.iter().any(|(known, _)| *known == target) {
            return refuse(&format!("it sets {target} twice, which a server refuses"));
        }
        if volatility(value.syntax()) == Volatility::Volatile {
            return refuse(&format!("the value of {target} is another one each time"));
        }
        set.push((target, text_of(value.syntax())));
    }
    let filter = match update.where_clause_or_current_of() {
        None => None,
        Some(clause) => {
            let text = text_of(clause.syntax());
            let Some(condition) = text.get(5..).filter(|_| text.to_ascii_lowercase().starts_with("where")) else {
                return refuse("it is about a cursor");
            };
            Some(condition.trim().to_owned())
        }
    };
    for (column, value) in &set {
        if let Some((own, _)) = set.iter().find(|(own, _)| mentions(value, own.as_str())) {
            return refuse(&format!("{column} is made from {own}, which it also sets: a second time gives another value"));
        }
    }
    let in_step = match set.iter().all(|(column, _)| place.state.new_column(table, column.as_str())) {
        true => in_step(place.state, table, &set, filter.as_deref()),
        // Code that is older than this set may write the column in its own way, and code that is newer too.
        false => Vec::new(),
    };
    let differs: Vec<String> = set.iter().map(|(column, value)| format!("{column} IS DISTINCT FROM ({value})")).collect();
    let differs = differs.join(" OR ");
    let filter = filter.map_or(differs.clone(), |filter| format!("({filter}) AND ({differs})"));
    let mut forms = in_step;
    let end = forms.pop();
    forms.push(Form::Backfill(Backfill { table: table.clone(), set, filter, only_null: false }));
    forms.extend(end);
    forms
}

/// What fills columns that this set adds for rows that older code writes, which does not know them: in new rows where nobody gave a
/// value, in changed ones where what the value is made of changed and the column did not. The last form ends it.
fn in_step(state: &State, table: &QualifiedName, set: &[(Ident, String)], filter: Option<&str>) -> Vec<Form> {
    let row = Ident::new(table.name().as_str());
    let over_row = |expression: &str| format!("(SELECT ({expression}\n) FROM (SELECT NEW.*) AS {row})");
    let holds = filter.map_or(String::new(), |filter| format!(" AND {}", over_row(filter)));
    let known = state.table(table).map(|known| &known.columns);
    let mut body = String::new();
    for (column, value) in set {
        let sources = [Some(value.as_str()), filter].into_iter().flatten().flat_map(names_in);
        let mut sources: Vec<Ident> = sources
            .filter(|name| name != column.as_str() && known.is_some_and(|known| known.contains_key(name)))
            .map(Ident::new)
            .collect();
        sources.sort();
        sources.dedup();
        let list = |row: &str| sources.iter().map(|source| format!("{row}.{source}")).collect::<Vec<_>>().join(", ");
        let changed = match sources.is_empty() {
            true => String::new(),
            false => format!(
                "\n  ELSIF TG_OP = 'UPDATE' THEN\n    IF NEW.{column} IS NOT DISTINCT FROM OLD.{column} AND \
                 ROW({}) IS DISTINCT FROM ROW({}){holds} THEN\n      NEW.{column} := {};\n    END IF;",
                list("NEW"),
                list("OLD"),
                over_row(value)
            ),
        };
        let new = format!("IF NEW.{column} IS NULL{holds} THEN\n      NEW.{column} := {};\n    END IF;", over_row(value));
        body += &format!("IF TG_OP = 'INSERT' THEN\n    {new}{changed}\n  END IF;\n  ");
    }
    let columns: Vec<String> = set.iter().map(|(column, _)| column.as_str().to_owned()).collect();
    let trigger = Ident::new(name::of(&QualifiedName::bare("zzz_crossfade"), &columns, "in_step"));
    let function = QualifiedName::new("crossfade", name::of(table, &columns, "in_step"));
    let mut forms = retype::in_step(&trigger, table, &function, body.trim_end());
    let sql = format!("DROP TRIGGER {trigger} ON {table};\nDROP FUNCTION {function}()");
    let name = format!("what keeps {} of {} in step", columns.join(", "), table.plain());
    forms.push(Form::Until { sql, table: table.clone(), name });
    forms
}

/// The names in an expression that are no functions'.
fn names_in(expression: &str) -> Vec<String> {
    let tree = SourceFile::parse(&format!("SELECT {expression}")).tree();
    let names = tree.syntax().descendants().filter(|node| node.kind() == SyntaxKind::NAME_REF);
    let columns = names.filter(|node| node.parent().is_none_or(|parent| parent.kind() != SyntaxKind::CALL_EXPR));
    columns.map(|node| ast::normalize_name_node(&node)).collect()
}

/// The column that is set; `None` for a field or an element of it.
fn whole_column(target: &SyntaxNode) -> Option<Ident> {
    let name = target.descendants().find(|below| below.kind() == SyntaxKind::COLUMN_NAME_REF)?;
    (text_of(&name) == text_of(target)).then(|| Ident::new(ast::normalize_name_node(&name)))
}

fn delete(place: &Place<'_>, table: &QualifiedName) -> Vec<Form> {
    let refuse = |why: &str| place.unsafe_because(format!("rows of {} go in one transaction: {why}", table.plain()));
    let parse = SourceFile::parse(place.text());
    let Some(Stmt::Delete(delete)) = parse.tree().stmts().next() else {
        return refuse("the DELETE is part of another statement");
    };
    let plain =
        delete.syntax().children().all(|child| matches!(child.kind(), SyntaxKind::RELATION_NAME | SyntaxKind::WHERE_CLAUSE));
    let condition = delete.where_clause_or_current_of().map(|clause| text_of(clause.syntax()));
    match condition {
        _ if !plain => refuse("with USING, WITH, RETURNING or an alias it is no cleanup of one table"),
        None => refuse("without WHERE it is every row"),
        Some(text) if !text.to_ascii_lowercase().starts_with("where") => refuse("it is about a cursor"),
        Some(text) => vec![Form::Clean { table: table.clone(), filter: text[5..].trim().to_owned() }],
    }
}

/// Whether a text names this, as a word.
pub(super) fn mentions(text: &str, name: &str) -> bool {
    let is_word = |c: char| c == '_' || c == '$' || c.is_alphanumeric();
    let (text, name) = (text.to_lowercase(), name.to_lowercase());
    text.match_indices(&name).any(|(at, _)| {
        let before = text[..at].chars().next_back().is_some_and(is_word);
        let after = text[at + name.len()..].chars().next().is_some_and(is_word);
        !before && !after
    })
}

#[cfg(test)]
mod tests {
    use super::for_the_transaction;

    #[test]
    fn a_setting_ends_with_its_transaction() {
        for (text, with) in [
            ("SET x TO 1", "SET LOCAL x TO 1"),
            ("set  session\n/* why */ x = 1", "set  LOCAL\n/* why */ x = 1"),
            ("SET sessionx TO 1", "SET LOCAL sessionx TO 1"),
            ("SET session.x TO session", "SET LOCAL session.x TO session"),
        ] {
            assert_eq!(for_the_transaction(text), with);
        }
    }
}

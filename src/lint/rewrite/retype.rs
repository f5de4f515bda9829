//! Another type for a column that old code goes on writing: a new column beside it, kept in step by a trigger, filled by a backfill,
//! with the same indexes and constraints; then both change names in one short transaction. What stands on the column a database has
//! told ([`Dependents`]); without that nothing can be carried over.

use super::form::{Backfill, Form};
use super::name;
use crate::lint::state::{Dependents, Standing, StandingKind};
use crate::sql::{Ident, Literal, QualifiedName};

/// The new type of a column.
pub(super) struct Retype<'a> {
    /// Its table.
    pub table: &'a QualifiedName,
    /// The column.
    pub column: &'a Ident,
    /// Type and collation as written.
    pub ty: String,
    /// The expression behind USING, where there is one.
    pub using: Option<String>,
    /// Whether the column refuses NULL.
    pub not_null: bool,
    /// What stands on it.
    pub dependents: &'a Dependents,
}

/// Names that live as long as the plan runs.
struct Names {
    /// The column that will be.
    new: Ident,
    /// The column that was.
    old: Ident,
    /// Proves that the new column holds no NULL.
    check: Ident,
    trigger: Ident,
    function: QualifiedName,
}

impl Retype<'_> {
    /// What becomes of it.
    ///
    /// # Errors
    /// Why it cannot be carried over.
    pub(super) fn forms(&self) -> Result<Vec<Form>, String> {
        if let Some(why) = self.dependents.unfit.first() {
            return Err(format!("{} cannot be carried over to a new column: {why}", self.column));
        }
        let names = self.names()?;
        let mut forms = self.beside(&names);
        let mut swap = Vec::new();
        for (number, standing) in (1u32..).zip(&self.dependents.standing) {
            let aside = Ident::new(name::of(self.table, &[self.column.as_str().to_owned()], &format!("crossfade_{number}")));
            self.carry(&names, standing, &aside, &mut forms, &mut swap)?;
        }
        if self.not_null {
            let Names { new, check, .. } = &names;
            forms.push(self.sql(&format!("ADD CONSTRAINT {check} CHECK ({new} IS NOT NULL) NOT VALID")));
            forms.push(Form::Alone(self.alter(&format!("VALIDATE CONSTRAINT {check}"))));
        }
        forms.push(Form::Cut);
        forms.extend(self.swap(&names, swap));
        forms.push(Form::Cut);
        let (sql, name) = (self.alter(&format!("DROP COLUMN {}", names.old)), names.old.as_str().to_owned());
        forms.push(Form::Later { sql, alone: false, name });
        Ok(forms)
    }

    fn names(&self) -> Result<Names, String> {
        let column = self.column.as_str();
        let (table, own) = (QualifiedName::bare("crossfade"), [column.to_owned()]);
        if column.len() > 40 {
            return Err(format!("{} is too long to be renamed aside", self.column));
        }
        Ok(Names {
            new: Ident::new(name::of(&table, &own, "new")),
            old: Ident::new(name::of(&table, &own, "old")),
            check: Ident::new(name::of(self.table, &own, "crossfade_not_null")),
            // Triggers go by name: behind those that the table has.
            trigger: Ident::new(format!("zzz_crossfade_{column}")),
            function: QualifiedName::new("crossfade", name::of(self.table, &own, "in_step")),
        })
    }

    fn alter(&self, action: &str) -> String {
        format!("ALTER TABLE {} {action}", self.table)
    }

    fn sql(&self, action: &str) -> Form {
        Form::Sql(self.alter(action))
    }

    /// The value of the new column, over the row.
    fn value(&self) -> String {
        self.using.as_ref().map_or_else(|| self.column.to_string(), |using| format!("({using})"))
    }

    /// The new column, in step from now on, and filled.
    fn beside(&self, names: &Names) -> Vec<Form> {
        let Names { new, trigger, function, .. } = names;
        let value = self.value();
        let row = Ident::new(self.table.name().as_str());
        let body = match self.using {
            Some(_) => format!("NEW.{new} := (SELECT {value} FROM (SELECT NEW.*) AS {row});"),
            None => format!("NEW.{new} := NEW.{};", self.column),
        };
        // `$` and comments may stand in the expression: then every row that differs is looked at.
        let plain = !["$", "--", "/*"].iter().any(|mark| value.contains(mark));
        let filter = match plain {
            true => format!("{new} IS NULL AND ({value}) IS NOT NULL"),
            false => format!("{new} IS DISTINCT FROM ({value}\n)"),
        };
        let mut forms = vec![self.sql(&format!("ADD COLUMN {new} {}", self.ty))];
        forms.extend(in_step(trigger, self.table, function, &body));
        let set = vec![(new.clone(), value)];
        forms.push(Form::Backfill(Backfill { table: self.table.clone(), set, filter, only_null: plain }));
        forms
    }

    /// One index or constraint again, on the new column; and what puts it into its place.
    fn carry(
        &self,
        names: &Names,
        standing: &Standing,
        aside: &Ident,
        forms: &mut Vec<Form>,
        swap: &mut Vec<String>,
    ) -> Result<(), String> {
        let Standing { kind, name, definition } = standing;
        let name = Ident::new(name);
        let unread = || format!("{name} was not read: {definition}");
        let renamed = |text: &str| renamed(text, self.column.as_str(), &names.new);
        match kind {
            StandingKind::Index => {
                let (head, body) = definition.split_once(" USING ").ok_or_else(unread)?;
                let unique = if head.starts_with("CREATE UNIQUE ") { "UNIQUE " } else { "" };
                let body = renamed(body);
                forms.push(Form::Alone(format!("CREATE {unique}INDEX CONCURRENTLY {aside} ON {} USING {body}", self.table)));
                swap.push(format!("DROP INDEX {}", self.table.sibling(name.as_str())));
                swap.push(format!("ALTER INDEX {} RENAME TO {name}", self.table.sibling(aside.as_str())));
            }
            StandingKind::Key => {
                let (word, rest) = ["PRIMARY KEY", "UNIQUE"]
                    .into_iter()
                    .find_map(|word| Some((word, definition.strip_prefix(word)?)))
                    .ok_or_else(unread)?;
                let (columns, rest) =
                    rest.trim_start().strip_prefix('(').and_then(|rest| rest.split_once(')')).ok_or_else(unread)?;
                if !rest.trim().is_empty() {
                    return Err(format!(
                        "{name} is more than its columns ({}), and the index beside it is checked at once",
                        rest.trim()
                    ));
                }
                let columns = renamed(columns);
                forms.push(Form::Alone(format!("CREATE UNIQUE INDEX CONCURRENTLY {aside} ON {} ({columns})", self.table)));
                swap.push(self.alter(&format!("DROP CONSTRAINT {name}")));
                swap.push(self.alter(&format!("ADD CONSTRAINT {name} {word} USING INDEX {aside}")));
            }
            StandingKind::Rule => {
                let (body, valid) = match definition.strip_suffix(" NOT VALID") {
                    Some(body) => (body, false),
                    None => (definition.as_str(), true),
                };
                // Columns of the other table keep their names.
                let body = match body.find(" REFERENCES ") {
                    Some(at) if body.starts_with("FOREIGN KEY") => format!("{}{}", renamed(&body[..at]), &body[at..]),
                    _ => renamed(body),
                };
                forms.push(self.sql(&format!("ADD CONSTRAINT {aside} {body} NOT VALID")));
                if valid {
                    forms.push(Form::Alone(self.alter(&format!("VALIDATE CONSTRAINT {aside}"))));
                }
                swap.push(self.alter(&format!("DROP CONSTRAINT {name}")));
                swap.push(self.alter(&format!("RENAME CONSTRAINT {aside} TO {name}")));
            }
        }
        Ok(())
    }

    /// The short transaction in which both columns change names.
    fn swap(&self, names: &Names, standing: Vec<String>) -> Vec<Form> {
        let Names { new, old, check, trigger, function } = names;
        let (column, table) = (self.column, self.table);
        let mut all = vec![format!("DROP TRIGGER {trigger} ON {table}"), format!("DROP FUNCTION {function}()")];
        if self.not_null {
            all.push(self.alter(&format!("ALTER COLUMN {new} SET NOT NULL")));
            all.push(self.alter(&format!("DROP CONSTRAINT {check}")));
        }
        // Constraints go and come while both columns have their first names.
        all.extend(standing);
        if self.not_null {
            all.push(self.alter(&format!("ALTER COLUMN {column} DROP NOT NULL")));
        }
        if let Some(default) = &self.dependents.default {
            all.push(self.alter(&format!("ALTER COLUMN {new} SET DEFAULT {default}")));
            all.push(self.alter(&format!("ALTER COLUMN {column} DROP DEFAULT")));
        }
        all.extend(self.dependents.sequences.iter().map(|sequence| format!("ALTER SEQUENCE {sequence} OWNED BY {table}.{new}")));
        if let Some(comment) = &self.dependents.comment {
            all.push(format!("COMMENT ON COLUMN {table}.{new} IS {}", Literal::new(comment.as_str())));
        }
        all.push(self.alter(&format!("RENAME COLUMN {column} TO {old}")));
        all.push(self.alter(&format!("RENAME COLUMN {new} TO {column}")));
        all.into_iter().map(Form::Sql).collect()
    }
}

/// A trigger on every row that somebody writes, whose function has this body and the search path of the migration.
pub(super) fn in_step(trigger: &Ident, table: &QualifiedName, function: &QualifiedName, body: &str) -> Vec<Form> {
    let schema = "CREATE SCHEMA IF NOT EXISTS crossfade".to_owned();
    let make = format!(
        "CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $crossfade$\n\
         BEGIN\n  {body}\n  RETURN NEW;\nEND $crossfade$"
    );
    let set = format!("CREATE TRIGGER {trigger} BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()");
    [schema, make, set].map(Form::Sql).into()
}

/// A text of the server's own with another name for a column: types, functions, collations, fields and texts of that name stay.
fn renamed(text: &str, column: &str, new: &Ident) -> String {
    let word = |c: char| c == '_' || c == '$' || c.is_alphanumeric();
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' => closing(rest, '\''),
            '"' => closing(rest, '"'),
            c if word(c) => rest.find(|c| !word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (token, behind) = rest.split_at(length);
        let name = match first {
            '"' => token.trim_matches('"').replace("\"\"", "\""),
            _ => token.to_owned(),
        };
        let before = out.trim_end();
        let elsewhere =
            before.ends_with("::") || before.ends_with('.') || before.ends_with("COLLATE") || behind.starts_with(['(', '.']);
        if first != '\'' && name == column && !elsewhere {
            out += &new.to_string();
        } else {
            out += token;
        }
        rest = behind;
    }
    out
}

/// Bytes of a quoted token; a doubled mark is part of it.
fn closing(text: &str, mark: char) -> usize {
    let mut open = false;
    for (at, c) in text.char_indices() {
        if c == mark {
            open = !open;
        }
        let more = text[at + c.len_utf8()..].starts_with(mark);
        if !open && c == mark && !more {
            return at + c.len_utf8();
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_column_gets_another_name() {
        let new = Ident::new("crossfade_date_new");
        for (text, wanted) in [
            ("btree (date, lower((date)::text))", "btree (\"crossfade_date_new\", lower((\"crossfade_date_new\")::text))"),
            (
                "btree (date(other), \"date\") WHERE ((other)::date > 0)",
                "btree (date(other), \"crossfade_date_new\") WHERE ((other)::date > 0)",
            ),
            ("CHECK ((date <> 'a date, it''s'::text))", "CHECK ((\"crossfade_date_new\" <> 'a date, it''s'::text))"),
            ("CHECK ((\"Date\" <> up_date))", "CHECK ((\"Date\" <> up_date))"),
            ("btree (date COLLATE \"C\" text_pattern_ops)", "btree (\"crossfade_date_new\" COLLATE \"C\" text_pattern_ops)"),
        ] {
            assert_eq!(renamed(text, "date", &new), wanted);
        }
        assert_eq!(renamed("btree (\"Odd Name\")", "Odd Name", &new), "btree (\"crossfade_date_new\")");
    }

    #[test]
    fn what_cannot_be_carried_is_said() {
        let dependents = Dependents { unfit: vec!["view v reads it".to_owned()], ..Dependents::default() };
        let (table, column) = (QualifiedName::bare("t"), Ident::new("c"));
        let retype = Retype {
            table: &table,
            column: &column,
            ty: "bigint".to_owned(),
            using: None,
            not_null: false,
            dependents: &dependents,
        };
        assert_eq!(retype.forms(), Err("\"c\" cannot be carried over to a new column: view v reads it".to_owned()));
    }
}

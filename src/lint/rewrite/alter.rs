//! `ALTER TABLE`, action by action.

use squawk_syntax::ast::{self, AlterTableAction, AstNode, Stmt};
use squawk_syntax::{SourceFile, SyntaxKind, SyntaxNode};

use super::form::{Backfill, Form, Place};
use super::name;
use super::retype::Retype;
use crate::lint::act::{Constraint, Demands, Volatility, What};
use crate::lint::read::{constraint, text, volatility};
use crate::lint::rules::form::{Change, widening};
use crate::sql::{Ident, QualifiedName};

/// What becomes of an `ALTER TABLE`.
pub(super) fn forms(place: &Place<'_>) -> Vec<Form> {
    let written = place.text();
    let parse = SourceFile::parse(written);
    let Some(Stmt::AlterTable(alter)) = parse.tree().stmts().next() else { return vec![Form::Sql(written.to_owned())] };
    let Some(name) = alter.table_relation_name().and_then(|name| crate::sql::parser::name_in(name.syntax())) else {
        return place.unsafe_because("its table was not read");
    };
    let actions: Vec<AlterTableAction> = alter.actions().collect();
    let (Some(first), true) = (actions.first(), place.state.hot(&name)) else { return vec![Form::Sql(written.to_owned())] };
    let start = usize::from(first.syntax().text_range().start());
    let table = Table { place, name, head: written[..start].trim_end().to_owned() };
    let acts: Vec<&What> = place.piece.acts.iter().map(|act| &act.what).collect();
    let forms: Vec<Vec<Form>> = actions.iter().map(|action| table.action(action, &acts)).collect();
    let plain = |forms: &Vec<Form>| matches!(forms.as_slice(), [Form::Sql(_)]);
    if forms.iter().all(plain) {
        return vec![Form::Sql(written.to_owned())];
    }
    forms.into_iter().flatten().collect()
}

/// The table that is altered.
struct Table<'a> {
    place: &'a Place<'a>,
    name: QualifiedName,
    /// `ALTER TABLE IF EXISTS ONLY t`.
    head: String,
}

impl Table<'_> {
    fn alter(&self, action: &str) -> String {
        format!("{} {action}", self.head)
    }

    fn sql(&self, action: &str) -> Form {
        Form::Sql(self.alter(action))
    }

    fn refuse(&self, action: &SyntaxNode, why: impl Into<String>) -> Vec<Form> {
        vec![Form::Unsafe { sql: self.alter(&text(action)), why: why.into() }]
    }

    fn action(&self, action: &AlterTableAction, acts: &[&What]) -> Vec<Form> {
        let node = action.syntax();
        let table = self.name.plain();
        match action {
            AlterTableAction::AddColumn(add) => self.add_column(add),
            AlterTableAction::AddConstraint(add) => match add.constraint().map(|constraint| constraint.syntax().clone()) {
                Some(node) => self.constraint(&node, &[]),
                None => vec![self.sql(&text(node))],
            },
            AlterTableAction::DropColumn(drop) => {
                let name = drop.column_name_ref().map(|name| text(name.syntax())).unwrap_or_default();
                vec![Form::Later { sql: self.alter(&text(node)), alone: false, name }]
            }
            AlterTableAction::AlterColumn(alter) => {
                let column = alter.column_name_ref().and_then(|name| crate::sql::parser::ident_in(name.syntax()));
                let (Some(column), Some(option)) = (column, alter.option()) else { return vec![self.sql(&text(node))] };
                match option {
                    ast::AlterColumnOption::SetNotNull(_) => self.not_null(&column),
                    ast::AlterColumnOption::SetType(set) => self.set_type(node, &set, &column, acts),
                    ast::AlterColumnOption::SetExpression(_) => {
                        self.refuse(node, format!("{table} is written anew under ACCESS EXCLUSIVE"))
                    }
                    _ => vec![self.sql(&text(node))],
                }
            }
            AlterTableAction::RenameColumn(_) | AlterTableAction::TableRenameTo(_) | AlterTableAction::SetSchema(_) => {
                self.refuse(node, format!("programs that use the old name in {table} fail from that moment on"))
            }
            AlterTableAction::SetLogged(_)
            | AlterTableAction::SetUnlogged(_)
            | AlterTableAction::SetTablespace(_)
            | AlterTableAction::SetAccessMethod(_) => {
                self.refuse(node, format!("{table} is written anew under ACCESS EXCLUSIVE"))
            }
            AlterTableAction::ValidateConstraint(_) => vec![Form::Alone(self.alter(&text(node)))],
            AlterTableAction::DetachPartition(detach) if detach.detach_partition_option().is_some() => {
                vec![Form::Refused("DETACH PARTITION ... CONCURRENTLY runs outside a transaction, and the catalog does not tell whether it is done".to_owned())]
            }
            _ => vec![self.sql(&text(node))],
        }
    }

    /// A CHECK that is validated without blocking anybody proves to the server that there is no NULL (ALTER TABLE, "SET NOT NULL").
    fn not_null(&self, column: &Ident) -> Vec<Form> {
        let known = self.place.state.table(&self.name);
        if known.is_some_and(|known| known.proven.iter().any(|proven| proven == column.as_str())) {
            return vec![self.sql(&format!("ALTER COLUMN {column} SET NOT NULL"))];
        }
        let check = Ident::new(name::of(&self.name, &[column.as_str().to_owned()], "crossfade_not_null"));
        vec![
            self.sql(&format!("ADD CONSTRAINT {check} CHECK ({column} IS NOT NULL) NOT VALID")),
            Form::Alone(self.alter(&format!("VALIDATE CONSTRAINT {check}"))),
            self.sql(&format!("ALTER COLUMN {column} SET NOT NULL")),
            self.sql(&format!("DROP CONSTRAINT {check}")),
        ]
    }

    fn set_type(&self, node: &SyntaxNode, set: &ast::SetType, column: &Ident, acts: &[&What]) -> Vec<Form> {
        let found = acts.iter().find_map(|what| match what {
            What::SetType { column: own, ty, using, .. } if own == column.as_str() => Some((ty, using)),
            _ => None,
        });
        let Some((ty, using)) = found else { return self.refuse(node, "its type was not read") };
        let table = self.name.plain();
        match widening(self.place.state.column_type(&self.name, column.as_str()), ty, using.is_some()) {
            Change::None => return vec![self.sql(&text(node))],
            Change::Unknown => {
                let why = format!("whether {table} is written anew depends on the type that {column} has now; ask with --connect");
                return self.refuse(node, why);
            }
            Change::Rewrite => {}
        }
        let anew = format!("{table} is written anew under ACCESS EXCLUSIVE");
        let known = self.place.state.table(&self.name).and_then(|known| known.columns.get(column.as_str()));
        let Some((known, dependents)) = known.and_then(|known| Some((known, known.dependents.as_ref()?))) else {
            let why = "a new column in its place has to carry everything that stands on it: ask with --connect, and alter the table \
                       otherwise only in an earlier set";
            return self.refuse(node, format!("{anew}; {why}"));
        };
        // Several changes of one column in one statement are one change: what comes before this one is not known yet.
        let alone = acts.iter().all(|what| !matches!(what, What::SetDefault { column: own, .. } | What::DropDefault { column: own, .. }
            | What::SetNotNull { column: own, .. } | What::DropNotNull { column: own, .. } if own == column.as_str()));
        let named = set.ty().map(|ty| text(ty.syntax()));
        let (Some(mut ty), true) = (named, alone) else {
            return self.refuse(node, format!("{anew}; other changes of {column} in one statement with it are not carried over"));
        };
        if let Some(collate) = set.collate() {
            ty += &format!(" {}", text(collate.syntax()));
        }
        let using = set.using_expr().and_then(|using| using.expr()).map(|expr| text(expr.syntax()));
        let retype = Retype { table: &self.name, column, ty, using, not_null: known.not_null, dependents };
        retype.forms().unwrap_or_else(|why| self.refuse(node, format!("{anew}; {why}")))
    }

    /// `columns`: of a constraint that is written behind a column.
    fn constraint(&self, node: &SyntaxNode, columns: &[String]) -> Vec<Form> {
        let Some(Constraint { demands, name, columns: own, not_valid, using_index }) = constraint(node) else {
            return self.refuse(node, "it was not read");
        };
        let inline = own.is_empty() && matches!(demands, Demands::Unique | Demands::PrimaryKey);
        let columns = if own.is_empty() { columns.to_vec() } else { own };
        let written = text(node);
        let refuse = |why: &str| {
            let list = columns.iter().map(|column| Ident::new(column).to_string()).collect::<Vec<_>>().join(", ");
            let of = if inline { format!(" ({list})") } else { String::new() };
            vec![Form::Unsafe { sql: self.alter(&format!("ADD {written}{of}")), why: why.to_owned() }]
        };
        let body = || match &name {
            // Without its CONSTRAINT name.
            Some(_) => node
                .children()
                .find(|child| child.kind() == SyntaxKind::CONSTRAINT_NAME_CLAUSE)
                .map_or(written.clone(), |clause| written[text(&clause).len()..].trim_start().to_owned()),
            None => written.clone(),
        };
        let called =
            |label: &str, columns: &[String]| Ident::new(name.clone().unwrap_or_else(|| name::of(&self.name, columns, label)));
        let partitioned = self.place.state.table(&self.name).is_some_and(|known| known.partitioned);
        match demands {
            _ if not_valid => vec![self.sql(&format!("ADD {written}"))],
            Demands::Check(expression) => {
                let columns = match name {
                    Some(_) => columns,
                    None if columns.is_empty() => self.column_of(&expression),
                    None => columns,
                };
                self.validated(&called("check", &columns), &body())
            }
            Demands::ForeignKey { .. } if partitioned => {
                refuse("a foreign key of a partitioned table cannot be NOT VALID before PostgreSQL 18")
            }
            Demands::ForeignKey { .. } => self.validated(&called("fkey", &columns), &body()),
            Demands::Unique | Demands::PrimaryKey if using_index.is_some() => {
                vec![self.sql(&format!("ADD {written}"))]
            }
            Demands::Unique | Demands::PrimaryKey if partitioned => {
                refuse("the index of a partitioned table cannot be built concurrently")
            }
            Demands::Unique | Demands::PrimaryKey => {
                if self.has_extras(node) {
                    return refuse(
                        "with INCLUDE, WITH, TABLESPACE or NULLS NOT DISTINCT its index is to be written by hand: CREATE UNIQUE INDEX CONCURRENTLY, then ADD CONSTRAINT ... USING INDEX",
                    );
                }
                let primary = demands == Demands::PrimaryKey;
                let (word, of) = if primary { ("PRIMARY KEY", called("pkey", &[])) } else { ("UNIQUE", called("key", &columns)) };
                let idents: Vec<Ident> = columns.iter().map(Ident::new).collect();
                let list = idents.iter().map(Ident::to_string).collect::<Vec<_>>().join(", ");
                let mut forms = Vec::new();
                if primary {
                    let known = self.place.state.table(&self.name);
                    let nullable = |column: &&Ident| {
                        !known.and_then(|known| known.columns.get(column.as_str())).is_some_and(|column| column.not_null)
                    };
                    forms.extend(idents.iter().filter(nullable).flat_map(|column| self.not_null(column)));
                }
                let table = &self.name;
                forms.push(Form::Alone(format!("CREATE UNIQUE INDEX CONCURRENTLY {of} ON {table} ({list})")));
                let rest = deferrable(&written);
                forms.push(self.sql(&format!("ADD CONSTRAINT {of} {word} USING INDEX {of}{rest}")));
                forms
            }
            Demands::Exclude => {
                refuse("an exclusion constraint reads and indexes the table under ACCESS EXCLUSIVE; it has no other form")
            }
            Demands::NotNull => match columns.first() {
                Some(column) => self.not_null(&Ident::new(column)),
                None => refuse("its column was not read"),
            },
        }
    }

    fn validated(&self, name: &Ident, body: &str) -> Vec<Form> {
        vec![
            self.sql(&format!("ADD CONSTRAINT {name} {body} NOT VALID")),
            Form::Alone(self.alter(&format!("VALIDATE CONSTRAINT {name}"))),
        ]
    }

    fn has_extras(&self, node: &SyntaxNode) -> bool {
        let upper = text(node).to_ascii_uppercase();
        ["INCLUDE", "WITH", "USING INDEX TABLESPACE", "NULLS NOT DISTINCT"].iter().any(|word| super::form::mentions(&upper, word))
    }

    /// The only column that an expression speaks of, which is then part of an unnamed constraint's name.
    fn column_of(&self, expression: &str) -> Vec<String> {
        let parse = SourceFile::parse(&format!("SELECT {expression}"));
        let mut names: Vec<String> = parse
            .tree()
            .syntax()
            .descendants()
            .filter(|node| node.kind() == SyntaxKind::NAME_REF)
            .filter(|node| node.parent().is_none_or(|parent| parent.kind() != SyntaxKind::CALL_EXPR))
            .map(|node| ast::normalize_name_node(&node))
            .collect();
        names.sort();
        names.dedup();
        if names.len() == 1 { names } else { Vec::new() }
    }

    /// The column first, as cheap as a catalog entry; then its values, then what is demanded of them.
    fn add_column(&self, add: &ast::AddColumn) -> Vec<Form> {
        let node = add.syntax();
        let (Some(name), Some(ty)) = (add.column_name(), add.ty()) else { return self.refuse(node, "it was not read") };
        let Some(column) = crate::sql::parser::ident_in(name.syntax()) else { return self.refuse(node, "its name was not read") };
        let own = [column.as_str().to_owned()];
        let mut written =
            format!("ADD COLUMN {}{} ", if add.if_not_exists().is_some() { "IF NOT EXISTS " } else { "" }, text(name.syntax()));
        let serial = match text(ty.syntax()).to_ascii_lowercase().as_str() {
            "serial" | "serial4" => Some("integer"),
            "bigserial" | "serial8" => Some("bigint"),
            "smallserial" | "serial2" => Some("smallint"),
            _ => None,
        };
        written += serial.map_or_else(|| text(ty.syntax()), ToOwned::to_owned).as_str();
        if let Some(collate) = add.collate() {
            written += &format!(" {}", text(collate.syntax()));
        }
        let (mut after, mut not_null, mut default, mut constraints) = (Vec::new(), serial.is_some(), None, Vec::new());
        let mut plain = serial.is_none();
        for part in add.constraints() {
            let part = part.syntax().clone();
            match part.kind() {
                SyntaxKind::NOT_NULL_CONSTRAINT => not_null = true,
                SyntaxKind::DEFAULT_CONSTRAINT => default = ast::DefaultConstraint::cast(part.clone()).and_then(|d| d.expr()),
                SyntaxKind::GENERATED_CONSTRAINT => {
                    let computed = text(&part).to_ascii_uppercase();
                    if computed.contains("STORED") || computed.contains("IDENTITY") {
                        return self.refuse(node, format!("{} is written anew under ACCESS EXCLUSIVE", self.name.plain()));
                    }
                    written += &format!(" {}", text(&part));
                }
                SyntaxKind::CHECK_CONSTRAINT
                | SyntaxKind::REFERENCES_CONSTRAINT
                | SyntaxKind::UNIQUE_CONSTRAINT
                | SyntaxKind::PRIMARY_KEY_CONSTRAINT => constraints.push(part),
                _ => written += &format!(" {}", text(&part)),
            }
        }
        let volatile = default.as_ref().is_some_and(|d| volatility(d.syntax()) != Volatility::Stable);
        match (&default, volatile) {
            (Some(value), false) => written += &format!(" DEFAULT {}", text(value.syntax())),
            (Some(value), true) => {
                plain = false;
                let value = text(value.syntax());
                after.push(self.sql(&format!("ALTER COLUMN {column} SET DEFAULT {value}")));
                after.push(self.backfill(&column, value));
            }
            (None, _) => {}
        }
        if serial.is_some() {
            let sequence = Ident::new(name::of(&self.name, &own, "seq"));
            let sequence = self.name.sibling(sequence.as_str());
            let kind = serial.unwrap_or_default();
            let next = format!("nextval('{}'::regclass)", sequence.to_string().replace('\'', "''"));
            after.push(Form::Sql(format!("CREATE SEQUENCE {sequence} AS {kind} OWNED BY {}.{column}", self.name)));
            after.push(self.sql(&format!("ALTER COLUMN {column} SET DEFAULT {next}")));
            after.push(self.backfill(&column, next));
        }
        // A constant default is there at once, for every row: NOT NULL costs nothing then.
        match not_null {
            true if default.is_some() && !volatile => written += " NOT NULL",
            true => {
                plain = false;
                after.extend(self.not_null(&column));
            }
            false => {}
        }
        plain &= constraints.is_empty();
        after.extend(constraints.iter().flat_map(|part| self.inline(part, &column)));
        if plain {
            return vec![self.sql(&text(node))];
        }
        let mut forms = vec![self.sql(&written)];
        forms.append(&mut after);
        forms
    }

    /// A constraint that is written behind its column, as one of the table.
    fn inline(&self, part: &SyntaxNode, column: &Ident) -> Vec<Form> {
        let own = [column.as_str().to_owned()];
        if part.kind() != SyntaxKind::REFERENCES_CONSTRAINT {
            return self.constraint(part, &own);
        }
        let name = constraint(part).and_then(|constraint| constraint.name).unwrap_or_else(|| name::of(&self.name, &own, "fkey"));
        let written = text(part);
        let Some(at) = written.to_ascii_uppercase().find("REFERENCES") else { return self.refuse(part, "it was not read") };
        self.validated(&Ident::new(name), &format!("FOREIGN KEY ({column}) {}", &written[at..]))
    }

    fn backfill(&self, column: &Ident, value: String) -> Form {
        Form::Backfill(Backfill {
            table: self.name.clone(),
            set: vec![(column.clone(), value)],
            filter: format!("{column} IS NULL"),
            only_null: true,
        })
    }
}

/// `DEFERRABLE INITIALLY DEFERRED`, where it is written.
fn deferrable(written: &str) -> String {
    let upper = written.to_ascii_uppercase();
    let from = ["NOT DEFERRABLE", "DEFERRABLE", "INITIALLY"].iter().filter_map(|word| upper.find(word)).min();
    from.map(|at| format!(" {}", written[at..].trim())).unwrap_or_default()
}

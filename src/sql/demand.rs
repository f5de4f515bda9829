//! What a statement demands of the rows that are already there (PostgreSQL manual 5.4, ALTER TABLE, CREATE INDEX).

use squawk_syntax::ast::{self, AlterColumnOption, AlterTableAction, AstNode, Constraint, Stmt};
use squawk_syntax::{SyntaxKind, SyntaxNode};

use super::parser::{find, ident_in, name_in};
use super::{Ident, QualifiedName};

/// What every row of a table must keep to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// The table.
    pub table: QualifiedName,
    /// The constraint, index or column it comes from.
    pub name: String,
    /// What must hold.
    pub rule: Rule,
    /// False for a constraint added `NOT VALID`: rows are checked only when it is validated.
    pub checked: bool,
}

/// What must hold. Expressions are SQL over the columns of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// The column is not NULL.
    NotNull(Ident),
    /// The table has no row: a column comes that is NOT NULL and has no default.
    Empty,
    /// The expression is not false.
    Check(String),
    /// No two rows have the same keys.
    Unique {
        /// The key expressions.
        keys: Vec<String>,
        /// Only rows that meet this.
        predicate: Option<String>,
        /// Whether NULLs count as the same.
        nulls_same: bool,
    },
    /// Every key has its row in another table.
    ForeignKey {
        /// The columns.
        columns: Vec<Ident>,
        /// The table they point to.
        references: QualifiedName,
        /// Its columns; none for its primary key.
        referenced: Vec<Ident>,
        /// MATCH FULL: all NULL or none.
        full: bool,
    },
    /// No two rows for which all operators hold.
    Exclude {
        /// Expression and operator.
        elements: Vec<(String, String)>,
        /// Only rows that meet this.
        predicate: Option<String>,
    },
    /// The value of the expression goes into the type.
    Fits {
        /// The column.
        column: Ident,
        /// What gives the new value.
        expression: String,
        /// The new type as SQL writes it.
        to: String,
    },
    /// The row of a btree index with these keys has room on a page: at most 2704 bytes, or 54000 (manual 67.4.1).
    IndexRow {
        /// The key expressions, and included columns.
        keys: Vec<String>,
        /// Only rows that meet this.
        predicate: Option<String>,
    },
    /// A constraint of this name, that is there without having been checked, holds.
    Validated(Ident),
}

/// The demands of a statement.
pub(super) fn demands(stmt: &Stmt) -> Vec<Demand> {
    match stmt {
        Stmt::CreateIndex(create) => create_index(create).unwrap_or_default(),
        Stmt::AlterTable(alter) => {
            let Some(table) = alter.table_relation_name().and_then(|table| name_in(table.syntax())) else { return Vec::new() };
            let each = |action: AlterTableAction| altered(&action).unwrap_or_default();
            let named = |(name, rule, checked)| Demand { table: table.clone(), name, rule, checked };
            alter.actions().flat_map(each).map(named).collect()
        }
        _ => Vec::new(),
    }
}

type Found = Vec<(String, Rule, bool)>;

fn create_index(create: &ast::CreateIndex) -> Option<Vec<Demand>> {
    let table = name_in(create.table_relation_name()?.syntax())?;
    let name = create.index().and_then(|index| ident_in(index.syntax())).map_or("index".to_owned(), |i| i.as_str().to_owned());
    let keys: Vec<String> =
        create.partition_item_list()?.partition_items().filter_map(|item| item.expr()).map(|expr| text(expr.syntax())).collect();
    let predicate = create.where_clause().and_then(|clause| clause.expr()).map(|expr| text(expr.syntax()));
    let demand = |rule| Demand { table: table.clone(), name: name.clone(), rule, checked: true };
    let mut demands = Vec::new();
    if create.unique_token().is_some() {
        let nulls_same = matches!(create.nulls_distinct_option(), Some(ast::NullsDistinctOption::NullsNotDistinct(_)));
        demands.push(demand(Rule::Unique { keys: keys.clone(), predicate: predicate.clone(), nulls_same }));
    }
    let method = create.using_method().map_or("using btree".to_owned(), |method| text(method.syntax()).to_lowercase());
    if method.ends_with("btree") {
        let mut keys = keys;
        keys.extend(
            create.index_include_clause().map(|clause| columns(clause.syntax())).unwrap_or_default().iter().map(Ident::to_string),
        );
        demands.push(demand(Rule::IndexRow { keys, predicate }));
    }
    Some(demands)
}

fn altered(action: &AlterTableAction) -> Option<Found> {
    Some(match action {
        AlterTableAction::AddConstraint(add) => added(&add.constraint()?, None)?,
        AlterTableAction::AlterColumn(alter) => {
            let column = ident_in(alter.column_name_ref()?.syntax())?;
            let name = column.as_str().to_owned();
            match alter.option()? {
                AlterColumnOption::SetNotNull(_) => vec![(name, Rule::NotNull(column), true)],
                AlterColumnOption::SetType(set) => {
                    let using = set.using_expr().and_then(|using| using.expr()).map(|expr| text(expr.syntax()));
                    let expression = using.unwrap_or_else(|| column.to_string());
                    vec![(name, Rule::Fits { column, expression, to: text(set.ty()?.syntax()) }, true)]
                }
                _ => Vec::new(),
            }
        }
        AlterTableAction::AddColumn(add) => {
            let name = ident_in(add.column_name()?.syntax())?;
            let has = |wanted: fn(&Constraint) -> bool| add.constraints().any(|constraint| wanted(&constraint));
            let refuses_null = has(|c| matches!(c, Constraint::NotNullConstraint(_) | Constraint::PrimaryKeyConstraint(_)));
            let filled = has(|c| match c {
                Constraint::DefaultConstraint(d) => d.expr().is_some_and(|e| !text(e.syntax()).eq_ignore_ascii_case("null")),
                other => matches!(other, Constraint::GeneratedConstraint(_)),
            });
            let serial = add.ty().is_some_and(|ty| text(ty.syntax()).to_lowercase().contains("serial"));
            let generated = add.constraints().find_map(|constraint| match constraint {
                Constraint::GeneratedConstraint(generated) => match generated.generated_as()? {
                    ast::GeneratedAs::GeneratedStored(stored) => stored.expr(),
                    ast::GeneratedAs::GeneratedIdentity(_) => None,
                },
                _ => None,
            });
            if let (Some(expression), Some(to)) = (generated, add.ty()) {
                let rule = Rule::Fits { column: name.clone(), expression: text(expression.syntax()), to: text(to.syntax()) };
                return Some(vec![(name.as_str().to_owned(), rule, true)]);
            }
            if refuses_null && !filled && !serial { vec![(name.as_str().to_owned(), Rule::Empty, true)] } else { Vec::new() }
        }
        AlterTableAction::ValidateConstraint(validate) => {
            let name = ident_in(validate.constraint_name_ref()?.syntax())?;
            vec![(name.as_str().to_owned(), Rule::Validated(name), true)]
        }
        _ => return None,
    })
}

/// What a table constraint demands; `name` for one that has none of its own.
fn added(constraint: &Constraint, name: Option<&str>) -> Option<Found> {
    let own = find::<ast::ConstraintNameClause>(constraint.syntax()).and_then(|clause| {
        let name = clause.syntax().children().find(|child| child.kind() == SyntaxKind::CONSTRAINT_NAME)?;
        ident_in(&name)
    });
    let checked = !constraint.is_not_valid();
    let named = |kind: &str| own.as_ref().map_or_else(|| name.unwrap_or(kind).to_owned(), |name| name.as_str().to_owned());
    if find::<ast::UsingIndexName>(constraint.syntax()).is_some() {
        return None; // the index that is taken over has asked for it
    }
    Some(match constraint {
        Constraint::CheckConstraint(check) => vec![(named("check"), Rule::Check(text(check.expr()?.syntax())), checked)],
        Constraint::ForeignKeyConstraint(key) => {
            let lists: Vec<SyntaxNode> =
                key.syntax().children().filter(|child| child.kind() == SyntaxKind::FOREIGN_KEY_COLUMN_LIST).collect();
            let rule = Rule::ForeignKey {
                columns: columns(lists.first()?),
                references: name_in(key.table_name_ref()?.syntax())?,
                referenced: lists.get(1).map(columns).unwrap_or_default(),
                full: matches!(key.match_type(), Some(ast::MatchType::MatchFull(_))),
            };
            vec![(named("foreign key"), rule, checked)]
        }
        Constraint::UniqueConstraint(_) | Constraint::PrimaryKeyConstraint(_) => {
            let list = constraint.syntax().descendants().find(|n| n.kind() == SyntaxKind::CONSTRAINT_COLUMN_REF_LIST)?;
            let of = columns(&list);
            let nulls_same = find::<ast::NullsNotDistinct>(constraint.syntax()).is_some();
            let keys: Vec<String> = of.iter().map(Ident::to_string).collect();
            let primary = matches!(constraint, Constraint::PrimaryKeyConstraint(_));
            let name = named(if primary { "primary key" } else { "unique" });
            let mut found = vec![
                (name.clone(), Rule::Unique { keys: keys.clone(), predicate: None, nulls_same }, true),
                (name.clone(), Rule::IndexRow { keys, predicate: None }, true),
            ];
            found.extend(of.into_iter().filter(|_| primary).map(|column| (name.clone(), Rule::NotNull(column), true)));
            found
        }
        Constraint::ExcludeConstraint(exclude) => {
            let list = exclude.constraint_exclusion_list()?;
            let elements = list.constraint_exclusions().filter_map(|e| {
                let op = e.op().map(|op| text(op.syntax())).or_else(|| e.operator_call().map(|op| text(op.syntax())))?;
                Some((text(e.expr()?.syntax()), op))
            });
            let predicate = exclude.where_condition_clause().and_then(|clause| clause.expr()).map(|expr| text(expr.syntax()));
            vec![(named("exclude"), Rule::Exclude { elements: elements.collect(), predicate }, true)]
        }
        _ => return None,
    })
}

fn columns(list: &SyntaxNode) -> Vec<Ident> {
    let names =
        |node: &SyntaxNode| matches!(node.kind(), SyntaxKind::COLUMN_NAME_REF | SyntaxKind::COLUMN_NAME | SyntaxKind::NAME_REF);
    list.descendants().filter(|node| names(node)).map(|node| Ident::new(ast::normalize_name_node(&node))).collect()
}

fn text(node: &SyntaxNode) -> String {
    node.text().to_string().trim().to_owned()
}

#[cfg(test)]
mod tests {
    fn of(sql: &str) -> Vec<String> {
        let statements = crate::sql::split(sql).unwrap();
        statements
            .iter()
            .flat_map(crate::sql::Statement::demands)
            .map(|d| format!("{}/{}: {:?}{}", d.table.plain(), d.name, d.rule, if d.checked { "" } else { " later" }))
            .collect()
    }

    #[test]
    fn demands_of_every_form() {
        assert_eq!(of("ALTER TABLE t ALTER a SET NOT NULL, ALTER b DROP DEFAULT"), ["t/a: NotNull(Ident(\"a\"))"]);
        assert_eq!(of("ALTER TABLE t ADD a int NOT NULL"), ["t/a: Empty"]);
        assert!(of("ALTER TABLE t ADD a int NOT NULL DEFAULT 1, ADD b bigserial NOT NULL, ADD c int").is_empty());
        assert_eq!(
            of("ALTER TABLE t ADD g int GENERATED ALWAYS AS (10 / a) STORED, ADD i int GENERATED ALWAYS AS IDENTITY"),
            ["t/g: Fits { column: Ident(\"g\"), expression: \"10 / a\", to: \"int\" }"]
        );
        assert_eq!(of("ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID"), ["t/c: Check(\"a > 0\") later"]);
        assert_eq!(of("ALTER TABLE t VALIDATE CONSTRAINT c"), ["t/c: Validated(Ident(\"c\"))"]);
        assert_eq!(of("ALTER TABLE t ALTER a TYPE varchar(5) USING b::text").len(), 1);
        assert_eq!(
            of("ALTER TABLE t ADD FOREIGN KEY (a, \"B\") REFERENCES s.u MATCH FULL"),
            [
                "t/foreign key: ForeignKey { columns: [Ident(\"a\"), Ident(\"B\")], references: QualifiedName { schema: Some(Ident(\"s\")), name: Ident(\"u\") }, referenced: [], full: true }"
            ]
        );
        let unique = of("CREATE UNIQUE INDEX i ON t (lower(a) DESC, b) NULLS NOT DISTINCT WHERE a > 'x'");
        assert_eq!(unique[0], "t/i: Unique { keys: [\"lower(a)\", \"b\"], predicate: Some(\"a > 'x'\"), nulls_same: true }");
        assert_eq!(of("ALTER TABLE t ADD PRIMARY KEY (a)").len(), 3);
        assert_eq!(
            of("ALTER TABLE t ADD CONSTRAINT e EXCLUDE USING gist (room WITH =, during WITH &&) WHERE (a > 0)"),
            ["t/e: Exclude { elements: [(\"room\", \"=\"), (\"during\", \"&&\")], predicate: Some(\"a > 0\") }"]
        );
        assert_eq!(of("CREATE INDEX i ON t USING gin (a)"), Vec::<String>::new());
    }
}

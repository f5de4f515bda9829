//! Results as JUnit XML, which CI systems show as tests: one suite, one test case per thing looked at.
//!
//! There is no standard; this is what GitHub's reporters, GitLab, Jenkins, CircleCI and Azure Pipelines all read: `testsuites`,
//! `testsuite` with counts, `testcase` with `classname`, `name`, `file`, `line` and `time`, `failure` with `message` and `type`.

use std::io::{Error, Write};
use std::time::Duration;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

/// One thing that was looked at.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Case {
    /// What it belongs to: a file, a plan.
    pub class: String,
    /// What it is.
    pub name: String,
    /// The file it is in, as CI systems link it.
    pub file: Option<String>,
    /// The line there, from 1.
    pub line: Option<usize>,
    /// How long it took, where that is known.
    pub took: Option<Duration>,
    /// Why it is not right; none: it passed.
    pub failure: Option<Failure>,
    /// What else there is to say of it.
    pub said: String,
}

/// Why a case is not right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its sort in one word: the id of a rule, a severity.
    pub kind: String,
    /// One line.
    pub message: String,
    /// All of it.
    pub text: String,
}

/// The document of one suite.
///
/// # Errors
/// Never in practice: it is written to memory.
pub fn document(suite: &str, cases: &[Case]) -> Result<String, Error> {
    let failed = cases.iter().filter(|case| case.failure.is_some()).count().to_string();
    let (tests, took) = (cases.len().to_string(), seconds(cases.iter().filter_map(|case| case.took).sum()));
    let counts = |suite: &str| {
        let name = one_line(suite);
        vec![
            ("name", name),
            ("tests", tests.clone()),
            ("failures", failed.clone()),
            ("errors", "0".into()),
            ("time", took.clone()),
        ]
    };
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    element(&mut writer, "testsuites", counts("crossfade"), |writer| {
        let mut counts = counts(suite);
        counts.push(("skipped", "0".into()));
        element(writer, "testsuite", counts, |writer| cases.iter().try_for_each(|case| write(writer, case)))
    })?;
    let text = String::from_utf8(writer.into_inner()).map_err(Error::other)?;
    Ok(text + "\n")
}

fn write<W: Write>(writer: &mut Writer<W>, case: &Case) -> Result<(), Error> {
    let mut attributes = vec![("classname", one_line(&case.class)), ("name", one_line(&case.name))];
    attributes.extend(case.file.iter().map(|file| ("file", one_line(file))));
    attributes.extend(case.line.map(|line| ("line", line.to_string())));
    attributes.push(("time", seconds(case.took.unwrap_or_default())));
    element(writer, "testcase", attributes, |writer| {
        if let Some(failure) = &case.failure {
            let attributes = vec![("message", one_line(&failure.message)), ("type", one_line(&failure.kind))];
            element(writer, "failure", attributes, |writer| text(writer, &failure.text))?;
        }
        if !case.said.is_empty() {
            element(writer, "system-out", Vec::new(), |writer| text(writer, &case.said))?;
        }
        Ok(())
    })
}

/// An element with its attributes and what is inside.
fn element<W: Write>(
    writer: &mut Writer<W>,
    name: &str,
    attributes: Vec<(&str, String)>,
    inside: impl FnOnce(&mut Writer<W>) -> Result<(), Error>,
) -> Result<(), Error> {
    let attributes = attributes.iter().map(|(key, value)| (*key, value.as_str()));
    writer.create_element(name).with_attributes(attributes).write_inner_content(inside).map(drop)
}

fn text<W: Write>(writer: &mut Writer<W>, words: &str) -> Result<(), Error> {
    writer.write_event(Event::Text(BytesText::new(&allowed(words))))
}

/// Without the characters that XML 1.0 has no place for, escaped or not (section 2.2 of the recommendation).
fn allowed(text: &str) -> String {
    let fits = |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    text.chars().map(|c| if fits(c) { c } else { '\u{fffd}' }).collect()
}

/// For an attribute, of which readers make one line anyway.
fn one_line(text: &str) -> String {
    allowed(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn seconds(took: Duration) -> String {
    format!("{:.3}", took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_has_no_place_for_is_escaped_or_replaced() {
        let failure = Failure { kind: "x".into(), message: "two\nlines".into(), text: "a < b && c ]]> \u{1b}[1m".into() };
        let case =
            Case { class: "b \"c\".sql".into(), name: "b".into(), line: Some(2), failure: Some(failure), ..Case::default() };
        let text = document("lint", &[case]).unwrap();
        assert!(text.contains("classname=\"b &quot;c&quot;.sql\"") && text.contains(" line=\"2\""), "{text}");
        assert!(text.contains("message=\"two lines\"") && text.contains("a &lt; b &amp;&amp; c ]]&gt; \u{fffd}[1m"), "{text}");
    }

    #[test]
    fn a_suite_counts_its_cases() {
        let took = |seconds: f64| Case { name: "a".into(), took: Some(Duration::from_secs_f64(seconds)), ..Case::default() };
        let text = document("lint", &[took(1.5), took(0.25)]).unwrap();
        let suite = "<testsuite name=\"lint\" tests=\"2\" failures=\"0\" errors=\"0\" time=\"1.750\" skipped=\"0\">";
        assert!(text.contains(suite), "{text}");
        assert!(document("lint", &[]).unwrap().contains("tests=\"0\""));
    }
}

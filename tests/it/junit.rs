//! JUnit XML: what it says is read again with a parser, and held to what CI systems look at.

use std::collections::BTreeMap;
use std::path::Path;

use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};

use crate::support::{Ran, TestDb, Workspace, crossfade};

type Attributes = BTreeMap<String, String>;

/// A test case as a CI system sees it.
#[derive(Debug, Default)]
struct Case {
    attributes: Attributes,
    failure: Option<Attributes>,
    text: String,
    said: bool,
}

impl Case {
    fn of(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }
}

fn attributes(start: &BytesStart<'_>) -> Attributes {
    let read = |attribute: Result<quick_xml::events::attributes::Attribute<'_>, _>| {
        let attribute = attribute.unwrap();
        (attribute.key.0.to_owned(), attribute.normalized_value(XmlVersion::Explicit1_0).unwrap().into_owned())
    };
    start.attributes().map(read).collect()
}

/// The suite and its cases; checks the form that every reader of JUnit XML relies on.
#[track_caller]
fn parsed(xml: &str) -> (Attributes, Vec<Case>) {
    assert!(xml.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>"), "{xml}");
    let mut reader = quick_xml::Reader::from_str(xml);
    let (mut path, mut suites, mut cases) = (Vec::new(), Vec::new(), Vec::<Case>::new());
    loop {
        let event = reader.read_event().unwrap_or_else(|error| panic!("{error}:\n{xml}"));
        let empty = matches!(event, Event::Empty(_));
        match event {
            Event::Start(start) | Event::Empty(start) => {
                path.push(start.name().0.to_owned());
                match path.join(" ").as_str() {
                    "testsuites" | "testsuites testsuite" => suites.push(attributes(&start)),
                    "testsuites testsuite testcase" => {
                        cases.push(Case { attributes: attributes(&start), ..Case::default() });
                    }
                    "testsuites testsuite testcase failure" => cases.last_mut().unwrap().failure = Some(attributes(&start)),
                    "testsuites testsuite testcase system-out" => cases.last_mut().unwrap().said = true,
                    other => panic!("an element that no reader knows: {other}"),
                }
                if empty {
                    path.pop();
                }
            }
            Event::End(_) => drop(path.pop()),
            Event::Text(text) if path.last().is_some_and(|name| name == "failure") => {
                cases.last_mut().unwrap().text += &text.xml_content(XmlVersion::Explicit1_0);
            }
            Event::Eof => break,
            _ => {}
        }
    }
    assert!(path.is_empty() && suites.len() == 2, "{xml}");
    let failures = cases.iter().filter(|case| case.failure.is_some()).count();
    for suite in &suites {
        let count = |key: &str| suite[key].parse::<usize>().unwrap();
        assert_eq!((count("tests"), count("failures"), count("errors")), (cases.len(), failures, 0), "{xml}");
        assert!(suite["time"].parse::<f64>().is_ok());
    }
    for case in &cases {
        assert!(!case.of("name").is_empty() && !case.of("classname").is_empty(), "{case:?}");
        assert!(case.of("time").parse::<f64>().is_ok(), "{case:?}");
        if let Some(failure) = &case.failure {
            assert!(!failure["message"].is_empty() && !failure["type"].is_empty() && !case.text.is_empty(), "{case:?}");
        }
    }
    (suites.pop().unwrap(), cases)
}

fn lint(folder: &Path, words: &[&str]) -> Ran {
    Ran::of(crossfade().args(["--format", "junit", "lint"]).args(words).current_dir(folder).output().unwrap())
}

#[test]
fn lint_tells_ci_file_and_line_of_each_finding() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::write(root.join("1_a.sql"), "SET lock_timeout = '1s';\nTRUNCATE t;\n").unwrap();
    std::fs::write(root.join("2_b.sql"), "SELECT 1 < 2 AND '\u{1}' <> '&';\n").unwrap();
    std::fs::write(root.join("3_<c>.sql"), "ALTER TABLE t ADD COLUMN b int;\n").unwrap();
    let ran = lint(root, &["1_a.sql", "2_b.sql", "3_<c>.sql"]).exits(10);
    let (suite, cases) = parsed(&ran.stdout);
    assert_eq!(suite["name"], "crossfade lint");
    let failed: Vec<&Case> = cases.iter().filter(|case| case.failure.is_some()).collect();
    let [failed] = failed[..] else { panic!("{}", ran.stdout) };
    assert_eq!((failed.of("file"), failed.of("line"), failed.of("classname")), ("1_a.sql", "2", "1_a.sql"));
    assert_eq!(failed.failure.as_ref().unwrap()["type"], "truncate");
    // Every file is there; what does not fail is told where it belongs.
    for (file, said) in [("2_b.sql", false), ("3_<c>.sql", true)] {
        let of: Vec<&Case> = cases.iter().filter(|case| case.of("file") == file).collect();
        assert!(of.len() == 1 && of[0].failure.is_none() && of[0].said == said, "{of:?}");
    }
    let (_, all) = parsed(&lint(root, &["3_<c>.sql", "--fail-on", "note"]).exits(10).stdout);
    assert!(all.iter().all(|case| case.failure.is_some() && case.of("line") == "1"), "{all:?}");
    let (_, none) = parsed(&lint(root, &["1_a.sql", "--fail-on", "off"]).exits(0).stdout);
    assert!(none.iter().all(|case| case.failure.is_none()), "{none:?}");
    insta::assert_snapshot!("lint_junit", ran.stdout);
}

const PLAN: &str = "format = 1\nname = \"ci\"\nblue = { url_env = \"BLUE_DATABASE_URL\" }\n\n[[step]]\nid = \"positive\"\nphase = \"convert\"\n\
    kind = \"add_constraint\"\nside = \"blue\"\ntable = \"t\"\nname = \"t_a_check\"\ncheck = \"a > 5\"\n\n[[step]]\nid = \"ask\"\n\
    phase = \"convert\"\nkind = \"confirm\"\nquestion = \"Go on?\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn check_and_preflight_tell_ci_what_is_wrong() {
    let db = TestDb::empty().await;
    db.sql("CREATE TABLE t (a int); INSERT INTO t SELECT generate_series(1, 10); ANALYZE t").await;
    let workspace = Workspace::new(PLAN, &db, None);
    let file = workspace.plan().display().to_string();
    let check = || {
        let command = &mut crossfade();
        Ran::of(command.args(["check", "--format", "junit"]).arg(workspace.plan()).output().unwrap())
    };
    let (suite, cases) = parsed(&check().exits(0).stdout);
    assert_eq!(suite["name"], "crossfade check");
    assert_eq!(cases.iter().map(|case| case.of("name")).collect::<Vec<_>>(), ["positive", "ask"]);

    let ran = workspace.run(&["preflight", "--format", "junit"]).exits(10);
    let (suite, cases) = parsed(&ran.stdout);
    assert_eq!(suite["name"], "crossfade preflight");
    let failed: Vec<&Case> = cases.iter().filter(|case| case.failure.is_some()).collect();
    assert!(failed.len() == 1 && failed[0].of("file") == file && failed[0].text.contains('5'), "{}", ran.stdout);
    db.sql("DELETE FROM t WHERE a <= 5").await;
    let (_, cases) = parsed(&workspace.run(&["preflight", "--format", "junit"]).exits(0).stdout);
    assert!(!cases.is_empty() && cases.iter().all(|case| case.failure.is_none()));

    std::fs::write(workspace.plan(), PLAN.replace("\"confirm\"", "\"confrm\"").replace("check = ", "chekc = ")).unwrap();
    let ran = check().exits(2);
    let (_, cases) = parsed(&ran.stdout);
    assert!(cases.len() >= 2 && cases.iter().all(|case| case.failure.is_some() && case.of("file") == file), "{}", ran.stdout);
    let line = |step: &str| cases.iter().find(|case| case.of("name") == step).unwrap().of("line").parse::<usize>().unwrap();
    assert_eq!((line("positive"), line("ask")), (12, 17), "{}", ran.stdout);
    workspace.run(&["run", "--format", "junit"]).exits(2);
}

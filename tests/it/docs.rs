//! What the documents say can be done: commands are taken by the program, links and named tests are there.

use std::path::{Path, PathBuf};

use crossfade::cli::{commands_page, understands};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README.md, plans/ and docs/ but the pages of rules, which are made from the program.
fn documents() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("docs"), root().join("plans")];
    let mut files = vec![root().join("README.md"), root().join("benches/README.md")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                files.push(path);
            }
        }
    }
    files.sort();
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
    }
    found
}

/// The lines of the blocks of shell, with their numbers; a line that ends in a backslash goes on.
fn shell(text: &str) -> Vec<(usize, String)> {
    let (mut inside, mut lines, mut open) = (false, Vec::<(usize, String)>::new(), false);
    for (number, line) in text.lines().enumerate() {
        match line.trim() {
            "```sh" | "```bash" => inside = true,
            "```" => inside = false,
            line if inside => {
                let (part, goes_on) = line.strip_suffix('\\').map_or((line, false), |part| (part, true));
                match lines.last_mut().filter(|_| open) {
                    Some((_, before)) => *before += part,
                    None => lines.push((number + 1, part.to_owned())),
                }
                open = goes_on;
            }
            _ => {}
        }
    }
    lines
}

/// The commands of a line, each as its words: quotes as a shell takes them, comments, redirections and variables set before it left out.
fn commands(line: &str) -> Vec<Vec<String>> {
    let (mut all, mut words, mut word, mut quote) = (Vec::new(), Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, '|' | '&' | ';' | '(' | ')') => {
                words.extend(word.take());
                all.push(std::mem::take(&mut words));
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    all.push(words);
    let ours = |words: Vec<String>| {
        let mut words: Vec<String> = words.into_iter().skip_while(|word| word.contains('=')).collect();
        if let Some(at) = words.iter().position(|word| word.starts_with('>') || word.starts_with('<') || word == "2>") {
            words.truncate(at);
        }
        if words.first().is_some_and(|word| word == "cargo") {
            let at = words.iter().position(|word| word == "--")?;
            words = words.split_off(at);
            words[0] = "crossfade".to_owned();
        }
        words.first().is_some_and(|word| word == "crossfade").then_some(words)
    };
    all.into_iter().filter_map(ours).collect()
}

#[test]
fn every_command_in_the_documents_is_one() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (path, text) in documents() {
        for (number, line) in shell(&text) {
            for words in commands(&line) {
                seen += 1;
                if let Err(why) = understands(&words) {
                    wrong.push(format!("{}:{number}: {line}\n{why}", path.display()));
                }
            }
        }
    }
    assert!(seen > 100, "only {seen} commands were read");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_command_that_is_none_is_found() {
    let lines = shell(
        "```sh\ncd x && PGUSER=a crossfade run \"a plan.toml\" --execute > out # now\ncrossfade \\\n  rum PLAN\n```\ncrossfade no\n",
    );
    let all: Vec<Vec<String>> = lines.iter().flat_map(|(_, line)| commands(line)).collect();
    assert_eq!(all, [vec!["crossfade", "run", "a plan.toml", "--execute"], vec!["crossfade", "rum", "PLAN"]]);
    assert!(understands(&all[0]).is_ok());
    assert!(understands(&all[1]).unwrap_err().contains("rum"));
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_')).collect::<String>().replace(' ', "-")
}

#[test]
fn every_link_leads_somewhere() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (path, text) in documents() {
        for part in text.split("](").skip(1) {
            let Some(target) = part.split(')').next().filter(|target| !target.contains("://") && !target.contains(' ')) else {
                continue;
            };
            let (file, place) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { root().join(&path) } else { root().join(&path).parent().unwrap().join(file) };
            seen += 1;
            if !file.exists() {
                wrong.push(format!("{}: {target} is not there", path.display()));
            } else if !place.is_empty() {
                let text = std::fs::read_to_string(&file).unwrap();
                let mut headings = text
                    .lines()
                    .filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')));
                if !headings.any(|heading| anchor(heading) == place) {
                    wrong.push(format!("{}: {target}: no such heading", path.display()));
                }
            }
        }
    }
    assert!(seen > 60, "only {seen} links were read");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A test that a page names as `group::name` is there, so an answer does not outlive what shows it.
#[test]
fn every_test_that_a_page_names_is_there() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (path, text) in documents().into_iter().filter(|(path, _)| path.starts_with("docs")) {
        for name in text.split('`').filter(|word| {
            word.contains("::") && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == ':')
        }) {
            let parts: Vec<&str> = name.split("::").collect();
            let (function, group) = parts.split_last().unwrap();
            let file = root().join("tests/it").join(group.join("/")).with_extension("rs");
            seen += 1;
            if !std::fs::read_to_string(&file).is_ok_and(|text| text.contains(&format!("fn {function}("))) {
                wrong.push(format!("{}: {name} is not in {}", path.display(), file.display()));
            }
        }
    }
    assert!(seen > 30, "only {seen} tests were named");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `INSTA_UPDATE=always cargo test --test it docs::the_page` writes it anew.
#[test]
fn the_page_of_commands_is_made_from_the_program() {
    let path = root().join("docs/commands.md");
    if std::env::var("INSTA_UPDATE").is_ok_and(|wanted| wanted == "always") {
        std::fs::write(&path, commands_page()).unwrap();
    }
    assert!(std::fs::read_to_string(path).unwrap_or_default() == commands_page(), "docs/commands.md is stale");
}

//! An audit as one HTML page that asks for nothing from anywhere.

use super::Report;
use super::report::{Found, SetReport, Suspected};
use crate::terms::escaped;

const STYLE: &str = "body{font:16px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1b1f24}\
table{border-collapse:collapse;margin:1rem 0}th,td{border:1px solid #c8ced6;padding:.3rem .6rem;text-align:left;vertical-align:top}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}th{background:#f2f4f7}.same{background:#e7f4ea}.other{background:#fdecea}\
.good{color:#176b2c}.bad{color:#a4161a}code{font-size:.85em}h2{margin-top:2.5rem}";

/// The page.
pub fn page(report: &Report) -> String {
    let verdict = match report.damage {
        true => "<p class=bad><b>Damage found.</b></p>",
        false => "<p class=good><b>No damage found.</b></p>",
    };
    let mut body = format!("<h1>Audit</h1><p>{}</p>{verdict}", escaped(&report.describes));
    body += &format!("<p>Users are on {}.</p>", report.serving);
    for saved in &report.saved {
        let name = escaped(&saved.facts);
        body += &format!("<p>Blue's {name} as saved on green: {} rows, read at {} UTC.</p>", saved.rows, escaped(&saved.at));
    }
    for set in &report.sets {
        body += &section(set);
    }
    if !report.jobs.is_empty() {
        body += "<h2>Jobs that delete rows</h2><table><tr><th>job<th>state<th>would delete now<th class=n>rows</tr>";
    }
    for job in &report.jobs {
        let state = match job.off {
            Some(true) => "<span class=good>off</span>",
            Some(false) => "<span class=bad>not off</span>",
            None => "<span class=bad>not known</span>",
        };
        let name = escaped(&job.name);
        let unknown = job.unknown.as_deref().map(escaped).unwrap_or_default();
        body += &format!("<tr><td>{name}<td>{state} {unknown}<td><td></tr>");
        for (what, rows) in &job.would_delete {
            let rows = rows.map_or("not known".to_owned(), |rows| rows.to_string());
            body += &format!("<tr><td><td><td>{}<td class=n>{rows}</tr>", escaped(what));
        }
    }
    if !report.jobs.is_empty() {
        body += "</table>";
    }
    format!(
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>crossfade audit</title><style>{STYLE}</style></head><body>{body}</body></html>\n"
    )
}

fn section(set: &SetReport) -> String {
    let mut out = format!("<h2>{}</h2><p>{} on blue, {} on green.</p>", escaped(&set.name), set.blue, set.green);
    if !set.found.is_empty() {
        out +=
            "<table><tr><th>class<th class=n>rows<th>meaning<th>suspected cause, and what users would see<th>keys (digests)</tr>";
        out += &set.found.iter().map(row).collect::<String>();
        out += "</table>";
    }
    out + &matrix(set)
}

fn row(found: &Found) -> String {
    let causes = found.causes.iter().map(|Suspected { rows, cause, users_see }| match (cause, users_see) {
        (Some(cause), Some(users_see)) => format!("<p>{rows}: {}.<br>Users: {}.</p>", escaped(cause), escaped(users_see)),
        _ if found.harms => format!("<p>{rows}: no declared rule explains it.</p>"),
        _ => String::new(),
    });
    let later = match found.later {
        0 => String::new(),
        later => format!("<br>{later} of them since green serves"),
    };
    format!(
        "<tr><td class={}>{}<td class=n>{}{later}<td>{}<td>{}<td><code>{}</code></tr>",
        if found.damage() > 0 { "bad" } else { "good" },
        escaped(&found.title()),
        found.rows,
        escaped(found.meaning),
        causes.collect::<String>(),
        found.keys.join(" "),
    )
}

/// Blue's states down, green's across.
fn matrix(set: &SetReport) -> String {
    let distinct = |of: &dyn Fn(&super::report::Cell) -> Option<String>| {
        let mut states: Vec<Option<String>> = set.matrix.iter().map(of).collect();
        states.sort();
        states.dedup();
        states
    };
    let (down, across) = (distinct(&|cell| cell.blue.clone()), distinct(&|cell| cell.green.clone()));
    let name = |state: &Option<String>| state.as_deref().map_or("(none)".to_owned(), escaped);
    let mut out = "<table><tr><th>state on blue ↓ green →".to_owned();
    out += &across.iter().map(|state| format!("<th class=n>{}", name(state))).collect::<String>();
    out += "</tr>";
    for blue in &down {
        out += &format!("<tr><th>{}", name(blue));
        for green in &across {
            match set.matrix.iter().find(|cell| cell.blue == *blue && cell.green == *green) {
                Some(cell) => out += &format!("<td class=\"n {}\">{}", if blue == green { "same" } else { "other" }, cell.rows),
                None => out += "<td>",
            }
        }
        out += "</tr>";
    }
    out + "</table>"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::report::Cell;
    use crate::terms::Side;

    #[test]
    fn the_page_is_whole_and_quotes_what_it_shows() {
        let cell =
            |blue: &str, green: Option<&str>, rows| Cell { blue: Some(blue.to_owned()), green: green.map(str::to_owned), rows };
        let set = SetReport {
            name: "a <b> & c".to_owned(),
            blue: 3,
            green: 2,
            differing: 1,
            found: Vec::new(),
            matrix: vec![cell("used", Some("used"), 2), cell("used", None, 1)],
        };
        let report = Report {
            describes: "\"x\"".to_owned(),
            serving: Side::Blue,
            damage: false,
            saved: Vec::new(),
            sets: vec![set],
            jobs: Vec::new(),
        };
        let page = page(&report);
        assert!(page.contains("a &lt;b&gt; &amp; c") && page.contains("&quot;x&quot;"));
        assert!(page.contains("<td class=\"n same\">2") && page.contains("<td class=\"n other\">1"));
        assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("<script"));
    }
}

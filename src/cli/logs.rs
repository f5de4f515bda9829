//! Where diagnostics go: lines for people, or JSON with the field names of OpenTelemetry's log data model.

use std::fmt;
use std::io::IsTerminal;

use clap::ValueEnum;
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// How stderr is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Begins to log, for the rest of the process's life. `CROSSFADE_LOG` says what (`warn`, `crossfade=debug`...).
pub(super) fn start(format: LogFormat) {
    let usual = match format {
        LogFormat::Text => "warn,refinery_core=error,pgwire_replication=off",
        LogFormat::Json => "warn,crossfade=info,refinery_core=error,pgwire_replication=off",
    };
    let filter = EnvFilter::try_from_env("CROSSFADE_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    let colors = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let builder = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(colors).with_env_filter(filter);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.event_format(Otel).init(),
    }
}

/// The names of OpenTelemetry's log data model: timestamp, severity, body, attributes, resource.
struct Otel;

impl<S, N> FormatEvent<S, N> for Otel
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let meta = event.metadata();
        fields.attributes.insert("code.namespace".to_owned(), meta.target().into());
        let (text, number) = severity(*meta.level());
        let line = json!({
            "timestamp": jiff::Timestamp::now().to_string(),
            "severity_text": text,
            "severity_number": number,
            "body": fields.body,
            "attributes": fields.attributes,
            "resource": {"service.name": "crossfade", "service.version": env!("CARGO_PKG_VERSION")},
        });
        writeln!(writer, "{line}")
    }
}

/// Severity as the data model counts it.
fn severity(level: Level) -> (&'static str, u8) {
    match level {
        Level::TRACE => ("TRACE", 1),
        Level::DEBUG => ("DEBUG", 5),
        Level::INFO => ("INFO", 9),
        Level::WARN => ("WARN", 13),
        Level::ERROR => ("ERROR", 17),
    }
}

#[derive(Default)]
struct Fields {
    body: String,
    attributes: Map<String, Value>,
}

impl Fields {
    fn keep(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.body = text,
            (name, value) => drop(self.attributes.insert(name.to_owned(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.keep(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.keep(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.keep(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.keep(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.keep(field, value.into());
    }
}

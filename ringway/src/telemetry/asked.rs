//! What the environment asks for, as OpenTelemetry's specification has it.

/// What is to be exported.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Nothing,
    /// Spans, by OTLP over HTTP.
    Otlp {
        /// The environment names the service.
        named: bool,
    },
    /// Something that is not there; the reason.
    Unknown(String),
}

/// Whatever is asked for that is not OTLP over HTTP is not there.
pub(super) fn asked(variable: impl Fn(&str) -> Option<String>) -> Asked {
    // An empty variable counts as none.
    let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let disabled = set("OTEL_SDK_DISABLED").is_some_and(|value| value.trim().eq_ignore_ascii_case("true"));
    let exporter = set("OTEL_TRACES_EXPORTER");
    let endpoint = set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| set("OTEL_EXPORTER_OTLP_ENDPOINT"));
    match exporter.as_deref().map(str::trim) {
        _ if disabled => return Asked::Nothing,
        Some("none") => return Asked::Nothing,
        None if endpoint.is_none() => return Asked::Nothing,
        None | Some("otlp") => {}
        Some(other) => {
            return Asked::Unknown(format!(
                "expected OTEL_TRACES_EXPORTER to be \"otlp\" or \"none\", got {other:?}"
            ));
        }
    }
    let protocol = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
    if let Some((name, other)) = protocol.iter().find_map(|name| Some((name, set(name)?)))
        && other.trim() != "http/protobuf"
    {
        return Asked::Unknown(format!(
            "expected {name} to be \"http/protobuf\" (port 4318 of a collector), got {other:?}"
        ));
    }
    if endpoint.is_some_and(|endpoint| endpoint.trim_start().starts_with("https:")) {
        return Asked::Unknown(
            "expected an http:// endpoint, of a collector nearby, got an https:// one: TLS is not built in"
                .into(),
        );
    }
    let attributes = set("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let has_name = attributes.split(',').any(|pair| pair.trim_start().starts_with("service.name="));
    Asked::Otlp { named: has_name || set("OTEL_SERVICE_NAME").is_some() }
}

#[cfg(test)]
mod tests {
    use super::{Asked, asked};

    fn of(environment: &[(&str, &str)]) -> Asked {
        asked(|name| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn nothing_is_exported_unless_it_is_asked_for() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        for environment in [
            &[][..],
            &[("OTEL_SERVICE_NAME", "chat")],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
            &[endpoint, ("OTEL_TRACES_EXPORTER", "none")],
            &[endpoint, ("OTEL_SDK_DISABLED", "true")],
        ] {
            assert_eq!(of(environment), Asked::Nothing, "{environment:?}");
        }
        assert_eq!(of(&[endpoint]), Asked::Otlp { named: false });
        assert_eq!(of(&[("OTEL_TRACES_EXPORTER", "otlp")]), Asked::Otlp { named: false });
        assert_eq!(of(&[endpoint, ("OTEL_SERVICE_NAME", "chat")]), Asked::Otlp { named: true });
        assert_eq!(
            of(&[endpoint, ("OTEL_RESOURCE_ATTRIBUTES", "a=b,service.name=chat")]),
            Asked::Otlp { named: true }
        );
    }

    #[test]
    fn what_is_not_there_is_named() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        for (environment, expected) in [
            (&[("OTEL_TRACES_EXPORTER", "zipkin")][..], "zipkin"),
            (&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], "http/protobuf"),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c:4318")], "TLS is not built in"),
        ] {
            let Asked::Unknown(why) = of(environment) else { panic!("{environment:?}") };
            assert!(why.contains(expected), "{why}");
        }
    }
}
